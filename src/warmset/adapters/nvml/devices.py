"""What the facts of one NVIDIA device amount to, as the frame's values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from warmset.adapters.nvml import library as nvml
from warmset.adapters.nvml.library import CallFailed
from warmset.adapters.nvml.meaning import explain_device
from warmset.core.host.readings import (
    DeviceState,
    GpuProcess,
    GpuReading,
    MemoryKind,
    MemoryNumbers,
    Trouble,
)
from warmset.core.model import Device, DeviceId, HostMemory, Quality, Reading, unknown

SOURCE: Final = "nvml"

UNIFIED_NAMES: Final = ("gb10", "thor", "orin", "nvgpu", "xavier", "tegra")
"""Words in the names of GPUs without memory of their own. Source: devices.md sections 3 and 8."""

OS_MANAGED_NAMES: Final = ("gh200", "gb200", "gb300", "grace")
"""Words in the names of GPUs whose memory the OS runs as a NUMA node. Source: as above."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Which card it is. Kept for a session, so that a lost card keeps its name."""

    id: DeviceId
    name: str
    index: int
    pci_id: str
    compute: str
    parent_id: DeviceId | None = None

    def device(self, total: Reading[int], free: Reading[int], *, integrated: bool) -> Device:
        """Returns the frame's device with these readings."""
        return Device(
            id=self.id,
            name=self.name,
            library="CUDA",
            total_bytes=total,
            free_bytes=free,
            index=self.index,
            pci_id=self.pci_id,
            integrated=integrated,
            compute=self.compute,
        )


def memory_kind(name: str, *, is_soc: bool) -> MemoryKind:
    """Returns what the memory of a GPU of this name is; never guessed from its size."""
    lowered = name.lower()
    if is_soc or any(word in lowered for word in UNIFIED_NAMES):
        return MemoryKind.UNIFIED
    if any(word in lowered for word in OS_MANAGED_NAMES):
        return MemoryKind.OS_MANAGED
    return MemoryKind.DEDICATED


def own_memory(
    identity: Identity,
    numbers: MemoryNumbers,
    kind: MemoryKind,
    processes: Reading[tuple[GpuProcess, ...]],
    use: Reading[float],
) -> GpuReading:
    """Returns a device with memory of its own. Free is what the driver says, never computed."""
    reserved: Reading[int] = unknown(SOURCE, "this driver counts its reserve as used")
    if numbers.reserved_bytes is not None:
        reserved = Reading(value=numbers.reserved_bytes, source=SOURCE)
    return GpuReading(
        device=identity.device(
            Reading(value=numbers.total_bytes, source=SOURCE),
            Reading(value=numbers.free_bytes, source=SOURCE),
            integrated=False,
        ),
        memory_kind=kind,
        used_bytes=Reading(value=numbers.used_bytes, source=SOURCE),
        reserved_bytes=reserved,
        processes=processes,
        utilization=use,
        parent_id=identity.parent_id,
    )


def shared_memory(
    identity: Identity,
    memory: HostMemory | None,
    processes: Reading[tuple[GpuProcess, ...]],
    use: Reading[float],
) -> GpuReading:
    """Returns a device that lives in the host's RAM: what RAM has is what it has."""
    source = "unified memory: the host's RAM"
    total: Reading[int] = unknown(source, "the host's RAM is not read here")
    free = total
    if memory is not None:
        total = _as_estimate(memory.total_bytes, source)
        free = _as_estimate(memory.available_bytes, source)
    return GpuReading(
        device=identity.device(total, free, integrated=True),
        memory_kind=MemoryKind.UNIFIED,
        used_bytes=_sum_processes(processes),
        reserved_bytes=unknown(SOURCE, "unified memory has no reserve of its own"),
        processes=processes,
        utilization=use,
        parent_id=identity.parent_id,
    )


def unreadable(
    identity: Identity,
    failed: CallFailed | None,
    reason: str = "",
    *,
    processes: Reading[tuple[GpuProcess, ...]] | None = None,
) -> GpuReading:
    """Returns a device whose memory this look could not read, and why."""
    state = DeviceState.OK if failed is None else DeviceState.FAILED
    kind = MemoryKind.DEDICATED
    if failed is not None:
        reason = explain_device(failed.code, failed.call, identity.id, identity.name).message
        if failed.code in nvml.LOST_CODES:
            state = DeviceState.LOST
        elif failed.code in {nvml.NOT_SUPPORTED, nvml.NO_PERMISSION}:
            state = DeviceState.OK
            kind = MemoryKind.UNREPORTED
    return GpuReading(
        device=identity.device(unknown(SOURCE, reason), unknown(SOURCE, reason), integrated=False),
        state=state,
        memory_kind=kind,
        used_bytes=unknown(SOURCE, reason),
        reserved_bytes=unknown(SOURCE, reason),
        processes=processes or unknown(SOURCE, reason),
        utilization=unknown(SOURCE, reason),
        parent_id=identity.parent_id,
    )


def _as_estimate(reading: Reading[int], source: str) -> Reading[int]:
    if reading.value is None:
        return unknown(source, reading.reason)
    worst = Quality.ESTIMATE if reading.quality is Quality.EXACT else reading.quality
    return replace(reading, source=source, quality=worst)


def _sum_processes(processes: Reading[tuple[GpuProcess, ...]]) -> Reading[int]:
    """Returns what the processes hold together: on unified memory the GPU's real use."""
    source = "sum of processes"
    if processes.value is None:
        return unknown(source, processes.reason)
    parts = [p.used_bytes for p in processes.value]
    if any(part is None for part in parts):
        return unknown(source, "a process does not report its bytes")
    return Reading(
        value=sum(part for part in parts if part is not None),
        source=source,
        quality=Quality.ESTIMATE,
    )


def report_nonsense(identity: Identity, numbers: MemoryNumbers, why: str) -> Trouble:
    """Returns the trouble that shows the raw numbers of a discarded reading."""
    return Trouble(
        code="implausible",
        message=f"{identity.name}: implausible memory reading, discarded: {why} "
        f"(total {numbers.total_bytes}, free {numbers.free_bytes}, used {numbers.used_bytes})",
        device=identity.id,
    )
