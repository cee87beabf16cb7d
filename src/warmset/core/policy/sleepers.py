"""Which models are worth a look: those that promised nothing are let sleep for a while.

A host knows many more models than it could fetch next. Each look costs work only for those awake.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf


class Sleepers:
    """Models by whether it is time to look at them again."""

    __slots__ = ("_asleep", "_awake", "_heap")

    def __init__(self) -> None:
        self._awake: dict[str, None] = {}  # a set that remembers its order
        self._asleep: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []  # its front does sleep; the rest may be old news

    @property
    def first_wakes_at(self) -> float:
        """When the first sleeper wakes by itself; `inf` if nobody sleeps."""
        return self._heap[0][0] if self._heap else inf

    def wake(self, model: str) -> None:
        """Lets a model be looked at from now on."""
        if model not in self._awake:
            self._asleep.pop(model, None)
            self._awake[model] = None
            self._drop_stale()

    def sleep(self, model: str, until: float) -> None:
        """Lets a model be until then."""
        self._awake.pop(model, None)
        self._asleep[model] = until
        heappush(self._heap, (until, model))
        self._drop_stale()

    def awake(self, now: float) -> tuple[str, ...]:
        """Returns the models to look at, in the order they woke."""
        while self._heap and self._heap[0][0] <= now:
            _, model = heappop(self._heap)
            self.wake(model)
        return tuple(self._awake)

    def _drop_stale(self) -> None:
        """Leaves a sleeper that still sleeps at the front of the heap."""
        while self._heap and self._asleep.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
