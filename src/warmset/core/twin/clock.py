"""Virtual time: actions in the order of their moments, ties in the order of their making."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(order=True, slots=True)
class Timer:
    """One action that waits for its moment."""

    when: float
    sequence: int
    action: Callable[[], None] = field(compare=False)
    is_cancelled: bool = field(default=False, compare=False)

    def cancel(self) -> None:
        """Makes the action never happen; harmless when it already did."""
        self.is_cancelled = True


class Timeline:
    """A clock that only moves when told to, and runs what is due on its way.

    Units:
        Seconds. What 0 means is the caller's affair (the twin uses Unix time).
    """

    def __init__(self, start: float = 0.0) -> None:
        self.now = start
        self._timers: list[Timer] = []
        self._made = 0

    def at(self, when: float, action: Callable[[], None]) -> Timer:
        """Plans an action; a moment in the past means as soon as time moves."""
        timer = Timer(max(when, self.now), self._made, action)
        self._made += 1
        heapq.heappush(self._timers, timer)
        return timer

    def after(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Plans an action `seconds` from now."""
        return self.at(self.now + seconds, action)

    @property
    def next_at(self) -> float:
        """The moment of the next action; infinite when nothing is planned."""
        while self._timers and self._timers[0].is_cancelled:
            heapq.heappop(self._timers)
        return self._timers[0].when if self._timers else math.inf

    def advance(self, until: float) -> None:
        """Moves to `until`, running every action that is due, at its own moment."""
        while self.next_at <= until:
            timer = heapq.heappop(self._timers)
            self.now = timer.when
            timer.action()
        self.now = max(self.now, until)
