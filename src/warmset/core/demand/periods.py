"""Timers: models that are asked for every so many minutes.

A timer's uses sit on a grid. The period is searched among the gaps themselves and judged by how
well all uses sit on its grid, with the strength that chance alone would give as the yardstick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import atan2, comb, cos, exp, hypot, pi, sin
from statistics import median, median_low
from typing import Final

LEAST_USES: Final = 5
"""Four gaps: two uses give period and phase, three confirm them; fewer are an accident."""

RECENT_USES: Final = 64
"""Uses looked at: a timer that was changed is forgotten after as many."""

SAME_SHARE: Final = 0.2
"""Gaps this near to the middle one are taken for one period with its jitter."""

LEAST_NEAR_SHARE: Final = 0.25
"""Of all gaps, as near to the middle one: a timer that misses every other beat leaves half of its
gaps at one period, and waits at random leave a seventh."""

BY_CHANCE: Final = 1e-4
"""Highest probability at which a grid may still be chance.

Source: with some ten periods tried for each of a hundred models, one false timer in ten hosts.
"""

NEAR_JITTERS: Final = 3.0
"""A use this many jitters off the grid still is on it: 99.7 % of a normal law."""

LEAST_NEAR_SECONDS: Final = 3.0
"""However sharp the uses seen, the next may lie so far off: three seconds of network and start."""

BURST_JUMP: Final = 4.0
"""Gaps in a burst are so much shorter than those between bursts: an answer takes seconds, the
shortest timer a minute. Less is the scatter of one law: our choice."""

MAD_TO_SIGMA: Final = 1.4826
"""Sigma of a normal law over its median absolute deviation: 1 / 0.6745."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A timer.

    Attributes:
        anchor: an instant on the grid, near the last use.
        jitter_seconds: how far uses lie off the grid, as the sigma of a normal law.
        strength: 1.0 all uses exactly on the grid, 0.0 none.
    """

    seconds: float
    anchor: float
    jitter_seconds: float
    strength: float

    def off(self, at: float) -> float:
        """Returns how far an instant lies off the grid."""
        return abs(at - self.anchor - self.seconds * round((at - self.anchor) / self.seconds))

    def next_after(self, now: float) -> float:
        """Returns the first instant of the grid after `now`."""
        steps = (now - self.anchor) // self.seconds + 1
        return self.anchor + steps * self.seconds


def find_period(times: Sequence[float]) -> Period | None:
    """Returns the timer behind a list of request times, or `None` if they look like chance.

    Uses in one burst count once: only the first after each longer gap is taken.

    Source: Rayleigh's test of a phase, `P(R > r) ~ exp(-n r^2)`; Mardia, Directional statistics.
    It is blunt for few uses, however sharp; there the share of the time that they gather in counts.
    """
    starts = _starts(sorted(times)[-RECENT_USES * 4 :])[-RECENT_USES:]
    if len(starts) < LEAST_USES:
        return None
    gaps = [b - a for a, b in pairwise(starts)]
    middle = median_low(gaps)  # one of them: between two habits there is no gap
    near = [g for g in gaps if abs(g - middle) <= SAME_SHARE * middle]
    if len(near) < LEAST_NEAR_SHARE * len(gaps):
        return None
    tried = [sum(near) / len(near), middle, median(near)]
    best = _blurred(max((_fit(starts, p) for p in tried), key=lambda p: p.strength), starts)
    chance = min(_chance_of_phase(starts, best), _chance_of_gathering(starts, best))
    return best if chance * len(tried) < BY_CHANCE else None


def _chance_of_phase(starts: Sequence[float], found: Period) -> float:
    """Returns how likely uses at random show so strong a phase: good at vague timers."""
    free = len(starts) - 1  # the period was taken from the data
    return exp(-free * found.strength**2)


def _chance_of_gathering(starts: Sequence[float], found: Period) -> float:
    """Returns how likely so many uses at random lie so near the grid: good at sharp timers.

    Each lies in the share `w` of the time around the grid with chance `w`: the binomial tail,
    less the two uses that period and phase were taken from.
    """
    near = max(LEAST_NEAR_SECONDS, NEAR_JITTERS * found.jitter_seconds)
    on_grid = sum(found.off(at) <= near for at in starts)
    share = min(1.0, 2 * near / found.seconds)
    return comb(len(starts), on_grid) * share ** max(0, on_grid - 2)


def _starts(times: Sequence[float]) -> list[float]:
    """Returns the first use of each burst; bursts are cut where gaps are long for this model."""
    gaps = sorted(b - a for a, b in pairwise(times) if b > a)
    if not gaps:
        return list(times[:1])
    # the widest jump between neighbouring gaps, in proportion, parts bursts from waits
    jumps = [(b / a, a) for a, b in pairwise(gaps)]
    size, below = max(jumps, default=(1.0, 0.0))
    cut = below if size > BURST_JUMP else 0.0
    starts = [times[0]]
    for before, at in pairwise(times):
        if at - before > cut:
            starts.append(at)
    return starts


def _fit(starts: Sequence[float], period: float) -> Period:
    """Returns how well the uses sit on the grid of one period; refines it by the drift of phase."""
    origin = starts[-1]
    for _ in range(2):
        steps = [round((at - origin) / period) for at in starts]
        mean_step = sum(steps) / len(steps)
        mean_at = sum(starts) / len(starts)
        spread = sum((s - mean_step) ** 2 for s in steps)
        if spread == 0:
            break
        rows = zip(steps, starts, strict=True)
        period = sum((s - mean_step) * (at - mean_at) for s, at in rows) / spread
        if period <= 0:
            return Period(seconds=1.0, anchor=origin, jitter_seconds=0.0, strength=0.0)
    phases = [2 * pi * ((at - origin) / period % 1.0) for at in starts]
    x, y = sum(map(cos, phases)) / len(phases), sum(map(sin, phases)) / len(phases)
    strength = min(1.0, hypot(x, y))
    anchor = origin + atan2(y, x) / (2 * pi) * period
    return Period(seconds=period, anchor=anchor, jitter_seconds=0.0, strength=strength)


def _blurred(found: Period, starts: Sequence[float]) -> Period:
    """Returns the grid with its jitter; by the median, so that a stray use blurs nothing."""
    return replace(found, jitter_seconds=MAD_TO_SIGMA * median(map(found.off, starts)))
