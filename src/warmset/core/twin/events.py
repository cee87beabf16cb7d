"""What happens in a twin, as values: the answers to requests and the news of the scheduler."""

from __future__ import annotations

from dataclasses import dataclass

from warmset.core.twin.runner import LoadOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A request has its runner; `was_cold` if a load was made for it."""

    request_id: int
    pid: int
    was_cold: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A request ends without a runner. `status` is the HTTP status Ollama answers with."""

    request_id: int
    error: str
    status: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadStarted:
    """A runner process was started."""

    order: LoadOrder
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadEnded:
    """A runner is ready, or has failed with `error`."""

    order: LoadOrder
    pid: int
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unloaded:
    """A runner was stopped and left the list; its memory may come back later.

    `is_evicted`: it had to make room; else its time was over, or somebody unloaded it.
    """

    key: str
    name: str
    pid: int
    is_evicted: bool = False


Event = Granted | Failed | LoadStarted | LoadEnded | Unloaded
