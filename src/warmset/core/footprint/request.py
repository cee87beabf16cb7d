"""What is asked: the load as the caller put it, checked and completed by the engine's habits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.footprint.engine import Engine, Era, Tool, parse_engine
from warmset.core.footprint.kvcache import CACHE_TYPE_BYTES_PER_32, CacheTypes, parse_cache_types
from warmset.core.footprint.shape import Shape
from warmset.core.ollama.context import ONE_SLOT_FAMILIES
from warmset.core.ollama.predict import BATCH_DEFAULT, FlashAttention, automatic_batch, predict_vram
from warmset.core.ollama.types import WeightsFile
from warmset.errors import FactsError

_MAX_BYTES: Final = 1 << 50
_MAX_CONTEXT: Final = 1 << 28
_MAX_SLOTS: Final = 256
_MAX_BATCH: Final = 1 << 20
_MAX_GPUS: Final = 64
_EMBEDDING_BATCH: Final = 2048
"""Source: Ollama v0.33 `llm/llama_server.go: embeddingBatchSize` on its default of 2048."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One load, complete.

    Units:
        `context` is that of one slot, `total_context` what the runtime gets as `-c`.
    """

    engine: Engine
    context: int
    total_context: int
    slots: int
    batch: int
    flash: bool
    types: CacheTypes
    unified: bool
    gpus: int
    free_bytes: tuple[int, ...]  # one for each GPU, empty: not known


def complete_request(
    shape: Shape,
    *,
    engine: str,
    num_ctx: int,
    num_parallel: int,
    kv_type: str,
    flash_attn: bool | None,
    gpus: int,
    device_free_bytes: int | Sequence[int] | None,
    batch: int | None,
    unified: bool | None,
    as_ollama: WeightsFile | None,
) -> Request:
    """Returns the load with the engine's own choices where the caller left them open.

    Raises:
        FactsError: a value out of range, or a combination that the engine would refuse.
    """
    runtime = parse_engine(_text("engine", engine))
    context = check_whole("num_ctx", num_ctx, 1, _MAX_CONTEXT)
    slots = check_whole("num_parallel", num_parallel, 1, _MAX_SLOTS)
    gpus = check_whole("gpus", gpus, 0, _MAX_GPUS)
    free = _free_bytes(device_free_bytes, gpus)
    if runtime.tool is Tool.OLLAMA:
        context = min(context, shape.trained_context or context)
        if shape.embeds or shape.architecture in ONE_SLOT_FAMILIES:
            slots = 1
    total = context * slots if runtime.context_is_per_slot else context
    types = parse_cache_types(_text("kv_type", kv_type))
    flash, types = _resolve_flash(runtime, shape.architecture, types, flash_attn)
    if batch is None:
        predicted = 0 if as_ollama is None else predict_vram(as_ollama, total)
        batch = _choose_batch(
            shape, runtime, total, flash=flash, predicted=predicted, available=sum(free)
        )
    else:
        batch = check_whole("batch", batch, 1, _MAX_BATCH)
    if unified is None:
        unified = _is_unified(runtime, shape)
    return Request(
        engine=runtime,
        context=context,
        total_context=total,
        slots=slots,
        batch=min(batch, total),
        flash=flash,
        types=types,
        unified=unified,
        gpus=gpus,
        free_bytes=free,
    )


def _is_unified(engine: Engine, shape: Shape) -> bool:
    """Returns whether all slots share one stream of cells.

    Source: llama-server unifies unless the slots are given (`-np`), as Ollama does; before
    pull request 14363 (2025-07) there was one stream only, and Ollama's Go engine has one.
    """
    if engine.tool is not Tool.OLLAMA or engine.era is Era.DENSE:
        return True
    return engine.is_go(shape.architecture)


def check_whole(key: str, value: object, low: int, high: int) -> int:
    """Returns `value` if it is a whole number from `low` to `high`.

    Raises:
        FactsError: it is not; `key` is named.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise FactsError(
            f"{key} is {value!r:.60}; a whole number from {low} to {high} was expected",
            hint=f"correct {key}",
            context={"key": key},
        )
    return value


def check_bytes(key: str, value: int | None) -> int | None:
    """Returns `value` if it is `None` or a possible number of bytes."""
    return None if value is None else check_whole(key, value, 0, _MAX_BYTES)


def _text(key: str, value: object) -> str:
    if not isinstance(value, str):
        raise FactsError(f"{key} is {value!r:.60}, not a text", context={"key": key})
    return value


def _free_bytes(free: int | Sequence[int] | None, gpus: int) -> tuple[int, ...]:
    if free is None or gpus == 0:
        return ()
    if isinstance(free, int):
        share = check_whole("device_free_bytes", free, 0, _MAX_BYTES)
        return (share,) * gpus
    if isinstance(free, str | bytes) or len(free) != gpus:
        raise FactsError(
            f"device_free_bytes has {len(free)} entries for {gpus} GPUs",
            hint="give one number for each GPU, or one for all",
            context={"key": "device_free_bytes"},
        )
    return tuple(check_whole("device_free_bytes", share, 0, _MAX_BYTES) for share in free)


def _resolve_flash(
    engine: Engine, architecture: str, types: CacheTypes, wanted: bool | None
) -> tuple[bool, CacheTypes]:
    """Returns whether flash attention runs, and the cache types that follow.

    Left open, it runs where it is the engine's default, or where a quantised cache asks.

    Source: Ollama before 0.30 `llm/server.go`: without flash attention the cache silently stays
    f16.
    """
    quantised = types.value < CACHE_TYPE_BYTES_PER_32["f16"]
    if wanted is not None and not isinstance(wanted, bool):
        raise FactsError(f"flash_attn is {wanted!r:.60}", context={"key": "flash_attn"})
    flash = (engine.flashes(architecture) or quantised) if wanted is None else wanted
    if flash or not quantised:
        return flash, types
    if engine.tool is Tool.OLLAMA and engine.era is not Era.LEAN:
        return flash, parse_cache_types("f16")
    raise FactsError(
        f"kv_type {types.name!r} needs flash attention: {engine.text} refuses to load",
        hint="set flash_attn, or keep the values in f16",
        context={"key": "kv_type"},
    )


def _choose_batch(
    shape: Shape, engine: Engine, total: int, *, flash: bool, predicted: int, available: int
) -> int:
    """Returns the physical batch that the engine picks."""
    if engine.tool is not Tool.OLLAMA or engine.era is not Era.LEAN:
        return BATCH_DEFAULT
    if shape.embeds:
        return _EMBEDDING_BATCH
    if not flash:
        return BATCH_DEFAULT
    return automatic_batch(total, predicted, available, FlashAttention.AUTO, ())
