"""What memory is worth on a host that is short of it, and what a resident is worth above that.

The rent is what the last victims would have earned in the room they had: load seconds saved per
byte and second. A resident is worth what holding it will save, less its rent for that time.
"""

from __future__ import annotations

from typing import Final

from warmset.core.demand.gaps import Outlook

NEAR_SECONDS: Final = 100.0
"""What a victim loses at once: the time until it could be loaded again, and room be found.

A resident whose rent just equals its promise is worth nothing by the balance, yet evicting it
costs its hit rate for about this long. Source: the longest load on common hardware (45 GB at
0.5 GB/s is 90 s); the score on the traces moves by less than 1 % between 20 and 500.
"""

NEAR_RENT: Final = 0.5
"""Share of that time for which the victim's room earns its rent: from when somebody takes it.

At once is as likely as at the end, so half. It is what makes a large victim cheap, whose room
serves the next loads as well. Source: between 0 and 1 the score on the traces moves by less than
1 %; a half leaves 4 % fewer reloads within a minute than 0, and a better worst case.
"""

LEAST_WORTH: Final = 1e-3
"""Seconds of hit rate that anything is worth: what earns less than its rent still has an order."""

RENT_VICTIMS: Final = 20.0
"""Evictions over which the rent is averaged: the turnover of a host that holds 5 to 20 models."""


class Rent:
    """Learned from the victims of waiting loads.

    Attributes:
        per_byte_second: load seconds; 0 until the first eviction, while memory is free.
    """

    __slots__ = ("per_byte_second",)

    def __init__(self) -> None:
        self.per_byte_second = 0.0

    def learn(self, earned: float) -> None:
        """Takes what a victim would have earned, in load seconds per byte and second."""
        known = self.per_byte_second
        self.per_byte_second += (earned - known) / RENT_VICTIMS if known else earned

    def of(self, size_bytes: int, load_seconds: float) -> float:
        """Returns the rent of a model as `GapLaw.outlook` takes it: in its uses per second."""
        return self.per_byte_second * size_bytes / load_seconds


def worth(outlook: Outlook, rent: float, near_seconds: float = NEAR_SECONDS) -> float:
    """Returns what a resident with that outlook is worth, in its own loads.

    Args:
        outlook: made with that rent.
        rent: of a second, in its uses.
        near_seconds: see `NEAR_SECONDS`.
    """
    gain, rate, _ = outlook
    return max(gain + near_seconds * (rate - NEAR_RENT * rent), LEAST_WORTH * rate)
