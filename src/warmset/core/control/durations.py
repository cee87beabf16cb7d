"""Which keep-alive a model really has, told from how its deadline moves.

Ollama shows deadlines, not durations. A deadline is written when a model becomes idle, so a move
between two looks bounds the duration from both sides; if the lease lies between, the client sent
none and the lease stands.

Source: ollama-behaviour 2.3 to 2.5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from warmset.core.control.leases import SLOT_SECONDS
from warmset.core.model import FOREVER, Resident
from warmset.core.units import MINUTE

DOUBT_SECONDS: Final = 3.0
"""Between the server's clock and ours, at both ends of a span. Our choice: rows are read apart."""

LATE_SECONDS: Final = 20.0
"""What a list shows may be so old when it arrives: a request that ended before the last look is
seen then. Our choice: no rank is so near to another one (`SLOT_SECONDS`)."""

BASE_STEP_SECONDS: Final = 10 * MINUTE
"""The base is raised in steps, so that clients whose values vary do not move it each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Between which two values a duration lies. Units: seconds; `FOREVER` for both if infinite."""

    low: float
    high: float

    def allows(self, seconds: float, *, late: float = 0.0) -> bool:
        """Returns whether the duration may be this long, by a list that may have been so late."""
        return self.low - DOUBT_SECONDS <= seconds <= self.high + DOUBT_SECONDS + late


def bounds_of_move(
    before: Resident | None, present: Resident, *, wall_before: float, wall_at: float
) -> Bounds | None:
    """Returns what a look tells of a duration; `None`: nothing new.

    Args:
        before: the model's row at the earlier look, `None` if it was not there.
        present: its row now.
        wall_before, wall_at: the wall clock at both looks.
    """
    expires = present.expires_at
    if expires is None:
        return None
    if before is not None and before.expires_at == expires:
        return None
    if expires == FOREVER:
        return Bounds(low=FOREVER, high=FOREVER)
    if expires < wall_at:
        return None  # busy, or told to go: the deadline is an old one
    return Bounds(low=expires - wall_at, high=max(expires - wall_before, expires - wall_at))


def raise_base(base: float, durations: Iterable[float | None], *, limit: float) -> float:
    """Returns the shortest lease that lies above all finite durations of clients.

    Invariants:
        Never lower than `base`, never above `limit`; unchanged while nothing exceeds it.
    """
    finite = [d for d in durations if d is not None and d < FOREVER]
    longest = max(finite, default=0.0)
    if longest + SLOT_SECONDS <= base:
        return base
    steps = (longest + SLOT_SECONDS) // BASE_STEP_SECONDS + 1
    return max(base, min(limit, steps * BASE_STEP_SECONDS))
