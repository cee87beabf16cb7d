"""The idle-gap curve of each model: how soon after a use the next one came."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from warmset.core.demand.gaps import GapLaw, Pool
from warmset.core.demand.grid import Grid
from warmset.core.units import DAY, HOUR, MINUTE
from warmset.shell.board.values import GapPoint

SECONDS: Final = (
    10.0, 30.0, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE,
    HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 16 * HOUR, DAY, 2 * DAY, 7 * DAY,
)  # fmt: skip
"""Where a curve is read: round numbers, about two in a doubling. Our choice."""

FINE_PER_OCTAVE: Final = 2
FEWEST_GAPS: Final = 3
"""A curve of fewer gaps would show other models' habits. Our choice."""

MOST_USES: Final = 20_000
"""Uses of the past that are learnt from at the start: a fraction of a second. Our choice; a law
forgets after sixty gaps in each bin anyway."""


class Gaps:
    """Learns from uses, oldest first."""

    def __init__(self, uses: Iterable[tuple[str, float]] = ()) -> None:
        self._pool = Pool(Grid(FINE_PER_OCTAVE))
        self._laws: dict[str, GapLaw] = {}
        self._last: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        for key, at in uses:
            self.used(key, at)

    def used(self, key: str, at: float) -> None:
        """Learns one use; one that lasts from look to look is one.

        Args:
            key: the model.
            at: Unix seconds.
        """
        last = self._last.get(key)
        if last is not None and at > last:
            self._laws.setdefault(key, GapLaw(self._pool)).add(at - last)
            self._counts[key] = self._counts.get(key, 0) + 1
        self._last[key] = max(at, last or at)

    def curve(self, key: str) -> tuple[float, tuple[GapPoint, ...]]:
        """Returns how many gaps are known of a model, and the curve; few gaps make none."""
        law = self._laws.get(key)
        count = self._counts.get(key, 0)
        if law is None or count < FEWEST_GAPS:
            return float(count), ()
        points = [GapPoint(seconds=s, chance=law.chance_within(0.0, s)) for s in SECONDS]
        return float(count), tuple(points)
