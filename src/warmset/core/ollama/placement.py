"""Which GPUs a load goes to, and what counts as available there.

Ollama places a model whole on the single GPU with the most free memory if the prediction is
at most 80 % of it, else over *all* GPUs of the best backend group. There is no "two of four".

Source: Ollama v0.33 `server/sched.go: selectLlamaServerPlacement, availableMemoryForLoad,
availableMemoryForPlacement, betterPlacementGPU, betterPlacementGroup`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warmset.core.ollama.predict import fit_limit
from warmset.core.ollama.types import Gpu


@dataclass(frozen=True, slots=True, kw_only=True)
class Available:
    """Memory that a placement counts on.

    `available_bytes` is `gpu_free_bytes` unless system memory limits integrated GPUs.
    """

    available_bytes: int
    gpu_free_bytes: int
    is_system_limited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The GPUs handed to a runner, in order, and the `main_gpu` it is started with."""

    gpus: tuple[Gpu, ...]
    main_gpu: int | None = None


def select_placement(
    gpus: Sequence[Gpu],
    *,
    predicted_bytes: int,
    num_gpu: int = -1,
    main_gpu: int | None = None,
    spread: bool = False,
    system_free_bytes: int = 0,
) -> Placement:
    """Returns where a load goes.

    Args:
        gpus: in Ollama's order, with Ollama's belief of free memory.
        predicted_bytes: without batch surcharge.
        num_gpu: the option; 0 passes everything through (the caller hands in no GPUs).
        main_gpu: the option: an index inside each backend group.
        spread: `OLLAMA_SCHED_SPREAD`.
        system_free_bytes: caps integrated GPUs; 0 = unknown.
    """
    passed = tuple(gpus)
    if len(passed) <= 1 or num_gpu == 0:
        return Placement(gpus=passed, main_gpu=main_gpu)
    groups = _by_library(passed)
    if main_gpu is not None:
        members = [group[main_gpu] for group in groups if 0 <= main_gpu < len(group)]
        chosen = _best_gpu(members, system_free_bytes)
        if chosen is None:
            return Placement(gpus=_best_group(groups, system_free_bytes), main_gpu=main_gpu)
        return Placement(gpus=(chosen,), main_gpu=0)
    if not spread and predicted_bytes > 0:
        members = [
            gpu
            for group in groups
            for gpu in group
            if predicted_bytes <= fit_limit(_available_on(gpu, system_free_bytes))
        ]
        chosen = _best_gpu(members, system_free_bytes)
        if chosen is not None:
            return Placement(gpus=(chosen,), main_gpu=0)
    return Placement(gpus=_best_group(groups, system_free_bytes))


def available_for(placement: Placement, system_free_bytes: int = 0) -> Available:
    """Returns what the fit test and the batch choice count as available for a placement."""
    gpus = placement.gpus
    main = placement.main_gpu
    if main is not None and 0 <= main < len(gpus):
        free = gpus[main].free_bytes
        available = _available_on(gpus[main], system_free_bytes)
        return Available(
            available_bytes=available,
            gpu_free_bytes=free,
            is_system_limited=available < free,
        )
    return _available_together(gpus, system_free_bytes)


def _available_together(gpus: Sequence[Gpu], system_free_bytes: int) -> Available:
    shared = sum(gpu.free_bytes for gpu in gpus if gpu.integrated)
    discrete = sum(gpu.free_bytes for gpu in gpus if not gpu.integrated)
    if 0 < system_free_bytes < shared:
        return Available(
            available_bytes=discrete + system_free_bytes,
            gpu_free_bytes=shared + discrete,
            is_system_limited=True,
        )
    return Available(available_bytes=shared + discrete, gpu_free_bytes=shared + discrete)


def _available_on(gpu: Gpu, system_free_bytes: int) -> int:
    if gpu.integrated and 0 < system_free_bytes < gpu.free_bytes:
        return system_free_bytes
    return gpu.free_bytes


def _by_library(gpus: Sequence[Gpu]) -> tuple[tuple[Gpu, ...], ...]:
    libraries = dict.fromkeys(gpu.library for gpu in gpus)
    return tuple(tuple(g for g in gpus if g.library == library) for library in libraries)


def _best_gpu(members: Sequence[Gpu], system_free_bytes: int) -> Gpu | None:
    """Discrete before integrated, then most available; the first of equals."""
    return max(
        members,
        key=lambda gpu: (not gpu.integrated, _available_on(gpu, system_free_bytes)),
        default=None,
    )


def _best_group(groups: Sequence[tuple[Gpu, ...]], system_free_bytes: int) -> tuple[Gpu, ...]:
    return max(
        groups,
        key=lambda group: (
            any(not gpu.integrated for gpu in group),
            _available_together(group, system_free_bytes).available_bytes,
        ),
    )
