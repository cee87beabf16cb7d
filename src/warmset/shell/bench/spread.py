"""A few measurements of one thing in short: middle, tail and ends."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What some measurements came to.

    Invariants:
        `least` <= `median` <= `p95` <= `most`, but for two or one of them, which are few.
    """

    count: int
    median: float
    p95: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self | None:
        """Returns the spread of some values; `None` of none.

        The 95th percentile is by nearest rank: with fewer than twenty values it is the largest.
        Source: the definition in NIST/SEMATECH e-Handbook, 7.2.6.2, without interpolation.
        """
        if not values:
            return None
        ordered = sorted(values)
        rank = math.ceil(0.95 * len(ordered))
        return cls(
            count=len(ordered),
            median=statistics.median(ordered),
            p95=ordered[rank - 1],
            least=ordered[0],
            most=ordered[-1],
        )
