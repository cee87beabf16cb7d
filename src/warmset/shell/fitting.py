"""What of a model fits beside the current set, and where Ollama thinks otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from warmset.core.footprint import Footprint
from warmset.core.footprint.split import FIT_MARGIN_BYTES
from warmset.core.ollama.predict import fit_limit
from warmset.core.units import format_bytes
from warmset.errors import FactsError
from warmset.shell.estimate import Subject

KV_TYPES: Final = ("f16", "q8_0", "q4_0")
_STEP: Final = 256
"""Cells come in such steps. Source: llama.cpp `llama-kv-cache.cpp`, padding of the cache."""
_SMALLEST_ROW: Final = 2048
_LARGEST_CONTEXT: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxContext:
    """The largest context that fits; `None` where none does, or nothing can be said."""

    context: int | None
    gpus: int
    reason: str


def warn(subject: Subject, footprint: Footprint) -> tuple[str, ...]:
    """Returns where need and Ollama's forecast part so far that a load would surprise.

    Source: Ollama v0.33 `server/sched.go: load` (80 % of what it believes to be free; here the
    driver's free memory stands for that); llama.cpp's fit keeps 1 GiB free on each GPU.
    """
    forecast, count = footprint.ollama_forecast_bytes, len(footprint.devices)
    free = subject.room.free[:count]
    if subject.is_resident or forecast is None or len(free) < count or not count:
        return ()
    uppers, points = _sorted_shares(footprint)
    if not uppers or not points:
        return ()
    fits = all(upper <= room for upper, room in zip(uppers, free, strict=True))
    keeps_margin = all(p + FIT_MARGIN_BYTES <= room for p, room in zip(points, free, strict=True))
    believes = forecast <= fit_limit(sum(free))
    told = f"Ollama expects {format_bytes(forecast)}, where {format_bytes(sum(free))} are free"
    if not believes and fits:
        limit = f"more than the 80 % it fills, though at most {format_bytes(sum(uppers))} is needed"
        if subject.residents:
            return (f"{told}: {limit}; it would evict from {', '.join(subject.residents)}",)
        return (f"{told}: {limit}; it would spread the model or keep layers in RAM",)
    if believes and not keeps_margin:
        need = f"about {format_bytes(footprint.vram_bytes)} is needed and 1 GiB kept free"
        return (f"{told}, and would load it, but {need}: some layers would stay in RAM",)
    return ()


def tabulate(subject: Subject) -> tuple[tuple[int, dict[str, Footprint | None]], ...]:
    """Returns the footprints by context and cache type; `None` where the engine refuses."""
    limit = subject.trained_context or subject.context
    contexts = {subject.context, limit}
    size = _SMALLEST_ROW
    while size <= min(limit, _LARGEST_CONTEXT):
        contexts.add(size)
        size *= 2
    kinds = dict.fromkeys((*KV_TYPES, subject.kv_type))
    return tuple((c, {kind: _try(subject, c, kind) for kind in kinds}) for c in sorted(contexts))


def fits_now(subject: Subject, footprint: Footprint) -> bool | None:
    """Returns whether the upper bound fits beside the current set; `None` if that is not known."""
    if subject.room.why:
        return None
    if not footprint.devices:
        ram = subject.room.ram
        return None if ram is None or footprint.ram_bytes is None else footprint.ram_bytes <= ram
    uppers, _ = _sorted_shares(footprint)
    if not uppers or len(subject.room.gpus) < len(uppers):
        return None
    return all(upper <= room for upper, room in zip(uppers, subject.room.gpus, strict=False))


def find_max_context(subject: Subject) -> MaxContext:
    """Returns the largest context that fits beside the current set, on as few GPUs as do."""
    if subject.room.why:
        return MaxContext(context=None, gpus=subject.gpus, reason=subject.room.why)
    limit = min(subject.trained_context or _LARGEST_CONTEXT, _LARGEST_CONTEXT)
    counts = dict.fromkeys((subject.gpus, len(subject.room.gpus)))
    best = MaxContext(context=None, gpus=subject.gpus, reason="it does not fit at any context")
    for count in counts:
        context = _largest(subject, count, limit)
        if context is not None and context > (best.context or 0):
            reason = "all it was trained for" if context == limit else "the most that fits"
            best = MaxContext(context=context, gpus=count, reason=reason)
    return best


def _largest(subject: Subject, gpus: int, limit: int) -> int | None:
    def fits(steps: int) -> bool:
        try:
            found = subject.estimate(context=min(steps * _STEP, limit), gpus=gpus)
        except FactsError:
            return False
        return bool(fits_now(subject, found))

    low, high = 0, -(-limit // _STEP)
    if fits(high):
        return limit
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low * _STEP or None


def _try(subject: Subject, context: int, kv_type: str) -> Footprint | None:
    try:
        return subject.estimate(context=context, kv_type=kv_type)
    except FactsError:
        return None


def _sorted_shares(footprint: Footprint) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns upper bounds and points of all GPUs, largest first; empty where one is not known."""
    uppers = [d.vram_upper_bytes for d in footprint.devices if d.vram_upper_bytes is not None]
    points = [d.vram_bytes for d in footprint.devices if d.vram_bytes is not None]
    if len(uppers) < len(footprint.devices) or len(points) < len(footprint.devices):
        return (), ()
    return tuple(sorted(uppers, reverse=True)), tuple(sorted(points, reverse=True))
