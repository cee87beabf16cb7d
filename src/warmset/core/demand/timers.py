"""Which models run on a timer, kept up to date request by request.

`periods.find_period` looks at a list of times; here it is asked now and then, and in between the
timer that it found is followed: its phase drifts, beats are missed, and in the end it is given up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.demand.periods import LEAST_USES, NEAR_JITTERS, find_period
from warmset.core.demand.strays import find_beat

BURST_SECONDS: Final = 20.0
"""Uses this close together are one beat: well within the shortest period of cron, a minute."""

REMEMBERED: Final = 64
"""Beats kept for a search: those that `find_period` looks at."""

SEARCH_GROWTH: Final = 1.25
"""Beats between two searches grow by this, so that all searches cost a constant share."""

SEARCH_EVERY: Final = REMEMBERED // 2
"""Beats after which even a hopeless model is searched again: half of what is known is new."""

FOLLOW: Final = 0.125
"""Weight of the newest beat in phase, jitter and share: the last eight count."""

RECENT_BEATS: Final = 16
"""Beats of which the share is taken when a timer is found."""

LEAST_JITTER_SECONDS: Final = 1.0
"""No timer is trusted to be sharper: requests come over a network."""

MOST_JITTER: Final = 0.1
"""Of the period. A vaguer timer spreads wider than a bin of the law of ages, 41 %."""

LEAST_SHARE: Final = 0.5
"""A timer that misses every other beat is given up."""


@dataclass(slots=True, kw_only=True)
class Timer:
    """One model's timer. Units: seconds; `anchor` is the instant of its last beat on the grid.

    Attributes:
        share: beats that brought a use, of the last few.
    """

    period_seconds: float
    anchor: float
    jitter_seconds: float
    share: float = 1.0

    def due(self, now: float) -> float:
        """Returns the next beat that may still come: a late one counts until it is past hope."""
        patience = NEAR_JITTERS * self.jitter_seconds
        steps = max(1.0, (now - patience - self.anchor) // self.period_seconds + 1)
        return self.anchor + steps * self.period_seconds

    def follow(self, now: float) -> bool:
        """Takes note of a use; returns whether the timer still holds."""
        steps = round((now - self.anchor) / self.period_seconds)
        off = now - self.anchor - steps * self.period_seconds
        if abs(off) > NEAR_JITTERS * self.jitter_seconds:
            missed = int((now - self.anchor) / self.period_seconds)
            return self.share * (1 - FOLLOW) ** missed >= LEAST_SHARE
        if steps >= 1:
            self.share = self.share * (1 - FOLLOW) ** steps + FOLLOW
            spread = self.jitter_seconds**2 * (1 - FOLLOW) + off * off * FOLLOW
            self.jitter_seconds = max(LEAST_JITTER_SECONDS, spread**0.5)
            self.anchor = now - (1 - FOLLOW) * off
        return self.share >= LEAST_SHARE


class Timers:
    """Finds and follows the timers of all models of a host.

    Attributes:
        found: the timers by model, in the order they were found.
    """

    def __init__(self) -> None:
        self._beats: dict[str, deque[float]] = {}
        self._search_in: dict[str, int] = {}
        self._pause: dict[str, float] = {}
        self.found: dict[str, Timer] = {}

    def requested(self, now: float, model: str) -> None:
        """Takes note of one request."""
        beats = self._beats.get(model)
        if beats is None:
            beats = self._beats[model] = deque(maxlen=REMEMBERED)
            self._search_in[model], self._pause[model] = LEAST_USES, 1.0
        elif now - beats[-1] < BURST_SECONDS:
            return
        beats.append(now)
        timer = self.found.get(model)
        if timer is not None:
            if timer.follow(now):
                return
            del self.found[model]
        self._search_in[model] -= 1
        if self._search_in[model] <= 0:
            self._search(model)

    def of(self, model: str) -> Timer | None:
        """Returns the timer that a model runs on, if it does."""
        return self.found.get(model)

    def _search(self, model: str) -> None:
        timer = find_timer(self._beats[model])
        if timer is None:
            self._pause[model] = min(SEARCH_EVERY, self._pause[model] * SEARCH_GROWTH + 1)
        else:
            self.found[model] = timer
            self._pause[model] = 1.0
        self._search_in[model] = int(self._pause[model])


def find_timer(beats: Sequence[float]) -> Timer | None:
    """Returns the timer behind these uses if it is sharp and steady enough to rely on."""
    return _alone(beats) or _among_strays(beats)


def _alone(beats: Sequence[float]) -> Timer | None:
    """Returns the timer that nearly all uses are due to."""
    found = find_period(beats)
    if found is None or found.seconds < 2 * BURST_SECONDS:
        return None
    if found.jitter_seconds > MOST_JITTER * found.seconds:
        return None
    steps = {round((at - found.anchor) / found.seconds) for at in list(beats)[-RECENT_BEATS:]}
    share = len(steps) / (max(steps) - min(steps) + 1)
    if share < LEAST_SHARE:
        return None
    return Timer(
        period_seconds=found.seconds,
        anchor=found.anchor + max(steps) * found.seconds,
        jitter_seconds=max(LEAST_JITTER_SECONDS, found.jitter_seconds),
        share=share,
    )


def _among_strays(beats: Sequence[float]) -> Timer | None:
    """Returns the timer that some of the uses are due to."""
    found = find_beat(list(beats), RECENT_BEATS)
    if found is None:
        return None
    return Timer(
        period_seconds=found.period.seconds,
        anchor=found.period.anchor,
        jitter_seconds=max(LEAST_JITTER_SECONDS, found.period.jitter_seconds),
        share=found.share,
    )
