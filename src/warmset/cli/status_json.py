"""The document of `warmset status -o json`: raw bytes and seconds.

Every reading stands there with its source, age and quality, every trouble with its hint.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from warmset.core.host.attribution import Share
from warmset.core.host.evidence import Use
from warmset.core.host.observed import observe_by_device, observe_model, runner_of
from warmset.core.host.readings import GpuReading, MemorySurvey, Trouble
from warmset.core.host.runners import Runner
from warmset.core.model import Device, Entry, Reading, Resident
from warmset.core.settings import Settings
from warmset.shell.footprints import entry_of, footprint_of, name_runner, name_share
from warmset.shell.observe import Seen

Document = Mapping[str, object]


def describe(seen: Seen, settings: Settings) -> Document:
    """Returns the whole picture of one look."""
    observation, picture = seen.observation, seen.picture
    residents = observation.residents
    return {
        "server": {
            "url": observation.server_url,
            "version": observation.version,
            "is_local": observation.is_local,
            "pid": seen.survey.server.pid if seen.survey.server else None,
        },
        "at": observation.at,
        "vantage": {
            "name": seen.sight.vantage.value,
            "reason": seen.sight.reason,
            "sees_devices": seen.sight.sees_devices,
            "sees_processes": seen.sight.sees_processes,
            "sees_process_bytes": seen.sight.sees_process_bytes,
            "blind_spots": list(seen.sight.blind_spots),
            "levers": seen.sight.levers,
        },
        "drivers": {s.source: s.driver for s in seen.survey.gpus if s.driver},
        "devices": [_device(reading, seen, settings) for reading in seen.survey.readings],
        "memory": describe_memory(seen.survey.memory)
        | {"available_after_models_bytes": describe_reading(observation.memory.available_bytes)},
        "entries": [_entry(entry, settings) for entry in observation.entries],
        "residents": None if residents is None else [_resident(r, seen) for r in residents],
        "runners": [_runner(runner, seen) for runner in picture.runners],
        "use": [_use(use) for use in picture.use],
        "troubles": [_trouble(trouble) for trouble in seen.survey.troubles],
        "notes": list(observation.notes),
    }


def describe_reading(reading: Reading[int] | Reading[float]) -> Document:
    """Returns a reading: value, source, age, quality; `value` is null exactly if unknown."""
    return {
        "value": reading.value,
        "quality": reading.quality.value,
        "source": reading.source,
        "age_seconds": reading.age_seconds,
        "reason": reading.reason,
    }


def describe_memory(memory: MemorySurvey) -> dict[str, object]:
    """Returns RAM as the server may use it, its limit, and the signs of pressure."""
    return {
        "total_bytes": describe_reading(memory.memory.total_bytes),
        "available_bytes": describe_reading(memory.memory.available_bytes),
        "host_total_bytes": describe_reading(memory.host_total_bytes),
        "host_available_bytes": describe_reading(memory.host_available_bytes),
        "is_limited": memory.is_limited,
        "limit_bytes": describe_reading(memory.limit_bytes),
        "swap_free_bytes": describe_reading(memory.swap_free_bytes),
        "pressure_ratio": describe_reading(memory.pressure_ratio),
        "reclaimable_cache_bytes": describe_reading(memory.reclaimable_cache_bytes),
    }


def budget_of(device: Device, settings: Settings) -> int | None:
    """Returns what models may take on a GPU, `None` while its size is unknown."""
    total = device.total_bytes.value
    if total is None:
        return None
    return settings.budget.budget_bytes(device.id, device.index, total, pci_id=device.pci_id)


def count_processes(reading: GpuReading) -> Reading[int]:
    """Returns how many processes the driver lists on a GPU; the list itself is in the shares."""
    listed = reading.processes
    return Reading(
        value=None if listed.value is None else len(listed.value),
        source=listed.source,
        quality=listed.quality,
        age_seconds=listed.age_seconds,
        reason=listed.reason,
    )


def _device(reading: GpuReading, seen: Seen, settings: Settings) -> Document:
    device = reading.device
    whose = seen.picture.attributions.get(device.id)
    return {
        "id": device.id,
        "index": device.index,
        "name": device.name,
        "library": device.library,
        "pci_id": device.pci_id or None,
        "parent_id": reading.parent_id,
        "state": reading.state.value,
        "memory_kind": reading.memory_kind.value,
        "total_bytes": describe_reading(device.total_bytes),
        "free_bytes": describe_reading(device.free_bytes),
        "used_bytes": describe_reading(reading.used_bytes),
        "reserved_bytes": describe_reading(reading.reserved_bytes),
        "utilization_ratio": describe_reading(reading.utilization),
        "process_count": describe_reading(count_processes(reading)),
        "budget_bytes": budget_of(device, settings),
        "taken_bytes": describe_reading(whose.taken) if whose else None,
        "shares": [_share(share, seen) for share in whose.shares] if whose else [],
        "excess_bytes": whose.excess_bytes if whose else 0,
        "notes": list(whose.notes) if whose else [],
    }


def _share(share: Share, seen: Seen) -> Document:
    return {
        "owner": share.owner.value,
        "name": name_share(share, seen),
        "used_bytes": share.used_bytes,
        "quality": share.quality.value,
        "pid": share.pid,
        "key": share.key,
        "phase": share.phase.value if share.phase else None,
    }


def _entry(entry: Entry, settings: Settings) -> Document:
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


def _resident(resident: Resident, seen: Seen) -> Document:
    entry = entry_of(resident, seen)
    runner = runner_of(seen.picture, resident)
    signs = [use for use in seen.picture.use if use.key == resident.key]
    footprint = footprint_of(resident, entry, seen.observation, seen.picture)
    return {
        "name": resident.name,
        "key": resident.key,
        "digest": resident.manifest_digest,
        "size_bytes": resident.size_bytes,
        "size_vram_bytes": resident.size_vram_bytes,
        "context": resident.context,
        "expires_at": resident.expires_at,
        "is_forever": resident.expires_at is not None and math.isinf(resident.expires_at),
        "pid": runner.process.pid if runner else None,
        "footprint_estimate_bytes": None if footprint is None else footprint.vram_bytes,
        "footprint_upper_bytes": None if footprint is None else footprint.vram_upper_bytes,
        "footprint_basis": None if footprint is None else footprint.basis,
        "footprint_grounds": None if footprint is None else footprint.grounds,
        "observed_bytes": describe_reading(observe_model(seen.picture, resident)),
        "observed_by_device": observe_by_device(seen.picture, resident),
        "is_busy": True if any(use.is_busy for use in signs) else None,
        "use": [_use(use) for use in signs],
    }


def _runner(runner: Runner, seen: Seen) -> Document:
    process, command = runner.process, runner.process.command
    return {
        "pid": process.pid,
        "phase": runner.phase.value,
        "reason": runner.reason,
        "key": runner.key,
        "name": name_runner(runner, seen),
        "context": command.slot_context,
        "parallel": command.parallel,
        "kv_cache_type": command.kv_cache_type,
        "started_at": process.started_at,
        "cpu_seconds": process.cpu_seconds,
        "resident_bytes": process.resident_bytes,
        "anonymous_bytes": process.anonymous_bytes,
    }


def _use(use: Use) -> Document:
    return {
        "key": use.key,
        "sign": use.sign.value,
        "strength": use.strength.value,
        "is_busy": use.is_busy,
        "reason": use.reason,
    }


def _trouble(trouble: Trouble) -> Document:
    return {
        "code": trouble.code,
        "severity": trouble.severity.value,
        "message": trouble.message,
        "hint": trouble.hint,
        "device": trouble.device,
        "blocks_loads": trouble.blocks_loads,
    }
