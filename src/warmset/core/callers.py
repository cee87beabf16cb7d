"""How long a model should stay after a request, by who asks: a person, a job, a search index.

Where warmset steers the host, callers send no keep-alive at all: leases carry ranks there, and a
client's own value replaces them. These values are for hosts and callers without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from warmset.core.units import DAY, HOUR, MINUTE


class Caller(StrEnum):
    """Who asks."""

    INTERACTIVE = "interactive"
    BATCH = "batch"
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Habit:
    """What one kind of caller needs. Units: `keep_alive` in seconds, `text` the same for Ollama."""

    keep_alive: float
    text: str
    reason: str


HABITS: Final[Mapping[Caller, Habit]] = MappingProxyType(
    {
        Caller.INTERACTIVE: Habit(
            keep_alive=HOUR,
            text="1h",
            reason="a person thinks, reads and comes back after a meeting",
        ),
        Caller.BATCH: Habit(
            keep_alive=MINUTE,
            text="1m",
            reason="one request follows the other; 0 would unload between them",
        ),
        Caller.EMBEDDING: Habit(
            keep_alive=DAY,
            text="24h",
            reason="small, and every search of a chat waits for it first",
        ),
    }
)
"""Our choice, inside the ranges that operators report: minutes for jobs, half an hour to some hours
for chats and editors, a day or for ever for embedding models. Ollama's default is 5 minutes
(ollama-behaviour 2.2)."""


def caller_of(*, is_embedding: bool, priority_class: str = "") -> Caller:
    """Returns who most likely asks for a model: what it can do, then the name of its class."""
    if is_embedding:
        return Caller.EMBEDDING
    known = {caller.value: caller for caller in Caller}
    return known.get(priority_class.strip().lower(), Caller.INTERACTIVE)
