"""A clock that runs with the demand on the host.

At night nobody asks for anything: eight idle hours then say less about a model than one idle
hour at noon. What memory is worth to the others also goes with their demand. So ages for the
choice of victims are counted on a clock that runs at the pace of the host's own demand.
"""

from __future__ import annotations

from math import exp
from typing import Final

from warmset.core.units import MINUTE

WINDOW_SECONDS: Final = 15 * MINUTE
"""How far back `now` reaches when the demand is measured.

Source: at a few requests for other models a minute that is tens of events; the score on the
traces moves by less than 1 % from 5 minutes to an hour.
"""

SLOWEST: Final = 0.1
"""The pace of an idle host: not 0, since some gaps do run on the wall clock (timers, shifts)."""


class ActivityClock:
    """Seconds at the host's mean pace of demand; one per second in the long run."""

    __slots__ = ("_at", "_last", "_rate", "_span", "_switches", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self._at: float | None = None
        self._last = ""
        self._rate = self._span = 0.0
        self._switches = 0

    def read(self, now: float) -> float:
        """Returns the time on this clock."""
        if self._at is None:
            self._at = now
        passed = now - self._at
        if passed > 0:
            self._span += passed
            fade = exp(-passed / WINDOW_SECONDS)
            recent = self._rate * (1.0 - fade) * WINDOW_SECONDS / passed  # mean over `passed`
            pace = recent * (self._span + MINUTE) / (self._switches + 1)
            self.seconds += passed * (SLOWEST + (1.0 - SLOWEST) * pace)
            self._rate *= fade
            self._at = now
        return self.seconds

    def requested(self, now: float, model: str) -> float:
        """Takes note of a request and returns the time on this clock.

        A run of requests for one model says nothing about the others: only switches count.
        """
        seconds = self.read(now)
        if model != self._last:
            self._rate += 1.0 / WINDOW_SECONDS
            self._switches += 1
            self._last = model
        return seconds
