"""The hybrid histogram of Serverless in the Wild.

Source: Shahrad et al., Serverless in the Wild (ATC'20), section 4.2: idle times in one-minute bins
up to four hours; unload after use, load again at the 5th percentile less 10 %, keep to the 99th
plus 10 %. A histogram that is not representative (coefficient of variation of its counts under 2)
means a plain keep-alive of its range. Where most idle times are out of range the paper fits an
ARIMA model; here the mean of the last ten stands for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Final

from warmset.core.policy.base import Decision, Event, ModelCost, View
from warmset.core.policy.lru import Lru
from warmset.core.units import MINUTE

BINS: Final = 240
RANGE_SECONDS: Final = BINS * MINUTE
MARGIN: Final = 0.10
HEAD, TAIL = 0.05, 0.99
REPRESENTATIVE: Final = 2.0
RECENT: Final = 10
FAR_MARGIN: Final = 0.15
"""Before and after a forecast beyond the range. Source: the same section, of its ARIMA model."""


class Histogram:
    """The idle times of one model."""

    __slots__ = ("bins", "far", "squares", "total")

    def __init__(self) -> None:
        self.bins = [0] * BINS
        self.far: list[float] = []  # the last ones beyond the range
        self.total = self.squares = 0

    def add(self, seconds: float) -> None:
        """Counts one idle time."""
        self.total += 1
        at = int(seconds / MINUTE)
        if at >= BINS:
            self.far = [*self.far[1 - RECENT :], seconds]
            return
        self.squares += 2 * self.bins[at] + 1
        self.bins[at] += 1

    def windows(self) -> tuple[float, float]:
        """Returns the seconds until the pre-load (0: stay loaded) and the keep-alive after it."""
        within = sum(self.bins)
        if self.total - within > within:
            guess = sum(self.far) / len(self.far)
            return (1 - FAR_MARGIN) * guess, 2 * FAR_MARGIN * guess
        mean = within / BINS
        if within < 2 or sqrt(max(0.0, self.squares / BINS - mean * mean)) < REPRESENTATIVE * mean:
            return 0.0, RANGE_SECONDS
        before = self._quantile(HEAD) * MINUTE * (1 - MARGIN)
        return before, (self._quantile(TAIL) + 1) * MINUTE * (1 + MARGIN) - before

    def _quantile(self, share: float) -> int:
        wanted, run = share * sum(self.bins), 0
        for at, count in enumerate(self.bins):
            run += count
            if run >= wanted:
                return at
        return BINS - 1


class HybridHistogram(Lru):
    """Unloads after use and loads again just before the histogram's head; LRU under pressure."""

    events = (Event.IDLE, Event.LOADED, Event.WAKE, Event.SPACE)

    def start(self, models: Mapping[str, ModelCost], budget_bytes: int) -> None:
        """Forgets all idle times and appointments."""
        super().start(models, budget_bytes)
        self.histograms: dict[str, Histogram] = {}
        self.idle_since: dict[str, float] = {}
        self.due: dict[str, tuple[float, float]] = {}  # model -> when to load, then keep how long

    def requested(self, now: float, model: str) -> None:
        """Ends the idle time, and the appointment that it was too early for."""
        self.due.pop(model, None)
        since = self.idle_since.pop(model, None)
        if since is not None:
            self.histograms.setdefault(model, Histogram()).add(now - since)

    def decide(self, view: View) -> Decision | None:
        """Returns timers and drops at the end of a use, preloads when they are due."""
        if view.event is Event.SPACE:
            return super().decide(view)
        keep: dict[str, float | None] = {}
        drop: tuple[str, ...] = ()
        name = view.subject
        if view.event is Event.IDLE and name is not None:
            self.idle_since[name] = view.now
            before, after = self.histograms.setdefault(name, Histogram()).windows()
            if before >= MINUTE and view.residents[name].may_go and self.models[name].may_preload:
                self.due[name] = (view.now + before, after)
                drop = (name,)
            else:
                keep[name] = before + after
        elif view.event is Event.LOADED and name is not None and view.residents[name].may_go:
            keep[name] = self.due.pop(name, (view.now, RANGE_SECONDS))[1]
        return self._appointments(view, drop, keep)

    def _appointments(
        self, view: View, drop: tuple[str, ...], keep: Mapping[str, float | None]
    ) -> Decision:
        late = view.now + 1e-6  # the host's wake comes at the very instant
        ready = sorted(m for m, (at, _) in self.due.items() if at <= late)
        for model in ready:
            if model in view.residents or model == view.loading:
                del self.due[model]
        later = (at for at, _ in self.due.values() if at > late)
        return Decision(
            evict=drop,
            preload=tuple(ready) or None,
            keep_alive_seconds=keep,
            wake_at=min(later, default=None),
        )
