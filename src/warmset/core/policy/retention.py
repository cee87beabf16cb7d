"""How long an idle model is worth its memory, when somebody else could use it.

Holding costs rent, loading again costs seconds of waiting: ski rental. With the law of a model's
gaps known, hold it while what a use saves, times how likely it is, exceeds the rent. With nothing
known, hold it until the rent paid equals a load: never worse than twice the best choice. In
between the law is trusted as far as it was measured.

Price and load time share a currency: seconds of waiting. A price of 2 per GiB-hour says that one
GiB, free for an hour, is worth as much as two seconds that somebody waits for a model.
"""

from __future__ import annotations

from math import inf
from typing import Final

from warmset.core.demand.gaps import GapLaw
from warmset.core.units import GIB, HOUR
from warmset.errors import FactsError

UNSURE_GAPS: Final = 6.0
"""Gaps after which the law is trusted half: with five, one coincidence in twenty is a habit."""


def price_under_pressure(price_per_gib_hour: float, total_bytes: int, foreign_bytes: int) -> float:
    """Returns the price once other programs hold part of the memory.

    What they leave is dearer in proportion to how little it is: the base price while they hold
    nothing, twice that at half of the memory, without limit as nothing is left.

    Args:
        price_per_gib_hour: the operator's price, in seconds of waiting; 0 for memory that
            nobody else wants, which no pressure makes dear.
        total_bytes: the memory of the pool.
        foreign_bytes: what other programs hold of it.

    Raises:
        FactsError: a price that is negative or no number, or a pool without memory.
    """
    price = _checked(price_per_gib_hour)
    if total_bytes <= 0:
        raise FactsError(f"total_bytes is {total_bytes}, not a positive number")
    left = total_bytes - max(0, foreign_bytes)
    if not price:
        return 0.0
    return inf if left <= 0 else price * total_bytes / left


def break_even_seconds(size_bytes: int, load_seconds: float, price_per_gib_hour: float) -> float:
    """Returns the idle time at which the rent paid equals one load; `inf` if memory is free.

    Source: Karlin et al., Competitive snoopy caching (1988): the deterministic rule, 2-competitive.
    """
    rent = _checked(price_per_gib_hour) * size_bytes / GIB / HOUR
    return load_seconds / rent if rent > 0 else inf


def retention_seconds(
    law: GapLaw | None, size_bytes: int, load_seconds: float, price_per_gib_hour: float
) -> float | None:
    """Returns the idle time after which a model should be unloaded; `None` is never.

    Args:
        law: what is known of its idle gaps; `None` for nothing.
        size_bytes: what it holds.
        load_seconds: what loading it again takes.
        price_per_gib_hour: see the module; `price_under_pressure` raises it.

    Raises:
        FactsError: a price that is negative or no number.

    Source: bounds around a prediction, trusted by degrees: Purohit, Svitkina, Kumar, Improving
    online algorithms via ML predictions (NeurIPS 2018), section 2.
    """
    even = break_even_seconds(size_bytes, load_seconds, price_per_gib_hour)
    if even in (0.0, inf):
        return None if even else 0.0
    if law is None:
        return even
    doubt = UNSURE_GAPS / (UNSURE_GAPS + law.known_gaps)
    best = law.holding_seconds(0.0, 1.0 / even)
    return min(max(best, doubt * even), even / doubt)


def _checked(price: float) -> float:
    if not price >= 0:
        raise FactsError(
            f"price_per_gib_hour is {price!r}, not a number >= 0",
            hint="give the seconds of waiting that a free GiB is worth in an hour; 0 for none",
        )
    return price
