"""The environment that Ollama itself should have on this host, from what was seen.

Only what would be better than now is told: an empty advice means that the server is fine as it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.control.leases import BASE_SECONDS
from warmset.core.footprint import estimate_footprint
from warmset.core.model import Device, Entry, ServerSettings
from warmset.core.ollama.context import TIER_SMALL, default_context, slots
from warmset.core.ollama.generation import Generation
from warmset.core.ollama.types import WeightsFile
from warmset.core.settings import Settings
from warmset.core.units import format_bytes, format_seconds
from warmset.errors import FactsError
from warmset.shell.doctor_settings import AUTOMATIC_PER_GPU

USUAL_CONTEXT: Final = 8192
"""What most clients need at most, where nobody says more. Our choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One variable that should be otherwise."""

    name: str
    value: str
    now: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What advice is made from.

    Attributes:
        server: how the server was started, as seen or as the operator said.
        devices: `None` where the server's GPUs cannot be seen.
    """

    entries: tuple[Entry, ...]
    settings: Settings
    server: ServerSettings
    generation: Generation
    devices: tuple[Device, ...] | None

    @property
    def wanted(self) -> tuple[Entry, ...]:
        """Configured models that the loop would load by itself."""
        named = self.settings.models
        found = [(e, self.settings.policy_for(e.names)) for e in self.entries]
        return tuple(e for e, p in found if named and p in named.values() and (p.pin or p.preload))


def advise(host: Host) -> tuple[Advice, ...]:
    """Returns the variables that should be otherwise, in the order in which they matter."""
    return (*_maximum(host), *_keep_alive(host), *_context(host), *_memory(host))


def _maximum(host: Host) -> Iterator[Advice]:
    """Source: ollama-behaviour 3.3: a total over all GPUs; the next model evicts another one."""
    limit = host.server.max_loaded_models
    if not limit and host.devices is None:
        return
    count = limit or AUTOMATIC_PER_GPU * max(len(host.devices or ()), 1)
    wanted = len(host.wanted)
    if wanted and count <= wanted:
        why = f"{wanted} models are wanted here; one more place lets a guest in without an eviction"
        now = f"{count}" if limit else f"automatic, {count}"
        yield Advice(name="OLLAMA_MAX_LOADED_MODELS", value=str(wanted + 1), now=now, why=why)


def _keep_alive(host: Host) -> Iterator[Advice]:
    """Source: ollama-behaviour 3.4: the idle model with the shortest timer is evicted."""
    seconds = host.server.keep_alive_seconds
    if seconds is None or 0 < seconds < BASE_SECONDS:
        return
    is_endless = math.isinf(seconds)
    now = "for ever" if is_endless else format_seconds(seconds)
    why = (
        "no model that clients bring may outlast the ranked ones; ranks start at "
        f"{format_seconds(BASE_SECONDS)}"
        if seconds > 0
        else "every model leaves as soon as it is idle, so each request is a cold start"
    )
    yield Advice(name="OLLAMA_KEEP_ALIVE", value="5m", now=now, why=why)


def _context(host: Host) -> Iterator[Advice]:
    """Source: ollama-behaviour 4.5: the automatic tier follows the sum of all GPUs."""
    tier = _context_now(host)
    is_said = host.server.context_length is not None
    if tier is not None and not is_said and tier > max(TIER_SMALL, USUAL_CONTEXT):
        why = f"{tier} tokens for every model that says nothing else, small ones included"
        now = f"automatic, {tier}"
        yield Advice(name="OLLAMA_CONTEXT_LENGTH", value=str(USUAL_CONTEXT), now=now, why=why)


def _memory(host: Host) -> Iterator[Advice]:
    """What makes the wanted models fit together: fewer slots first, then a smaller cache.

    A quantised cache needs flash attention, and Ollama's own forecast goes on counting f16
    (ollama-behaviour 4.2), so it comes second.
    """
    budget = _budget(host)
    slots_now, kind = host.server.num_parallel or 1, host.server.kv_cache_type or "f16"
    held = _holds(host, slots_now, kind)
    if budget is None or held is None or held <= budget:
        return
    short = f"the wanted models need {format_bytes(held)} of {format_bytes(budget)}"
    choices = [(1, kind)] if slots_now > 1 else []
    if kind in ("f16", "f32", "bf16") and host.server.flash_attention is not False:
        choices += [(slots_now, "q8_0"), (1, "q8_0")]
    for parallel, kv in choices:
        needed = _holds(host, parallel, kv)
        if needed is None or needed > budget:
            continue
        why = f"{short}; so they need {format_bytes(needed)}"
        if parallel != slots_now:
            yield Advice(name="OLLAMA_NUM_PARALLEL", value="1", now=str(slots_now), why=why)
        if kv != kind:
            yield Advice(name="OLLAMA_KV_CACHE_TYPE", value=kv, now=kind, why=why)
            if not host.server.flash_attention:
                flash = "a quantised cache needs it"
                yield Advice(name="OLLAMA_FLASH_ATTENTION", value="1", now="automatic", why=flash)
        return


def _context_now(host: Host) -> int | None:
    if host.server.context_length is not None:
        return host.server.context_length
    totals = _totals(host.devices)
    if totals is None:
        return None
    return default_context(totals, host.server.gpu_overhead_bytes or 0, host.generation)


def _totals(devices: Sequence[Device] | None) -> list[int] | None:
    """Returns the memory of each GPU, `None` unless all are known."""
    totals = [device.total_bytes.value for device in devices or ()]
    known = [total for total in totals if total is not None]
    return known if devices is not None and len(known) == len(totals) else None


def _budget(host: Host) -> int | None:
    if not host.devices or _totals(host.devices) is None:
        return None
    budget = host.settings.budget
    return sum(
        budget.budget_bytes(d.id, d.index, d.total_bytes.value or 0, pci_id=d.pci_id)
        for d in host.devices
    )


def _holds(host: Host, parallel: int, kv: str) -> int | None:
    """Returns the bytes of all wanted models on one GPU each, `None` if one is not known."""
    total = 0
    for entry in host.wanted:
        file = WeightsFile.of_entry(entry)
        policy = host.settings.policy_for(entry.names)
        context = policy.context or _context_now(host)
        if file is None or context is None:
            return None
        count = policy.parallel or slots(file, parallel, completes=not entry.is_embedding)
        try:
            footprint = estimate_footprint(
                entry.facts,
                num_ctx=context,
                num_parallel=count,
                kv_type=kv,
                flash_attn=True if kv == "q8_0" else host.server.flash_attention,
                tensors=entry.tensors,
                file_bytes=entry.file_bytes,
                projector_bytes=entry.projector_bytes,
                adapter_bytes=entry.adapter_bytes,
            )
        except FactsError:
            return None
        if footprint.vram_upper_bytes is None:
            return None
        total += footprint.vram_upper_bytes
    return total
