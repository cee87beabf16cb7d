"""The compute buffer: scratch of the worst-case graph, reserved once at load.

It is the maximum over the phases of a forward pass, since a phase reuses what the last one
freed. All sizes are rows of f32 for each token of the physical batch unless said otherwise.

Source: llama.cpp `src/llama-context.cpp: sched_reserve`, `src/llama-graph.cpp`, and
`ggml/src/ggml-alloc.c`, which decides what is alive together. The rows each phase keeps were
checked against buffers printed in public logs; `scripts/bench_footprint` shows the errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from warmset.core.footprint.engine import Engine, Era, Tool
from warmset.core.footprint.kvcache import Cells
from warmset.core.footprint.shape import Shape

_F32: Final = 4
_F16: Final = 2
PIPELINE_COPIES: Final = 4
"""Copies of each input where GPUs work as a pipeline. Source: ggml `GGML_SCHED_MAX_COPIES`."""
_WIDEST_VOCABULARY: Final = 262144
_WIDEST_FEED_FORWARD: Final = 4
_USUAL_EXPERTS_USED: Final = 8
_USUAL_EXPERT_SHARE: Final = 3 / 8
"""Stand-ins where a file hides them: the widest vocabulary in use, ff = 4 * embedding, eight
experts of 3/8 of the embedding (Qwen3 MoE: 768 of 2048, 1536 of 4096; DeepSeek V3: 2048 of 7168).
The bound takes experts as wide as the embedding, as those of gpt-oss are."""
_FORK_SLICE_BYTES: Final = 512 << 20
"""What ik_llama.cpp unpacks of a latent cache at a time. Source: `-amb 512` of its own guides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a graph is reserved for."""

    cells: Cells
    batch: int
    slots: int
    flash: bool
    is_latent: bool
    draft_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Scratch bytes by place.

    `output` is for the device with the output matrix, `inner` for others, `host` for RAM,
    `phase` names the winner.
    """

    output: int
    inner: int
    host: int
    phase: str


def estimate_graph(
    shape: Shape, engine: Engine, load: Load, *, copies: int = 1, widest: bool = False
) -> Graph:
    """Returns the scratch of a device with the output matrix, of others, and of the host.

    Args:
        shape: the model.
        engine: the runtime generation.
        load: context, batch, slots.
        copies: input copies; `PIPELINE_COPIES` where several GPUs hold all layers.
        widest: for a bound, take the widest where the file hides a width.

    Formula:
        max(logits, attention, feed-forward), each with the masks alive at that time
    """
    row = _F32 * load.batch
    mask_cells = _mask_cells(load, engine, shape)
    single = mask_cells * load.batch * (_F16 if load.flash else 0)
    if load.flash and engine.era is Era.LEAN:
        inputs, kept = single, 0  # one f16 mask for the whole pass
    else:
        inputs, kept = mask_cells * row, single  # an f32 mask, and an f16 copy with flash
    extra = (copies - 1) * (inputs + row * shape.embedding)
    attention = inputs + kept + row * _attention_rows(shape, load)
    lives_on = inputs if not load.flash or engine.era is Era.LEAN else kept
    feed_forward = lives_on + row * feed_forward_rows(shape, widest=widest)
    state = lives_on + row * (2 * shape.conv_channels + 3 * shape.inner + 2 * shape.embedding)
    inner = max(attention, feed_forward, state if shape.inner else 0)
    if load.is_latent and engine.is_fork:
        inner = max(inner, _fork_latent(shape, load, inputs + kept, is_sliced=not widest))
    logits = _logits(shape, engine, load)
    if load.flash and engine.era is Era.DENSE and not engine.is_fork:
        logits += kept  # early builds did not reuse the copy for the logits
    output = max(inner, logits)
    phase = "logits" if output == logits else "attention" if inner == attention else "feed-forward"
    host = inputs + row * shape.embedding
    return Graph(output=output + extra, inner=inner + extra, host=host, phase=phase)


def _mask_cells(load: Load, engine: Engine, shape: Shape) -> int:
    """Returns the columns of all masks: one for full layers, one for sliding ones."""
    cells = load.cells
    if cells.mask_window == cells.mask_full and not shape.window:
        return cells.mask_full
    if engine.is_fork or cells.window == cells.full:
        return cells.mask_full
    return cells.mask_full + cells.mask_window


def _attention_rows(shape: Shape, load: Load) -> int:
    """Returns the rows alive while the first attention layer runs.

    Without flash attention the scores of all heads over the whole context are among them:
    heads * cells + 4 * embedding + 1, exact for llama-like models.
    """
    wide = shape.heads * shape.head_length
    if shape.latent is not None and not load.is_latent:
        # queries, keys, and the unpacked keys with values of every head
        rows = 2 * wide + shape.heads * (shape.head_length + shape.latent.row // 8)
    elif load.flash:
        rows = 2 * shape.embedding + 3 * wide
    else:
        rows = 4 * shape.embedding + 1
    return rows if load.flash else rows + shape.heads * load.cells.mask_full


def feed_forward_rows(shape: Shape, *, widest: bool = False) -> int:
    """Returns the rows alive in the feed-forward block: gate, up, their product, residuals.

    Args:
        shape: the model.
        widest: take the widest experts there are where the file hides their width.

    Formula:
        3 * ff + 2 * embedding; for experts used * (3 * expert ff + 2 * embedding) + the same rest.
        Exact on a 27B qwen35 in build b10809. Gemma norms its branch too.
    """
    residual = (4 if shape.architecture.startswith("gemma") else 2) * shape.embedding
    if not shape.experts:
        width = shape.feed_forward or _WIDEST_FEED_FORWARD * shape.embedding
        return 3 * width + residual
    used = shape.experts_used or _USUAL_EXPERTS_USED
    share = 1 if widest else _USUAL_EXPERT_SHARE
    expert = shape.expert_feed_forward or int(shape.embedding * share)
    dense = 3 * (shape.feed_forward or 0) if shape.latent else 0  # leading blocks are dense
    return max(used * (3 * expert + 2 * shape.embedding), dense) + residual


def _logits(shape: Shape, engine: Engine, load: Load) -> int:
    """Returns the bytes of the output rows.

    Formula:
        4 * rows * (vocabulary + 2 * embedding); rows = batch, and since the summer of 2026
        one for each slot and drafted token, unless the model embeds
    """
    if shape.is_encoder:
        return 0
    vocabulary = shape.vocabulary or _WIDEST_VOCABULARY
    rows = load.batch
    reads_all = shape.pools and engine.tool is Tool.OLLAMA  # started with `--embedding`
    if engine.era is Era.LEAN and not reads_all:
        rows = min(rows, load.slots * (1 + load.draft_tokens))
    return _F32 * rows * vocabulary + _F32 * load.batch * 2 * shape.embedding


def slot_logits(shape: Shape, engine: Engine, load: Load) -> int:
    """Returns what further slots of a delta-net hybrid reserve in lean builds.

    One output buffer of a whole batch for each slot after the first. Source: readings in
    unslothai/unsloth `test_llama_cpp_compute_buffer.py` (36, 492, 1388, 3220 MiB at 1, 2, 4
    and 8 slots); the code path behind it is not known to us, hence its own term.
    """
    if engine.era is not Era.LEAN or not shape.scheme.attention_interval:
        return 0
    return _F32 * load.batch * (shape.vocabulary or _WIDEST_VOCABULARY) * (load.slots - 1)


def has_guesses(shape: Shape, engine: Engine, load: Load) -> bool:
    """Returns whether `estimate_graph` says more with `widest`: something is not told."""
    return "expert_feed_forward_length" in shape.missing or (load.is_latent and engine.is_fork)


def _fork_latent(shape: Shape, load: Load, mask_bytes: int, *, is_sliced: bool) -> int:
    """Returns what prefill holds while ik_llama.cpp unpacks a latent cache (`-mla 2` and 3).

    Keys and values of all heads in f16, the f32 slice in work with its keys once more, queries
    before and after they are rotated, the output, and the masks.

    Source:
        ik_llama.cpp `src/graphs/build_deepseek2.cpp`, branch for prompts: `kv_f32`, `k_nope`,
        `v`, `k`; the heads are cut into the fewest equal slices that fit `-amb`.
    """
    assert shape.latent is not None
    cells, heads = load.cells.full, shape.heads
    rope = shape.latent.row - shape.latent.rank
    plain = max(shape.head_length - rope, 0)  # keys without their rotated part, and values
    whole = _F32 * cells * heads * 2 * plain
    slices = 1
    if is_sliced:
        equal = (n for n in range(1, heads) if heads % n == 0)
        slices = next((n for n in equal if whole <= n * _FORK_SLICE_BYTES), heads)
    slice_bytes = whole // slices
    if slices > 1:
        slice_bytes += _F16 * cells * (heads // slices) * plain
    unpacked = _F16 * cells * heads * (shape.head_length + plain)
    rows = heads * (2 * shape.head_length + plain)
    return unpacked + slice_bytes + mask_bytes + _F32 * load.batch * rows
