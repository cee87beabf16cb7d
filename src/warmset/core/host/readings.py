"""What one look at the GPUs and at RAM returns, beyond the frame's `Device` and `HostMemory`.

Rule: a fact that could not be read is an `unknown` reading or a `Trouble`, never a zero and
never an old number without the word `stale`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from warmset.core.model import Device, DeviceId, HostMemory, Quality, Reading, T, unknown
from warmset.core.replacing import replace

STALE_AFTER_SECONDS: Final = 10.0
"""Older memory readings allow nothing destructive. Source: devices.md section 8, our rule."""


class Severity(StrEnum):
    """How much a person has to care about a trouble."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class DeviceState(StrEnum):
    """Whether a GPU answers."""

    OK = "ok"
    LOST = "lost"  # fell off the bus, or the driver asks for a reset
    SILENT = "silent"  # the driver does not come back from a call
    ASLEEP = "asleep"  # runtime power management; reading would wake it
    FAILED = "failed"  # answers with an error


class MemoryKind(StrEnum):
    """What a GPU's memory is made of."""

    DEDICATED = "dedicated"
    UNIFIED = "unified"  # the host's RAM: one pool, charged once
    OS_MANAGED = "os-managed"  # own memory as a NUMA node: freed pages may stay counted
    UNREPORTED = "unreported"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that could not be read, or that a person should know."""

    code: str  # stable word for JSON: "driver-updated", "not-permitted", …
    message: str
    hint: str = ""
    severity: Severity = Severity.WARNING
    device: DeviceId | None = None
    blocks_loads: bool = False  # nothing new may be promised on VRAM while this lasts


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryNumbers:
    """Raw counts of one device as its driver gave them; `None` where it gives none."""

    total_bytes: int
    free_bytes: int
    used_bytes: int
    reserved_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """One process on one GPU. The PID is the driver's: the host's PID namespace."""

    pid: int
    used_bytes: int | None
    kinds: frozenset[str]  # of "compute", "graphics", "mps"
    busy_seconds: float | None = None  # engine time since the process began, where told


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """Everything read about one GPU."""

    device: Device
    state: DeviceState = DeviceState.OK
    memory_kind: MemoryKind = MemoryKind.DEDICATED
    used_bytes: Reading[int]
    reserved_bytes: Reading[int]
    processes: Reading[tuple[GpuProcess, ...]]
    utilization: Reading[float]  # 0-1, display only: never a decision
    parent_id: DeviceId | None = None  # the card a MIG instance is cut from


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSurvey:
    """One look at all GPUs of one driver."""

    source: str
    devices: tuple[GpuReading, ...] = ()
    troubles: tuple[Trouble, ...] = ()
    driver: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySurvey:
    """RAM as the server process may use it, and the signs of pressure.

    Units:
        `pressure_ratio` is the share of the last ten seconds in which some task waited for memory.
    """

    memory: HostMemory
    host_total_bytes: Reading[int]
    host_available_bytes: Reading[int]
    limit_bytes: Reading[int]  # the tightest cgroup limit; unknown when unlimited or unreadable
    is_limited: bool | None  # None: could not be read
    swap_free_bytes: Reading[int]
    pressure_ratio: Reading[float]
    reclaimable_cache_bytes: Reading[int]  # ZFS ARC, outside MemAvailable: display only
    troubles: tuple[Trouble, ...] = ()


def mark_stale(reading: Reading[T], age_seconds: float, reason: str) -> Reading[T]:
    """Returns `reading` as an old one: stale with its age, or unknown if it had no value."""
    if reading.value is None:
        return unknown(reading.source, reading.reason or reason)
    return replace(reading, quality=Quality.STALE, age_seconds=max(0.0, age_seconds), reason=reason)


def mark_device_stale(
    reading: GpuReading, age_seconds: float, reason: str, state: DeviceState
) -> GpuReading:
    """Returns a GPU's last readings as stale ones, with the state that made them so."""
    device = replace(
        reading.device,
        total_bytes=mark_stale(reading.device.total_bytes, age_seconds, reason),
        free_bytes=mark_stale(reading.device.free_bytes, age_seconds, reason),
    )
    return replace(
        reading,
        device=device,
        state=state,
        used_bytes=mark_stale(reading.used_bytes, age_seconds, reason),
        reserved_bytes=mark_stale(reading.reserved_bytes, age_seconds, reason),
        processes=mark_stale(reading.processes, age_seconds, reason),
        utilization=unknown(reading.utilization.source, reason),
    )


def find_implausible(fresh: MemoryNumbers, last_total_bytes: int | None) -> str | None:
    """Returns why `fresh` cannot be true, or `None` if it can.

    A card's total is a constant, so a total twice or half the last good one is a bad reading;
    free memory may jump at will when a model goes.

    Source: devices.md section 8: total = 0, free > total, a value that jumps 2x.
    """
    total, free, used = fresh.total_bytes, fresh.free_bytes, fresh.used_bytes
    if total <= 0:
        return f"the driver reports a total of {total} bytes"
    if min(free, used, fresh.reserved_bytes or 0) < 0:
        return "the driver reports a negative number of bytes"
    if free > total:
        return f"the driver reports {free} bytes free of {total}"
    if used > total:
        return f"the driver reports {used} bytes used of {total}"
    if last_total_bytes and not last_total_bytes / 2 < total < last_total_bytes * 2:
        return f"the total jumped from {last_total_bytes} to {total} bytes"
    return None


def merge_processes(rows: Iterable[GpuProcess]) -> tuple[GpuProcess, ...]:
    """Returns one row for each PID, by PID: a process in several lists is one process.

    Each list tells the process's whole memory, so the largest known number stands.
    """
    merged: dict[int, GpuProcess] = {}
    for row in rows:
        seen = merged.get(row.pid)
        if seen is None:
            merged[row.pid] = row
            continue
        known = [b for b in (seen.used_bytes, row.used_bytes) if b is not None]
        busy = [s for s in (seen.busy_seconds, row.busy_seconds) if s is not None]
        merged[row.pid] = GpuProcess(
            pid=row.pid,
            used_bytes=max(known, default=None),
            kinds=seen.kinds | row.kinds,
            busy_seconds=max(busy, default=None),
        )
    return tuple(merged[pid] for pid in sorted(merged))


def normalise_pci(text: str) -> str:
    """Returns a PCI address as sysfs and Ollama write it: `0000:01:00.0`; unknown forms as is."""
    parts = text.strip().lower().split(":")
    if len(parts) != 3 or not all(parts):
        return text.strip().lower()
    try:
        domain = int(parts[0], 16)
    except ValueError:
        return text.strip().lower()
    return f"{domain:04x}:{parts[1]}:{parts[2]}"
