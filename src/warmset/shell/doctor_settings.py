"""Which settings of an Ollama server hurt whoever wants to keep models warm."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final

from warmset.core.model import Device, ServerSettings
from warmset.core.ollama.context import TIER_SMALL, default_context
from warmset.core.ollama.generation import Generation
from warmset.core.ollama.keepalive import DurationError, parse_go_duration
from warmset.core.units import format_bytes, format_seconds
from warmset.shell.doctor_probe import Health, Probe

AUTOMATIC_PER_GPU: Final = 3
"""Source: Ollama v0.33 `server/sched.go: defaultModelsPerGPU`."""

_NUMBERS: Final = (
    "OLLAMA_MAX_LOADED_MODELS",
    "OLLAMA_NUM_PARALLEL",
    "OLLAMA_MAX_QUEUE",
    "OLLAMA_CONTEXT_LENGTH",
    "OLLAMA_GPU_OVERHEAD",
)
_SWITCHES: Final = ("OLLAMA_FLASH_ATTENTION", "OLLAMA_SCHED_SPREAD", "OLLAMA_NO_CLOUD")
_SWITCH_WORDS: Final = frozenset("1 t T TRUE true True 0 f F FALSE false False".split())


def examine_settings(
    settings: ServerSettings,
    *,
    generation: Generation,
    devices: tuple[Device, ...] | None,
    pins: int,
) -> Iterator[Probe]:
    """Yields one probe for each setting that can hurt.

    Args:
        settings: As seen in the server's environment, or as the operator said; `None` = default.
        generation: Of the server's version.
        devices: The GPUs of the server's machine; `None` where they cannot be seen.
        pins: How many models the configuration pins.
    """
    gpus = None if devices is None else len(devices)
    yield _maximum(settings.max_loaded_models, gpus, pins)
    yield _keep_alive(settings.keep_alive_seconds)
    yield _spread(settings.sched_spread, gpus)
    yield _context(settings, generation, devices)
    yield _kv_type(settings)
    if settings.gpu_overhead_bytes:
        yield _overhead(settings.gpu_overhead_bytes, generation)


def examine_environment(environment: Mapping[str, str]) -> Iterator[Probe]:
    """Yields a probe for each variable that Ollama reads otherwise than it was meant.

    Source: ollama-behaviour 4.7 and 2.2: what is no number or duration means the default, what
    is no switch word means *on*; nothing is reported.
    """
    texts = {name: value.strip().strip("\"'") for name, value in environment.items()}
    for name in _NUMBERS:
        text = texts.get(name, "")
        if text and not re.fullmatch(r"\d+", text, re.ASCII):
            yield _misread(name, text, "is no number, so Ollama uses its default")
    for name in _SWITCHES:
        text = texts.get(name, "")
        if text and text not in _SWITCH_WORDS:
            yield _misread(name, text, "is no switch word, so Ollama takes it for on")
    text = texts.get("OLLAMA_KEEP_ALIVE", "")
    if text and not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        try:
            parse_go_duration(text)
        except DurationError:
            yield _misread("OLLAMA_KEEP_ALIVE", text, "is no duration, so Ollama uses 5m")


def _misread(name: str, text: str, why: str) -> Probe:
    return _probe(
        name, Health.WARN, f'"{text}" {why}', f"write {name} as Ollama reads it, or unset it"
    )


def _probe(name: str, health: Health, detail: str, hint: str = "") -> Probe:
    return Probe(area="settings", name=name, health=health, detail=detail, hint=hint)


def _maximum(limit: int | None, gpus: int | None, pins: int) -> Probe:
    """Source: ollama-behaviour 3.3 and trap 22: a total over all GPUs, fixed at the first load."""
    name = "OLLAMA_MAX_LOADED_MODELS"
    if not limit and gpus is None:
        return _probe(name, Health.UNKNOWN, f"automatic: {AUTOMATIC_PER_GPU} for each GPU")
    count = limit or AUTOMATIC_PER_GPU * max(gpus or 0, 1)
    said = f"at most {count} models in all" + ("" if limit else " (automatic)")
    if pins > count:
        return _probe(
            name,
            Health.FAIL,
            f"{said}, and {pins} are pinned",
            f"start the server with {name}={pins + 1}",
        )
    if count == 1:
        return _probe(
            name,
            Health.WARN,
            "one model at a time: every request for another one unloads it",
            f"unset {name}, or set it to the number of models you use",
        )
    return _probe(name, Health.OK, said)


def _keep_alive(seconds: float | None) -> Probe:
    """Source: ollama-behaviour 3.4: the longest timer goes last, equal ones by file hash."""
    name = "OLLAMA_KEEP_ALIVE"
    if seconds is not None and math.isinf(seconds):
        return _probe(
            name,
            Health.WARN,
            "for ever is no pin: a model that does not fit evicts these by the order of their"
            " hashes, and memory is never given back",
            f"unset {name}; pin models in budgets.toml instead",
        )
    if seconds is not None and seconds <= 0:
        return _probe(
            name,
            Health.WARN,
            "every model is unloaded as soon as it is idle",
            f"unset {name}, or give it minutes",
        )
    return _probe(name, Health.OK, "5m (default)" if seconds is None else format_seconds(seconds))


def _spread(spread: bool | None, gpus: int | None) -> Probe:
    """Source: ollama-behaviour 4.1: no model is placed on one GPU alone any more."""
    name = "OLLAMA_SCHED_SPREAD"
    if spread and gpus != 1:
        return _probe(
            name,
            Health.WARN,
            "every model takes a part of every GPU: slower, and no GPU can be kept free for one",
            f"unset {name} unless single models need more than one GPU",
        )
    return _probe(name, Health.OK, "on, with one GPU" if spread else "off")


def _context(
    settings: ServerSettings, generation: Generation, devices: tuple[Device, ...] | None
) -> Probe:
    """Source: ollama-behaviour 4.5: the tier follows the sum of all GPUs, not the model."""
    name = "OLLAMA_CONTEXT_LENGTH"
    slots = settings.num_parallel or 1
    times = f" x {slots} slots" if slots > 1 else ""
    if settings.context_length is not None:
        return _probe(name, Health.OK, f"{settings.context_length} tokens{times}")
    if not generation.has_context_tiers:
        return _probe(name, Health.OK, f"{generation.default_context} tokens (default){times}")
    totals = [device.total_bytes.value for device in devices or ()]
    known = [total for total in totals if total is not None]
    if devices is None or len(known) < len(totals):
        return _probe(name, Health.UNKNOWN, "automatic, by the size of all GPUs: not known here")
    tier = default_context(known, settings.gpu_overhead_bytes or 0)
    if tier > TIER_SMALL:
        return _probe(
            name,
            Health.WARN,
            f"automatic: {tier} tokens{times} on this host for every model that says nothing"
            " else, so that small models get large caches",
            f"set {name} to what your clients need, for example 8192",
        )
    return _probe(name, Health.OK, f"automatic: {tier} tokens{times} on this host")


def _kv_type(settings: ServerSettings) -> Probe:
    """Source: ollama-behaviour 4.2, 4.7: a quantised cache needs flash attention."""
    name = "OLLAMA_KV_CACHE_TYPE"
    kind = settings.kv_cache_type or "f16"
    if kind in ("f16", "f32", "bf16"):
        return _probe(name, Health.OK, kind)
    if settings.flash_attention is False:
        return _probe(
            name,
            Health.WARN,
            f"{kind}, but flash attention is off, which a quantised cache needs",
            "unset OLLAMA_FLASH_ATTENTION, or OLLAMA_KV_CACHE_TYPE",
        )
    return _probe(name, Health.OK, f"{kind}; Ollama's own forecast still counts f16")


def _overhead(count: int, generation: Generation) -> Probe:
    """Source: ollama-behaviour 4.7 and trap 21."""
    name = "OLLAMA_GPU_OVERHEAD"
    if not generation.runs_llama_server:
        return _probe(name, Health.OK, f"{format_bytes(count)} held back on each GPU")
    return _probe(
        name,
        Health.WARN,
        f"{format_bytes(count)}: since 0.30 it holds nothing back for GGUF models",
        "LLAMA_ARG_FIT_TARGET (MiB) sets the margin that a load leaves",
    )
