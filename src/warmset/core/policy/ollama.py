"""Ollama's own rule, with and without its limit on the number of loaded models.

Source: ollama-behaviour; `server/sched.go: ByDurationAndName` (v0.33): of the idle runners the one
with the shortest keep-alive goes first, ties by the path of the weights, which is a digest: an
order that is arbitrary but fixed. `findRunnerToUnload` and `OLLAMA_MAX_LOADED_MODELS`: with no
setting the limit is three models per GPU.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from warmset.core.policy.base import Decision, Event, Held, View
from warmset.core.policy.ttl import Ttl

DEFAULT_KEEP_ALIVE_SECONDS: Final = 300.0
"""Source: `envconfig/config.go: KeepAlive`."""

DEFAULT_LIMIT_PER_GPU: Final = 3
"""Source: `server/sched.go: defaultModelsPerGPU`."""


class Ollama(Ttl):
    """Evicts as Ollama does when nobody steers it.

    Args:
        seconds: the keep-alive of every model; `None` is `keep_alive: -1`.
        max_loaded: the limit on loaded models; `None` leaves only the memory.
    """

    def __init__(
        self, seconds: float | None = DEFAULT_KEEP_ALIVE_SECONDS, max_loaded: int | None = None
    ) -> None:
        super().__init__(seconds)
        self.max_loaded = max_loaded
        if max_loaded is not None:
            self.events = (Event.LOADED, Event.REQUEST, Event.IDLE, Event.SPACE)

    def rank(self, held: Held) -> tuple[float | str, ...]:
        """Returns the keep-alive, then the digest that stands for the path."""
        endless = held.keep_alive_seconds is None
        return (endless, held.keep_alive_seconds or 0.0, sha256(held.id.encode()).hexdigest())

    def decide(self, view: View) -> Decision | None:
        """Returns victims of the limit as well as of the memory."""
        if view.event not in (Event.REQUEST, Event.IDLE):
            return super().decide(view)
        if self.max_loaded is None:
            return None
        loaded = len(view.residents) + (view.loading is not None)
        excess = loaded + bool(view.queued) - self.max_loaded
        if excess <= 0:
            return None
        return Decision(evict=tuple(h.id for h in self.in_order(view)[:excess]))
