"""How much more GPU memory would hold all models together, so that nobody is evicted any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.model import DeviceId
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import GpuCapacity, HostCapacity
from warmset.core.planner.explain import why_impossible
from warmset.core.planner.pins import can_hold
from warmset.core.replacing import replace
from warmset.core.units import GIB

CARDS: Final = (8, 12, 16, 24, 32, 48, 80, 96, 141, 192)
"""Sizes of GPUs that are sold, in GiB."""

MOST_GIB: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """What would be enough.

    Attributes:
        gpu: the label of the GPU that would have to be larger; empty: one more GPU.
        extra_bytes: by how much, or how large that one is.
    """

    gpu: str
    extra_bytes: int


def find_extra(host: HostCapacity, candidates: Sequence[Candidate]) -> tuple[Extra, ...]:
    """Returns the ways to hold all models at once, the fewest bytes first.

    A larger GPU for each that is there, and one more GPU; none where no memory helps: the maximum
    of loaded models, RAM, or a model that nothing is known of.

    Args:
        host: without the models.
        candidates: all that shall be resident; what can never be is left out.
    """
    models = [c.afresh() for c in candidates if why_impossible(host, c) is None]
    if not host.gpus or not models or can_hold(host, models):
        return ()
    found = [
        Extra(gpu=gpu.label, extra_bytes=more * GIB)
        for gpu in host.known
        if (more := _least(host, gpu, models)) is not None
    ]
    one_more = next((size for size in CARDS if can_hold(_with_card(host, size), models)), None)
    if one_more is not None:
        found.append(Extra(gpu="", extra_bytes=one_more * GIB))
    return tuple(sorted(found, key=lambda extra: (extra.extra_bytes, extra.gpu == "", extra.gpu)))


def _least(host: HostCapacity, gpu: GpuCapacity, models: Sequence[Candidate]) -> int | None:
    """Returns the fewest GiB more on one GPU with which all fit; `None`: none are enough."""
    high = 1
    while not can_hold(_grown(host, gpu, high), models):
        high *= 2
        if high > MOST_GIB:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if can_hold(_grown(host, gpu, middle), models):
            high = middle
        else:
            low = middle
    return high


def _grown(host: HostCapacity, gpu: GpuCapacity, more_gib: int) -> HostCapacity:
    more = more_gib * GIB
    larger = replace(
        gpu,
        usable_bytes=(gpu.usable_bytes or 0) + more,
        gpu=replace(
            gpu.gpu,
            total_bytes=gpu.gpu.total_bytes + more,
            free_bytes=gpu.gpu.free_bytes + more,
        ),
    )
    return replace(host, gpus=tuple(larger if g is gpu else g for g in host.gpus))


def _with_card(host: HostCapacity, size_gib: int) -> HostCapacity:
    """Returns the host with one more GPU like the last, of another size, all of it for models."""
    last = host.gpus[-1]
    size = size_gib * GIB
    card = replace(
        last,
        id=DeviceId("one-more"),
        names=(),
        usable_bytes=size,
        gpu=replace(last.gpu, id=str(len(host.gpus)), total_bytes=size, free_bytes=size),
    )
    return replace(host, gpus=(*host.gpus, card))
