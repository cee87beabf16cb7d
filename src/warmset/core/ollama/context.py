"""Context lengths: the automatic tier, clamping, and the steps down after an OOM.

Source: Ollama v0.33 `server/routes.go: Serve`, `server/sched.go: effectiveContext,
effectiveLlamaServerContext, nextLowerAutoNumCtx`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from warmset.core.ollama.generation import NEWEST, Generation
from warmset.core.ollama.types import U64, WeightsFile
from warmset.core.units import GIB

TIER_LARGE: Final = 262144
TIER_MEDIUM: Final = 32768
TIER_SMALL: Final = 4096

ONE_SLOT_FAMILIES: Final = frozenset(
    (
        "mllama",
        "qwen3vl",
        "qwen3vlmoe",
        "qwen35",
        "qwen35moe",
        "qwen3next",
        "lfm2",
        "lfm2moe",
        "nemotron_h",
        "nemotron_h_moe",
        "nemotron_h_omni",
    )
)
"""Families that Ollama never runs with more than one slot. Source: `sched.go: load`."""


def default_context(
    gpu_total_bytes: Iterable[int],
    gpu_overhead_bytes: int = 0,
    generation: Generation = NEWEST,
) -> int:
    """Returns the context of a host where nobody says one: a tier by the sum of its GPUs' memory.

    The overhead is subtracted per GPU in unsigned arithmetic, so an overhead larger than a
    GPU wraps to a huge sum, as it does in Ollama. Before 0.15.5 it was one number for all hosts.
    """
    if generation.default_context is not None:
        return generation.default_context
    total = 0
    for gpu_bytes in gpu_total_bytes:
        total = (total + gpu_bytes - gpu_overhead_bytes) & U64
    if total >= 47 * GIB:
        return TIER_LARGE
    if total >= 23 * GIB:
        return TIER_MEDIUM
    return TIER_SMALL


def effective_context(num_ctx: int, trained_context: int) -> int:
    """Returns the context of one slot: clamped to what the model was trained for, if known."""
    if 0 < trained_context < num_ctx:
        return trained_context
    return num_ctx


def server_context(num_ctx: int, file: WeightsFile, parallel: int) -> int:
    """Returns the cells that llama-server is started with: all slots together."""
    return effective_context(num_ctx, file.trained_context) * max(parallel, 1)


def next_lower_auto_context(num_ctx: int) -> int | None:
    """Returns the next tier below an automatic context, `None` at the smallest."""
    if num_ctx > TIER_MEDIUM:
        return TIER_MEDIUM
    if num_ctx > TIER_SMALL:
        return TIER_SMALL
    return None


def slots(file: WeightsFile, num_parallel: int, *, completes: bool) -> int:
    """Returns the parallel slots a model gets: one for embedders and some families."""
    if not completes or file.family in ONE_SLOT_FAMILIES:
        return 1
    return max(num_parallel, 1)
