"""Whether models can be held together: yes, no, or not known, and then why.

A search that ended early, a need or a memory that could not be read prove nothing: that is no `no`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import GpuCapacity, HostCapacity
from warmset.core.planner.problem import Effort
from warmset.core.planner.search import is_feasible
from warmset.core.planner.standing import find_route
from warmset.core.planner.wanted import state_problem
from warmset.core.replacing import replace

UNBOUNDED: Final = 1 << 60
"""Steps of all searches for an order together; each has its own limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The answer.

    Attributes:
        is_possible: whether all can be resident together; `None`: not known.
        unknown: why that is not known; empty where it is.
    """

    is_possible: bool | None
    unknown: str = ""


YES: Final = Holding(is_possible=True)
NO: Final = Holding(is_possible=False)


def can_hold(host: HostCapacity, models: Sequence[Candidate]) -> Holding:
    """Returns whether all of these can be resident together: by need, and by Ollama's rules."""
    wanted = [replace(c, pin=True) for c in models]
    if len(wanted) > host.max_count:
        return NO
    answer = _as_far_as_known(host, wanted)
    if answer is not NO:
        return answer
    for candidate in wanted:
        missing = why_unknown(host, candidate)
        if missing:
            return Holding(is_possible=None, unknown=f"{candidate.name}: {missing}")
    unread = [gpu for gpu in host.gpus if gpu.usable_bytes is None]
    if unread and _may_fit_on(host, unread, wanted):
        told = "; ".join(f"{gpu.label}: {gpu.unknown or 'free memory: not read'}" for gpu in unread)
        return Holding(is_possible=None, unknown=told)
    return NO


def why_unknown(host: HostCapacity, candidate: Candidate) -> str:
    """Returns why nothing can be said of a model on this host; empty: something can."""
    if candidate.file is None or candidate.shape is None:
        return "the size of its weights file is not known"
    if host.is_cpu_only or candidate.shape.options.num_gpu == 0:
        if candidate.on_cpu_bytes is None:
            return candidate.unknown or "its need in RAM is not known"
        return "free RAM is not known" if host.ram_bytes is None else ""
    if candidate.on_one is None and candidate.spread is None:
        return candidate.unknown or "its need is not known"
    return ""


def _as_far_as_known(host: HostCapacity, wanted: Sequence[Candidate]) -> Holding:
    """Returns the answer where only what is known counts."""
    fits = is_feasible(state_problem(host, wanted, is_loose=True).problem)
    if fits is None:
        return Holding(
            is_possible=None,
            unknown="no arrangement on the GPUs was found in time, nor that there is none",
        )
    if not fits:
        return NO
    effort = Effort(UNBOUNDED)
    if find_route(host, wanted, effort) is not None:
        return YES
    if effort.was_cut_short:
        unknown = "no order of loading was found in time, nor that there is none"
        return Holding(is_possible=None, unknown=unknown)
    return NO


def _may_fit_on(
    host: HostCapacity, unread: Sequence[GpuCapacity], wanted: Sequence[Candidate]
) -> bool:
    """Whether models might fit if all of the unread GPUs were free; so if their size is unread."""
    if not all(gpu.gpu.total_bytes for gpu in unread):
        return True
    gpus = tuple(
        replace(gpu, usable_bytes=gpu.gpu.total_bytes) if gpu in unread else gpu
        for gpu in host.gpus
    )
    best = replace(host, gpus=gpus)
    return is_feasible(state_problem(best, wanted, is_loose=True).problem) is not False
