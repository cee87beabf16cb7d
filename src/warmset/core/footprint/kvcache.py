"""The attention cache: cells, streams and bytes, exact once the configuration is known."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from warmset.core.footprint.engine import Engine, Era
from warmset.core.footprint.shape import LayerCache, Shape
from warmset.errors import FactsError

CACHE_TYPE_BYTES_PER_32: Final = {
    "f32": 128,
    "f16": 64,
    "bf16": 64,
    "q8_0": 34,
    "q5_1": 24,
    "q5_0": 22,
    "q4_1": 20,
    "q4_0": 18,
    "iq4_nl": 18,
}
"""Bytes of 32 elements with their scales. Source: llama.cpp `ggml/src/ggml-common.h` blocks."""

_PAD: Final = 256
_PAD_WITHOUT_FLASH: Final = 32
"""Source: llama.cpp before pull request 17046 padded cells to 32 without flash attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTypes:
    """Storage of keys and values, in bytes of 32 elements."""

    key: int
    value: int
    is_mixed: bool
    name: str


@lru_cache(maxsize=128)
def parse_cache_types(text: str) -> CacheTypes:
    """Returns the storage that `text` names: `q8_0`, `q8_0/f16`, or `K q8_0 / V f16`.

    Raises:
        FactsError: a type that llama.cpp does not know as a cache type.
    """
    parts = [part.strip() for part in text.lower().split("/")]
    names = [part.removeprefix("k ").removeprefix("v ").strip() for part in parts]
    names = [name or "f16" for name in names]
    if len(names) > 2 or any(name not in CACHE_TYPE_BYTES_PER_32 for name in names):
        raise FactsError(
            f"kv_type {text[:60]!r} is not a cache type",
            hint=f"one of {', '.join(CACHE_TYPE_BYTES_PER_32)}, or a pair such as q8_0/f16",
            context={"key": "kv_type"},
        )
    key, value = names[0], names[-1]
    sizes = CACHE_TYPE_BYTES_PER_32
    return CacheTypes(key=sizes[key], value=sizes[value], is_mixed=key != value, name=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """How many cells each layer has, over all streams.

    `mask_full` and `mask_window` are the cells of one stream, which the attention mask spans.
    """

    full: int
    window: int
    mask_full: int
    mask_window: int


def pad(count: int, multiple: int) -> int:
    """Returns `count` rounded up to `multiple`."""
    return -(-count // multiple) * multiple


def count_cells(
    shape: Shape,
    engine: Engine,
    *,
    context: int,
    slots: int,
    batch: int,
    flash: bool,
    unified: bool,
) -> Cells:
    """Returns the cells of full and of sliding layers.

    Args:
        shape: the model.
        engine: the runtime generation.
        context: `-c`, the cells asked for all slots together.
        slots: parallel sequences.
        batch: the physical batch, which a window must hold besides itself.
        flash: whether flash attention runs.
        unified: one stream for all slots, else one for each.

    Source:
        llama.cpp `src/llama-context.cpp` (padding), `src/llama-kv-cache-iswa.cpp: size_swa`;
        Ollama `kvcache/causal.go: Init` for the Go engine.
    """
    step = _PAD if flash or engine.era is not Era.DENSE else _PAD_WITHOUT_FLASH
    streams = 1 if unified else slots
    each = pad(max(context // streams, 1), step)
    full = each * streams
    window = shape.window
    if not keeps_windows(shape, engine) or not window:
        return Cells(full=full, window=full, mask_full=each, mask_window=each)
    if engine.is_go(shape.architecture):
        extra = 1 if slots > 1 else 0
        if window + extra >= context // slots:
            sliding = full
        else:
            sliding = pad(slots * (window + extra) + batch, step)
        return Cells(full=full, window=sliding, mask_full=each, mask_window=sliding)
    span = window * (slots if unified else 1) + batch
    sliding = pad(min(each, span), _PAD)
    return Cells(full=full, window=sliding * streams, mask_full=each, mask_window=sliding)


def keeps_windows(shape: Shape, engine: Engine) -> bool:
    """Returns whether sliding layers cache their window only."""
    if engine.is_fork:
        return False
    return engine.era is not Era.DENSE or engine.is_go(shape.architecture)


def keeps_cache(shape: Shape, engine: Engine) -> bool:
    """Returns whether this runtime caches at all: encoders stopped in the summer of 2025."""
    return not shape.scheme.is_uncached and not (shape.is_encoder and engine.era is not Era.DENSE)


def is_latent_cache(
    shape: Shape, engine: Engine, *, flash: bool, types: CacheTypes, wanted: bool | None
) -> bool:
    """Returns whether a latent-attention model stores only its compressed rows.

    Source:
        llama.cpp `llama_hparams::is_mla`: the file must carry the split matrices
        (`key_length_mla`). ik_llama.cpp builds them itself (`-mla`), and keeps both caches
        without flash attention or with two cache types.
    """
    if shape.latent is None:
        return False
    if wanted is not None:
        return wanted
    if engine.is_fork:
        return flash and not types.is_mixed
    return shape.latent.has_split_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSums:
    """Cached elements of one cell, summed over layers."""

    full_key: int
    full_value: int
    window_key: int
    window_value: int
    state: int

    def cache_bytes(self, types: CacheTypes, cells: Cells) -> int:
        """Returns the bytes of these layers.

        Formula:
            cells * (key elements * K bytes + value elements * V bytes), full and sliding
        """
        full = self.full_key * types.key + self.full_value * types.value
        window = self.window_key * types.key + self.window_value * types.value
        return (cells.full * full + cells.window * window) // 32


@dataclass(frozen=True, slots=True, kw_only=True)
class CachingLayers:
    """The layers of a load, next-token blocks last, with their kinds and sums."""

    layers: tuple[LayerCache, ...]
    kinds: frozenset[LayerCache]
    rows: RowSums


@lru_cache(maxsize=1024)
def caching_layers(
    shape: Shape, *, is_cached: bool, is_latent: bool, has_latent_values: bool, drafts: bool
) -> CachingLayers:
    """Returns what each block caches.

    Args:
        shape: the model.
        is_cached: whether this runtime caches at all (`keeps_cache`).
        is_latent: whether latent attention stores one compressed row.
        has_latent_values: whether it stores the compressed values a second time.
        drafts: whether the next-token blocks run, and so cache.
    """
    layers, ahead = shape.layers, shape.drafts
    if is_latent and shape.latent is not None:
        values = shape.latent.rank if has_latent_values else 0
        rows = (shape.latent.row + index for index in shape.latent.index_rows)
        every = tuple(
            LayerCache(key=row, value=values, state=layer.state) if layer.key else layer
            for layer, row in zip(layers + ahead, rows, strict=True)
        )
        layers, ahead = every[: len(layers)], every[len(layers) :]
    if not is_cached:
        layers, ahead = (LayerCache(),) * len(layers), (LayerCache(),) * len(ahead)
    every = layers + (ahead if drafts else (LayerCache(),) * len(ahead))
    return CachingLayers(layers=every, kinds=frozenset(every), rows=_sum_rows(every))


def _sum_rows(layers: tuple[LayerCache, ...]) -> RowSums:
    """Returns the elements of all `layers`, sliding ones apart."""
    return RowSums(
        full_key=sum(layer.key for layer in layers if not layer.slides),
        full_value=sum(layer.value for layer in layers if not layer.slides),
        window_key=sum(layer.key for layer in layers if layer.slides),
        window_value=sum(layer.value for layer in layers if layer.slides),
        state=sum(layer.state for layer in layers),
    )
