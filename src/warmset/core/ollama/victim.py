"""Which resident model Ollama evicts, and which errors make it evict everything.

Order: idle before busy, then the smallest keep-alive *duration* (unsigned, so for-ever last),
then the weights path. No recency, no size, no GPU: the victim need not even help.

Source: Ollama v0.33 `server/sched.go: findRunnerToUnload, ByDurationAndName`,
`llm/status.go: outOfMemorySubstrings`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.ollama.keepalive import eviction_rank

_OUT_OF_MEMORY: Final = (
    "out of memory",
    "out of device memory",
    "cudamalloc failed",
    "hipmalloc failed",
    "failed to allocate",
    "allocation failed",
    "not enough memory",
    "insufficient memory",
    "vk_error_out_of_device_memory",
    "erroroutofmemory",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One resident model as the victim order sees it. Units: seconds."""

    path: str  # the weights blob's path; its order is the order of the digests
    duration: float
    is_busy: bool


def eviction_order(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Returns all candidates in the order of their durations, the next to go first."""
    return tuple(sorted(candidates, key=lambda c: (eviction_rank(c.duration), c.path)))


def choose_victim(candidates: Sequence[Candidate]) -> Candidate | None:
    """Returns the model Ollama evicts next: the first idle one, else the first of all.

    A busy victim is waited for without limit. `None` when nothing is resident.
    """
    ordered = eviction_order(candidates)
    return next((c for c in ordered if not c.is_busy), ordered[0] if ordered else None)


def is_out_of_memory(text: str) -> bool:
    """Returns whether Ollama takes an error text for lack of memory."""
    lowered = text.lower()
    return any(needle in lowered for needle in _OUT_OF_MEMORY)
