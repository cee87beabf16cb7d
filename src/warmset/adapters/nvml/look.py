"""One look at every NVIDIA device of an open session.

Rule: names and addresses of all cards are read before any card's memory, and each device is
handed over as soon as it is complete: a card that hangs hides nothing that was read before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from warmset.adapters.nvml import library as nvml
from warmset.adapters.nvml.library import CallFailed, Handle, NvmlLibrary
from warmset.adapters.nvml.meaning import explain_device
from warmset.core.host.readings import (
    DeviceState,
    GpuProcess,
    GpuReading,
    MemoryKind,
    MemoryNumbers,
    Trouble,
    find_implausible,
    normalise_pci,
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


@dataclass(slots=True)
class Look:
    """What one pass gathers, besides the devices it hands over."""

    troubles: list[Trouble] = field(default_factory=list)
    seen: set[DeviceId] = field(default_factory=set)
    needs_new_session: bool = False

    def note(self, failed: CallFailed, identity: Identity | None, name: str) -> None:
        """Keeps a failure for people, and whether it asks for a fresh session."""
        device = identity.id if identity else None
        self.troubles.append(explain_device(failed.code, failed.call, device, name))
        if failed.code not in nvml.EXPECTED_CODES:
            self.needs_new_session = True


class DeviceReader:
    """Reads devices with an open library.

    Args:
        library: The calls.
        read_memory: The host's RAM, for devices that have no memory of their own.
        last_total: The last good total of a device, to recognise nonsense.
        is_soc: Whether this machine is a system on a chip (Jetson).
    """

    def __init__(
        self,
        library: NvmlLibrary,
        *,
        read_memory: Callable[[], HostMemory] | None,
        last_total: Callable[[DeviceId], int | None],
        is_soc: bool,
    ) -> None:
        self._library = library
        self._read_memory = read_memory
        self._last_total = last_total
        self._is_soc = is_soc
        self._identities: dict[int, Identity] = {}

    def read_all(
        self,
        publish: Callable[[GpuReading], None],
        found: Callable[[Identity], None],
    ) -> Look:
        """Reads every device, handing each one to `publish`; `found` hears of it before that.

        Raises:
            CallFailed: when the devices cannot even be counted.
        """
        look = Look()
        targets: list[tuple[Identity, Handle]] = []
        for index in range(int(self._library.call("nvmlDeviceGetCount"))):
            targets += self._open(index, look, publish)
        for identity, _ in targets:
            look.seen.add(identity.id)
            found(identity)
        for identity, handle in targets:
            publish(self._read(identity, handle, look))
        return look

    def _open(
        self, index: int, look: Look, publish: Callable[[GpuReading], None]
    ) -> list[tuple[Identity, Handle]]:
        known = self._identities.get(index)
        try:
            handle = self._library.call("nvmlDeviceGetHandleByIndex", index)
            identity = self._identify(handle, index)
            self._identities[index] = identity
            if self._is_partitioned(handle):
                return list(self._open_parts(handle, identity, look))
        except CallFailed as failed:
            look.note(failed, known, known.name if known else f"NVIDIA GPU {index}")
            if known is not None and failed.code != nvml.NO_PERMISSION:
                look.seen.add(known.id)
                publish(unreadable(known, failed))
            return []
        return [(identity, handle)]

    def _identify(self, handle: Handle, index: int, parent: Identity | None = None) -> Identity:
        read = self._library.read_text
        name = read("nvmlDeviceGetName", handle) or "NVIDIA GPU"
        uuid = read("nvmlDeviceGetUUID", handle)
        pci_id = parent.pci_id if parent else self._read_pci(handle)
        compute = parent.compute if parent else self._read_compute(handle)
        identity = uuid or pci_id
        if not identity:
            raise CallFailed(nvml.NOT_SUPPORTED, "nvmlDeviceGetUUID")
        return Identity(
            id=DeviceId(identity),
            name=name,
            index=index,
            pci_id=pci_id,
            compute=compute,
            parent_id=parent.id if parent else None,
        )

    def _read_pci(self, handle: Handle) -> str:
        try:
            raw = self._library.call("nvmlDeviceGetPciInfo", handle).busId
        except CallFailed as failed:
            if failed.code in nvml.LOST_CODES:
                raise
            return ""
        text = raw.decode("ascii", "replace") if isinstance(raw, bytes) else str(raw)
        return normalise_pci(text)

    def _read_compute(self, handle: Handle) -> str:
        try:
            major, minor = self._library.call("nvmlDeviceGetCudaComputeCapability", handle)
        except CallFailed as failed:
            if failed.code in nvml.LOST_CODES:
                raise
            return ""
        return f"{major}.{minor}"

    def _is_partitioned(self, handle: Handle) -> bool:
        try:
            current, _pending = self._library.call("nvmlDeviceGetMigMode", handle)
        except CallFailed as failed:
            if failed.code in nvml.LOST_CODES:
                raise
            return False
        return bool(current)

    def _open_parts(
        self, handle: Handle, parent: Identity, look: Look
    ) -> Iterator[tuple[Identity, Handle]]:
        """Yields the MIG instances: a card that is cut up is itself no target."""
        count = int(self._library.call("nvmlDeviceGetMaxMigDeviceCount", handle))
        parts = 0
        for slot in range(count):
            try:
                part = self._library.call("nvmlDeviceGetMigDeviceHandleByIndex", handle, slot)
                identity = self._identify(part, parent.index, parent)
            except CallFailed as failed:
                if failed.code != nvml.NOT_FOUND:
                    look.note(failed, parent, f"{parent.name} MIG {slot}")
                continue
            parts += 1
            yield identity, part
        if not parts:
            look.troubles.append(
                Trouble(
                    code="mig-without-instances",
                    message=f"{parent.name} is in MIG mode and has no instance to load into",
                    hint="nvidia-smi mig -cgi … -C, or switch MIG off",
                    device=parent.id,
                )
            )

    def _read(self, identity: Identity, handle: Handle, look: Look) -> GpuReading:
        kind = memory_kind(identity.name, is_soc=self._is_soc)
        processes: Reading[tuple[GpuProcess, ...]] = unknown(SOURCE, "not read")
        try:
            processes = self._read_processes(identity, handle, look)
            if kind is MemoryKind.UNIFIED:
                return self._unified(identity, processes, self._read_use(handle))
            numbers = self._library.read_memory(handle)
        except CallFailed as failed:
            if failed.code == nvml.NOT_SUPPORTED and kind is MemoryKind.OS_MANAGED:
                return self._unified(identity, processes, self._read_use(handle))
            look.note(failed, identity, identity.name)
            return unreadable(identity, failed, processes=processes)
        implausible = find_implausible(numbers, self._last_total(identity.id))
        if implausible:
            look.troubles.append(_report_nonsense(identity, numbers, implausible))
            return unreadable(identity, None, implausible, processes=processes)
        return own_memory(identity, numbers, kind, processes, self._read_use(handle))

    def _read_processes(
        self, identity: Identity, handle: Handle, look: Look
    ) -> Reading[tuple[GpuProcess, ...]]:
        try:
            return Reading(value=self._library.read_processes(handle), source=SOURCE)
        except CallFailed as failed:
            if failed.code in nvml.LOST_CODES:
                raise
            look.note(failed, identity, identity.name)
            trouble = look.troubles[-1]
            return unknown(SOURCE, trouble.message)

    def _read_use(self, handle: Handle) -> Reading[float]:
        try:
            rates = self._library.call("nvmlDeviceGetUtilizationRates", handle)
        except CallFailed as failed:
            return unknown(SOURCE, f"{failed.call} returned code {failed.code}")
        return Reading(value=min(1.0, max(0.0, rates.gpu / 100)), source=SOURCE)

    def _unified(
        self,
        identity: Identity,
        processes: Reading[tuple[GpuProcess, ...]],
        use: Reading[float],
    ) -> GpuReading:
        """Returns a device that lives in the host's RAM: what RAM has is what it has."""
        source = "unified memory: the host's RAM"
        total: Reading[int] = unknown(source, "the host's RAM is not read here")
        free = total
        if self._read_memory is not None:
            memory = self._read_memory()
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


def _report_nonsense(identity: Identity, numbers: MemoryNumbers, why: str) -> Trouble:
    return Trouble(
        code="implausible",
        message=f"{identity.name}: implausible memory reading, discarded: {why} "
        f"(total {numbers.total_bytes}, free {numbers.free_bytes}, used {numbers.used_bytes})",
        device=identity.id,
    )
