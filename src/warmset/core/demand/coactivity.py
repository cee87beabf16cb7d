"""Co-activity: B follows A.

Counts how often a request for B comes soon after one for A, against how often it would if they
had nothing to do with each other. Forgets by halves, and keeps only as many pairs as it is told.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import sqrt
from typing import Final

from warmset.core.demand.trace import Trace
from warmset.core.units import DAY, MINUTE

WINDOW_SECONDS: Final = 1 * MINUTE
"""What `soon` means: a workflow's next step, within the longest usual load."""

HALF_LIFE_SECONDS: Final = 7 * DAY
"""A weekly habit is seen about twice before it counts half."""

FADE_SECONDS: Final = HALF_LIFE_SECONDS / 64
"""Counts fade in steps of one per cent, so that a request need not touch every pair."""

MOST_PAIRS: Final = 4096
"""64 models with one another; the weakest pair is dropped for a new one."""

LEAST_FOLLOWED: Final = 5.0
"""Times that B came after A before it is told: fewer are an accident, as with timers."""

LEAST_SURPRISE: Final = 5.0
"""Standard deviations above chance: with 4096 pairs looked at, chance shows none."""

LEAST_SHARE: Final = 0.5
"""Of the uses of A that B came after: below, it is no rule that anybody could act on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Follows:
    """How B comes after A.

    Attributes:
        seen: times that B came within the window after A (weighted by age).
        uses: of A (weighted alike; within a window one counts).
        expected: times it would have by chance.
        lift: `seen / expected`.
        surprise: how many standard deviations of chance `seen` lies above `expected`.
    """

    first: str
    then: str
    seen: float
    uses: float
    expected: float
    lift: float
    surprise: float


class CoActivity:
    """Learns which models are asked for soon after which."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._at = 0.0
        self._recent: deque[tuple[float, str]] = deque()
        self._uses: dict[str, float] = {}
        self._pairs: dict[tuple[str, str], float] = {}
        self._span = 0.0

    def requested(self, now: float, model: str) -> None:
        """Takes note of a request; within a window one model counts once."""
        self._fade(now)
        while self._recent and self._recent[0][0] < now - WINDOW_SECONDS:
            self._recent.popleft()
        if any(name == model for _, name in self._recent):
            return
        for _, name in self._recent:
            pair = (name, model)
            if pair not in self._pairs and len(self._pairs) >= MOST_PAIRS:
                del self._pairs[min(self._pairs, key=lambda p: (self._pairs[p], p))]
            self._pairs[pair] = self._pairs.get(pair, 0.0) + 1.0
        self._uses[model] = self._uses.get(model, 0.0) + 1.0
        self._recent.append((now, model))

    def follows(self, first: str, then: str) -> Follows | None:
        """Returns how `then` comes after `first`; `None` while either is unknown."""
        a, b = self._uses.get(first, 0.0), self._uses.get(then, 0.0)
        if not a or not b or self._span <= 0:
            return None
        expected = a * min(1.0, b * WINDOW_SECONDS / self._span)
        seen = self._pairs.get((first, then), 0.0)
        return Follows(
            first=first,
            then=then,
            seen=seen,
            uses=a,
            expected=expected,
            lift=seen / expected,
            surprise=(seen - expected) / sqrt(expected),
        )

    def pairs(self) -> tuple[Follows, ...]:
        """Returns all pairs that were seen, the most surprising first."""
        found = (self.follows(first, then) for first, then in self._pairs)
        known = [follows for follows in found if follows is not None]
        return tuple(sorted(known, key=lambda f: (-f.surprise, f.first, f.then)))

    def _fade(self, now: float) -> None:
        """Lets weeks pass: counts and the span they were made in shrink alike."""
        if self._began is None:
            self._began = self._at = now
            return
        passed = now - self._at
        if passed <= 0:
            return
        self._span += passed
        self._at = now
        if now - self._began < FADE_SECONDS:
            return
        keep = 0.5 ** ((now - self._began) / HALF_LIFE_SECONDS)
        self._began = now
        self._span *= keep
        for pair in self._pairs:
            self._pairs[pair] *= keep
        for model in self._uses:
            self._uses[model] *= keep


def find_follows(trace: Trace) -> tuple[Follows, ...]:
    """Returns which models are asked for right after which, as a rule; the surest first."""
    learned = CoActivity()
    for at, model in zip(trace.times, trace.models, strict=True):
        learned.requested(at, model)
    return tuple(
        pair
        for pair in learned.pairs()
        if pair.seen >= LEAST_FOLLOWED
        and pair.seen >= LEAST_SHARE * pair.uses
        and pair.surprise >= LEAST_SURPRISE
    )
