"""Whether a request to a resident model makes Ollama load it anew.

Source: Ollama v0.33 `server/sched.go: needsReload`; before v0.30 `num_ctx` was compared plainly
with the unclamped value of the load.
"""

from __future__ import annotations

from warmset.core.ollama.context import effective_context
from warmset.core.ollama.generation import NEWEST, Generation
from warmset.core.ollama.types import LoadShape, RunnerOptions
from warmset.core.replacing import replace


def reload_reason(
    resident: LoadShape, wanted: LoadShape, generation: Generation = NEWEST
) -> str | None:
    """Returns what makes the resident runner unusable for a request, `None` if it serves.

    Args:
        resident: as it was loaded; `num_ctx` is the effective one.
        wanted: as the request asks (`options.load_shape`).
        generation: of the server.
    """
    if resident.context_shift != wanted.context_shift:
        return "shift"
    if resident.adapters != wanted.adapters:
        return "adapters"
    if resident.projectors != wanted.projectors:
        return "projectors"
    if resident.is_mlx:
        return None
    have, want = resident.options, wanted.options
    if generation.has_automatic_flags:
        want = _as_compared(resident, wanted)
    if wanted.options.num_gpu < 0:
        have, want = replace(have, num_gpu=-1), replace(want, num_gpu=-1)
    return _first_difference(have, want)


def _as_compared(resident: LoadShape, wanted: LoadShape) -> RunnerOptions:
    """Returns the wanted options with what counts as equal replaced by the resident's."""
    have, want = resident.options, wanted.options
    num_ctx = effective_context(want.num_ctx, resident.trained_context)
    if resident.num_ctx_auto and wanted.num_ctx_auto:
        num_ctx = have.num_ctx
    both_batches_auto = resident.num_batch_auto and wanted.num_batch_auto
    return replace(
        want,
        num_ctx=num_ctx,
        num_batch=have.num_batch if both_batches_auto else want.num_batch,
        use_mmap=have.use_mmap
        if resident.use_mmap_auto and want.use_mmap is None
        else want.use_mmap,
    )


def _first_difference(have: RunnerOptions, want: RunnerOptions) -> str | None:
    pairs = (
        ("num_ctx", have.num_ctx, want.num_ctx),
        ("num_batch", have.num_batch, want.num_batch),
        ("num_gpu", have.num_gpu, want.num_gpu),
        ("main_gpu", have.main_gpu, want.main_gpu),
        ("use_mmap", have.use_mmap, want.use_mmap),
        ("num_thread", have.num_thread, want.num_thread),
        ("draft_num_predict", have.draft_num_predict, want.draft_num_predict),
    )
    return next((name for name, a, b in pairs if a != b), None)
