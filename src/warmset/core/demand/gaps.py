"""The idle-gap law of a model: how likely is its next use, given how long it has been idle.

A law is a chain of small questions, one for each bin of age: of the gaps that reached this bin,
how many ended in it? Each answer forgets on its own, after the last `MEMORY` gaps that reached
that bin, so a busy hour full of short gaps does not wash away what is known of the nights. Few
answers are shrunk to the prior: the mean answer of all models, scaled by whether this model was
quicker or slower than the others in the bins around.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import exp, log1p
from typing import Final, NamedTuple

from warmset.core.demand.grid import Grid

MEMORY: Final = 60.0
"""Gaps that an answer remembers (its weights sum to this).

Source: the share of 60 trials is known to 0.065 at worst, finer than the choice between two models
needs; the score on the traces moves by less than 1 % between 15 and 200.
"""

PRIOR_GAPS: Final = 1.0
"""Gaps that the prior counts for: the Beta prior of one observation.

Source: Kass and Wasserman, unit information prior (1995).
"""

PRIOR_EVENTS: Final = 2.0
"""Events that say `as quick as the others` before a model's own pace counts more."""

POOL_NEWS: Final = 16
"""Gaps of any model after which the pooled prior is looked at again: one gap hardly moves it."""

NEWS_SHARE: Final = 0.2
"""Share of new gaps from which a law is worked out anew: below, no answer moves by more than it.

Source: the score on the traces moves by less than 1 % between 0.1 and 0.2.
"""

UNSEEN: Final = 0.01
"""Events in one model's worth of trials where no model has any: small, but not never."""

_KEEP = 1.0 - 1.0 / MEMORY
_new = tuple.__new__  # what a named tuple calls: nothing is made so often as an `Outlook`
_LEAST = 1e-12  # survival never quite ends: keeps ratios of tails defined


class Outlook(NamedTuple):
    """What idle age says about a model.

    Attributes:
        gain: the largest `chance of a use - rent * expected seconds held` over all holding times.
        hit_rate: the largest `chance of a use / expected seconds held`, per second.
        chance: the chance of a use within the holding time of `gain`.
    """

    gain: float
    hit_rate: float
    chance: float


class Pool:
    """What all models together say: for each bin the mean share of gaps that end there.

    A model counts in proportion to `n / (n + PRIOR_GAPS)`, so one busy model is not the law. Gaps
    that are still open count as well: left out, models that never come back would look quick.
    """

    __slots__ = (
        "_changed", "_hazards", "_news", "ended", "floor", "grid", "open", "reached", "widths",
    )  # fmt: skip

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.widths = grid.widths()
        self.ended = [0.0] * grid.count
        self.reached = [0.0] * grid.count
        self.open = [0.0] * grid.count
        thin = 2.0 / grid.fine_per_octave
        self.floor = [UNSEEN if j < grid.split else UNSEEN * thin for j in range(grid.count)]
        self._hazards: list[float] = []  # empty: to be worked out
        self._changed: dict[GapLaw, int] = {}  # laws whose news are not in the sums -> last bin
        self._news = 0

    def hazards(self) -> list[float]:
        """Returns the cumulative hazard of each bin, -log(1 - share)."""
        if not self._hazards:
            for law, last in self._changed.items():
                law.tell(last)
            self._changed.clear()
            rows = zip(self.ended, self.floor, self.reached, self.open, strict=True)
            self._hazards = [-log1p(-min(0.999, (e + f) / (r + o + 1.0))) for e, f, r, o in rows]
        return self._hazards

    def learned(self, law: GapLaw, last: int) -> None:
        """Takes note of a gap: after `POOL_NEWS` of them the hazards are worked out anew."""
        if last > self._changed.get(law, -1):
            self._changed[law] = last
        self._news += 1
        if self._news >= POOL_NEWS:
            self._news, self._hazards = 0, []

    def note_open(self, ages_seconds: Iterable[float]) -> None:
        """Takes the present idle ages of all models: each bin they outlived is a trial."""
        outlived = [0.0] * self.grid.count
        for age in ages_seconds:
            outlived[self.grid.bin_of(age)] += 1.0 / (1.0 + PRIOR_GAPS)
        run = 0.0
        for j in range(self.grid.count - 1, -1, -1):
            self.open[j] = run
            run += outlived[j]
        self._hazards = []


class GapLaw:
    """The law of one model, learned gap by gap."""

    __slots__ = (
        "_best", "_ended", "_grid", "_held", "_news", "_next", "_pool", "_reached", "_stale",
        "_survival", "_told",
    )  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._grid = pool.grid
        self._ended = [0.0] * pool.grid.count
        self._reached = [0.0] * pool.grid.count
        self._told = [(0.0, 0.0)] * pool.grid.count  # its part of the pool's sums
        self._survival: list[float] = []
        self._news = 0  # gaps since the build
        self._stale = pool.grid.count  # the last bin of which the counts changed since the build

    def add(self, seconds: float) -> None:
        """Learns from one gap between two uses."""
        last = self._grid.bin_of(seconds)
        ended, reached = self._ended, self._reached
        for j in range(last):
            ended[j] *= _KEEP
            reached[j] = reached[j] * _KEEP + 1.0
        ended[last] = ended[last] * _KEEP + 1.0
        reached[last] = reached[last] * _KEEP + 1.0
        self._pool.learned(self, last)
        self._stale = max(self._stale, last)
        self._news += 1

    @property
    def counts(self) -> tuple[list[float], list[float]]:
        """For each bin the gaps that reached it, and those that ended in it."""
        return self._reached, self._ended

    def restore(self, reached: Sequence[float], ended: Sequence[float]) -> None:
        """Takes the counts of an earlier law, in place of any that it has."""
        for mine, earlier in ((self._reached, reached), (self._ended, ended)):
            mine[:] = [*earlier, *([0.0] * (len(mine) - len(earlier)))]
        self._survival = []
        self._pool.learned(self, self._pool.grid.count - 1)

    def tell(self, last: int) -> None:
        """Brings its part of the pool's sums up to date, as far as a bin."""
        all_ended, all_reached, told = self._pool.ended, self._pool.reached, self._told
        rows = zip(range(last + 1), self._ended, self._reached, told, strict=False)
        for j, ended, reached, (ended_before, reached_before) in rows:
            weight = 1.0 / (reached + PRIOR_GAPS)
            told[j] = now = ended * weight, reached * weight
            all_ended[j] += now[0] - ended_before
            all_reached[j] += now[1] - reached_before

    def outlook(self, age_seconds: float, rent: float) -> Outlook:
        """Returns what the next seconds promise.

        Args:
            age_seconds: how long ago the last use was.
            rent: what a second of holding costs, in uses.

        Source: the ratio is Gittins' index of a stopping problem; Beckmann et al., LHD (NSDI'18).
        """
        j = self._built_for(age_seconds)
        edges, last = self._grid.edges, self._grid.count
        survival, held, best = self._survival, self._held, self._best
        alive, past, rate = survival[j], held[j], best[j]
        end = j + 1
        if end < last:
            low = edges[j]
            share = (age_seconds - low) / (edges[end] - low)
            alive += (survival[end] - alive) * share
            past += (held[end] - past) * share
            rate += (best[end] - rate) * share
        gain = alive - survival[end] - rent * (held[end] - past)
        if end < last and best[end] > rent:
            while end < last and best[end] > rent:
                end = self._next[end]
            gain = max(gain, alive - survival[end] - rent * (held[end] - past))
        chance = 1.0 - survival[end] / alive
        return _new(Outlook, (gain / alive if gain > 0.0 else 0.0, rate, chance))

    def hit_rate(self, age_seconds: float) -> float:
        """Returns the one of `outlook`, which no rent changes."""
        j = self._built_for(age_seconds)
        edges, rate = self._pool.grid.edges, self._best[j]
        if j + 1 == self._pool.grid.count:
            return rate
        share = (age_seconds - edges[j]) / (edges[j + 1] - edges[j])
        return rate + (self._best[j + 1] - rate) * share

    @property
    def known_gaps(self) -> float:
        """How many gaps the law is made of, old ones counting less."""
        return self._reached[0]

    def holding_seconds(self, age_seconds: float, rent: float) -> float:
        """Returns how much longer holding pays: the holding time of `outlook`'s gain.

        It is `inf` if no age is known at which holding stops to pay.
        """
        grid = self._pool.grid
        end = j = self._built_for(age_seconds)
        while end < grid.count and self._best[end] > rent:
            end = self._next[end]
        return max(0.0, grid.edges[end] - age_seconds) if end > j else 0.0

    def promising_age(self, age_seconds: float, rent: float) -> float:
        """Returns the first age beyond the bin of `age_seconds` at which holding may pay."""
        grid = self._pool.grid
        for j in range(self._built_for(age_seconds) + 1, grid.count):
            if self._best[j] > rent:
                return grid.edges[j]
        return grid.edges[-1]

    def chance_within(self, age_seconds: float, seconds: float) -> float:
        """Returns the chance of a use in the next `seconds`."""
        j = self._built_for(age_seconds)
        later = age_seconds + seconds
        return 1.0 - self._alive(later, self._pool.grid.bin_of(later)) / self._alive(age_seconds, j)

    def _built_for(self, age_seconds: float) -> int:
        """Returns the bin of an age, with all beyond it up to date.

        What an idle age promises depends only on the bins beyond it. The short gaps of a session
        change the bins before, so a model that has been idle for longer is not worked out anew;
        nor is one of which many gaps were known already.
        """
        at = self._grid.bin_of(age_seconds)
        if at <= self._stale and (
            self._news >= NEWS_SHARE * self._reached[at] or not self._survival
        ):
            self._build()
            self._stale, self._news = -1, 0
        return at

    def _alive(self, age_seconds: float, j: int) -> float:
        """Returns the chance to reach an age, which lies in bin `j`."""
        grid = self._pool.grid
        if j == grid.count - 1:
            return self._survival[j]
        low, high = grid.edges[j], grid.edges[j + 1]
        share = (age_seconds - low) / (high - low)
        return self._survival[j] * (1 - share) + self._survival[j + 1] * share

    def _build(self) -> None:
        """Works out survival, expected time held and the best rate from each bin on."""
        hazards = self._pool.hazards()
        alive, seconds = 1.0, 0.0
        survival, held = [1.0], [0.0]
        for ended, reached, hazard, pace, width in zip(
            self._ended,
            self._reached,
            hazards,
            self._paces(hazards),
            self._pool.widths,
            strict=True,
        ):
            prior = 1.0 - exp(-pace * hazard)
            share = (ended + PRIOR_GAPS * prior) / (reached + PRIOR_GAPS)
            seconds += width * alive * (1.0 - share / 2)
            alive *= 1.0 - share
            if alive < _LEAST:  # noqa: PLR1730 - `max` takes a tenth of the whole build
                alive = _LEAST
            survival.append(alive)
            held.append(seconds)
        self._survival, self._held = survival, held
        self._best, self._next = _steepest(survival, held)

    def _paces(self, hazards: list[float]) -> list[float]:
        """Returns how quick this model was around each bin, 1.0 being as quick as all.

        Uses seen over uses expected, each bin counting with its neighbours on both sides, fading.
        """
        seen = usual = 0.0
        rows: list[tuple[float, float, float, float, float]] = []
        for e, n, hazard, fade in zip(
            self._ended, self._reached, hazards, self._pool.grid.fades, strict=True
        ):
            expected = n * hazard
            seen, usual = seen * fade + e, usual * fade + expected
            rows.append((fade, e, expected, seen, usual))
        after = usual_after = 0.0
        paces: list[float] = []
        for fade, e, expected, seen, usual in reversed(rows):
            after, usual_after = after * fade, usual_after * fade
            paces.append((seen + after + PRIOR_EVENTS) / (usual + usual_after + PRIOR_EVENTS))
            after, usual_after = after + e, usual_after + expected
        paces.reverse()
        return paces


def _steepest(survival: list[float], held: list[float]) -> tuple[list[float], list[int]]:
    """Returns from each bin the best fall of survival per second held, and where it ends.

    One pass from the right over the upper hull of (seconds held, chance of a use).
    """
    last = len(survival) - 1
    best, end = [0.0] * (last + 1), [last] * (last + 1)
    for j in range(last - 1, -1, -1):
        alive, past, i = survival[j], held[j], j + 1
        while True:
            rise = held[i] - past
            rate = (alive - survival[i]) / rise if rise > 0 else 0.0
            if i == last or best[i] < rate:
                break
            i = end[i]
        best[j], end[j] = rate, i
    return best, end
