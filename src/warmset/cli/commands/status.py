"""`warmset status`: the GPUs, and what is resident; the columns of `ollama ps` and ours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

if TYPE_CHECKING:
    from warmset.core.model import Device, Entry, Observation, Reading, Resident
    from warmset.core.settings import Settings

DEVICE_COLUMNS = (
    Column(key="index", title="GPU"),
    Column(key="name", title="DEVICE"),
    Column(key="total", title="TOTAL", right=True),
    Column(key="free", title="FREE", right=True),
    Column(key="budget", title="BUDGET", right=True),
    Column(key="library", title="LIBRARY", wide=True),
    Column(key="id", title="ID", wide=True),
    Column(key="quality", title="QUALITY", wide=True),
    Column(key="source", title="SOURCE", wide=True),
)
MODEL_COLUMNS = (
    Column(key="name", title="NAME"),
    Column(key="digest", title="ID"),
    Column(key="size", title="SIZE", right=True),
    Column(key="size_gb", title="SIZE GB", right=True, wide=True),
    Column(key="processor", title="PROCESSOR"),
    Column(key="context", title="CONTEXT", right=True),
    Column(key="until", title="UNTIL"),
    Column(key="footprint", title="FOOTPRINT", right=True),
    Column(key="priority", title="PRIORITY", right=True),
    Column(key="pin", title="PIN"),
    Column(key="names", title="ALSO", wide=True),
)


def command(ctx: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """Show the GPUs and the resident models, with what is known of their memory."""
    from warmset.shell.observe import look

    settings = settings_of(ctx)
    options = options_of(ctx)
    seen = look(settings)
    if output is Output.JSON:
        emit(describe(seen, settings))
    elif output is Output.NAME:
        emit_names([resident.name for resident in seen.residents or ()])
    else:
        _print(seen, settings, wide=output is Output.WIDE, no_color=options.no_color)
        for note in seen.notes:
            say(f"note: {note}", quiet=options.quiet)


def _print(seen: Observation, settings: Settings, *, wide: bool, no_color: bool) -> None:
    devices = [_device_row(device, settings) for device in seen.devices]
    if devices:
        table(devices, DEVICE_COLUMNS, wide=wide, no_color=no_color)
        print()
    if seen.residents is None:
        print("resident models: unknown")
        return
    if not seen.residents:
        print(f"no model is resident; {len(seen.entries)} installed")
        return
    rows = [_resident_row(resident, seen, settings) for resident in seen.residents]
    table(rows, MODEL_COLUMNS, wide=wide, no_color=no_color)


def _device_row(device: Device, settings: Settings) -> Mapping[str, object]:
    from warmset.core.units import format_bytes

    total = device.total_bytes.value
    budget = None if total is None else _budget(device, settings)
    return {
        "index": device.index,
        "name": device.name,
        "total": format_bytes(total),
        "free": format_bytes(device.free_bytes.value),
        "budget": format_bytes(budget),
        "library": device.library,
        "id": device.id,
        "quality": device.free_bytes.quality.value,
        "source": device.free_bytes.source,
    }


def _budget(device: Device, settings: Settings) -> int | None:
    if device.total_bytes.value is None:
        return None
    return settings.budget.budget_bytes(
        device.id, device.index, device.total_bytes.value, pci_id=device.pci_id
    )


def _resident_row(
    resident: Resident, seen: Observation, settings: Settings
) -> Mapping[str, object]:
    from warmset.core.units import format_bytes

    entry = _entry_of(resident, seen)
    policy = settings.policy_for(entry.names if entry else (resident.name,))
    others = [name for name in entry.names if name != resident.name] if entry else []
    size = resident.size_bytes
    return {
        "name": resident.name,
        "digest": resident.manifest_digest[:12],
        "size": format_bytes(size),
        "size_gb": None if size is None else f"{size / 1e9:.1f} GB",
        "processor": processor(resident),
        "context": resident.context,
        "until": until(resident.expires_at, seen.at),
        "footprint": format_bytes(_estimate(resident, entry, seen)),
        "priority": policy.priority,
        "pin": "yes" if policy.pin else "",
        "names": ", ".join(others),
    }


def _entry_of(resident: Resident, seen: Observation) -> Entry | None:
    return next((e for e in seen.entries if resident.key and e.key == resident.key), None)


def _estimate(resident: Resident, entry: Entry | None, seen: Observation) -> int | None:
    """Returns the estimated VRAM of a resident in its present shape, if it can be told."""
    from warmset.core.footprint import estimate_footprint
    from warmset.errors import FactsError

    if entry is None or resident.context is None or not entry.facts:
        return None
    on_gpu = resident.size_vram_bytes != 0
    try:
        return estimate_footprint(
            entry.facts,
            num_ctx=resident.context,
            num_parallel=1 if entry.is_embedding else seen.settings.num_parallel or 1,
            kv_type=seen.settings.kv_cache_type or "f16",
            gpus=1 if on_gpu else 0,
            tensors=entry.tensors,
            file_bytes=entry.file_bytes,
            projector_bytes=entry.projector_bytes,
            adapter_bytes=entry.adapter_bytes,
        ).vram_bytes
    except FactsError:
        return None


def processor(resident: Resident) -> str:
    """Returns where the model sits, in the words of `ollama ps`.

    Source: Ollama v0.33 `cmd/cmd.go: ListRunningHandler`.
    """
    size, vram = resident.size_bytes, resident.size_vram_bytes
    if not size or vram is None:
        return "unknown"
    if vram == 0:
        return "100% CPU"
    if vram >= size:
        return "100% GPU"
    cpu = round((size - vram) / size * 100)
    return f"{cpu}%/{100 - cpu}% CPU/GPU"


def until(expires_at: float | None, now: float) -> str:
    """Returns when the keep-alive ends, as `ollama ps` says it; a past end means in use."""
    from warmset.core.units import format_seconds

    if expires_at is None:
        return "unknown"
    if math.isinf(expires_at):
        return "forever"
    left = expires_at - now
    return format_seconds(left) if left > 0 else "in use or stopping"


def describe(seen: Observation, settings: Settings) -> Mapping[str, object]:
    """Returns the document of `-o json`: raw bytes and seconds, every reading with its quality."""
    return {
        "server": {
            "url": seen.server_url,
            "version": seen.version,
            "is_local": seen.is_local,
        },
        "at": seen.at,
        "devices": [
            {
                "id": device.id,
                "index": device.index,
                "name": device.name,
                "library": device.library,
                "total_bytes": _reading(device.total_bytes),
                "free_bytes": _reading(device.free_bytes),
                "budget_bytes": _budget(device, settings),
            }
            for device in seen.devices
        ],
        "memory": {
            "total_bytes": _reading(seen.memory.total_bytes),
            "available_bytes": _reading(seen.memory.available_bytes),
        },
        "entries": [_entry(entry, settings) for entry in seen.entries],
        "residents": None
        if seen.residents is None
        else [_resident(resident, seen) for resident in seen.residents],
        "notes": list(seen.notes),
    }


def _reading(reading: Reading[int]) -> Mapping[str, object]:
    return {
        "value": reading.value,
        "quality": reading.quality.value,
        "source": reading.source,
        "age_seconds": reading.age_seconds,
        "reason": reading.reason,
    }


def _entry(entry: Entry, settings: Settings) -> Mapping[str, object]:
    policy = settings.policy_for(entry.names)
    return {
        "key": entry.key,
        "names": list(entry.names),
        "file_bytes": entry.file_bytes,
        "family": entry.family,
        "quantization": entry.quantization,
        "capabilities": entry.capabilities,
        "priority": policy.priority,
        "pin": policy.pin,
        "basis": entry.basis,
    }


def _resident(resident: Resident, seen: Observation) -> Mapping[str, object]:
    entry = _entry_of(resident, seen)
    return {
        "name": resident.name,
        "key": resident.key,
        "digest": resident.manifest_digest,
        "size_bytes": resident.size_bytes,
        "size_vram_bytes": resident.size_vram_bytes,
        "context": resident.context,
        "expires_at": resident.expires_at,
        "is_forever": resident.expires_at is not None and math.isinf(resident.expires_at),
        "footprint_estimate_bytes": _estimate(resident, entry, seen),
    }
