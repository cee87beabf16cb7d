"""A fixed idle time for every model."""

from __future__ import annotations

from warmset.core.policy.base import Decision, Event, View
from warmset.core.policy.lru import Lru


class Ttl(Lru):
    """Lets a model expire a fixed time after its last use; under pressure the LRU one goes.

    Args:
        seconds: the keep-alive; `None` never expires.
    """

    events: tuple[Event, ...] = (Event.LOADED, Event.SPACE)

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds

    def decide(self, view: View) -> Decision | None:
        """Returns the timer of what was loaded, or the victims of a waiting load."""
        if view.event is Event.LOADED and view.subject is not None:
            return Decision(keep_alive_seconds={view.subject: self.seconds})
        return super().decide(view)
