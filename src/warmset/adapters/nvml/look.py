"""One look at every NVIDIA device of an open session.

Rule: names and addresses of all cards are read before any card's memory, and each device is
handed over as soon as it is complete: a card that hangs hides nothing that was read before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from warmset.adapters.nvml import library as nvml
from warmset.adapters.nvml.devices import (
    SOURCE,
    Identity,
    memory_kind,
    own_memory,
    report_nonsense,
    shared_memory,
    unreadable,
)
from warmset.adapters.nvml.library import CallFailed, Handle, NvmlLibrary
from warmset.adapters.nvml.meaning import explain_device
from warmset.core.host.readings import (
    GpuProcess,
    GpuReading,
    MemoryKind,
    Trouble,
    find_implausible,
    normalise_pci,
)
from warmset.core.model import DeviceId, HostMemory, Reading, unknown


@dataclass(slots=True)
class Look:
    """What one pass gathers, besides the devices it hands over."""

    troubles: list[Trouble] = field(default_factory=list)
    seen: set[DeviceId] = field(default_factory=set)
    denied: set[DeviceId] = field(default_factory=set)
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
            if known is not None and failed.code == nvml.NO_PERMISSION:
                look.denied.add(known.id)
            elif known is not None:
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
                return self._read_shared(identity, handle, processes)
            numbers = self._library.read_memory(handle)
        except CallFailed as failed:
            if failed.code == nvml.NOT_SUPPORTED and kind is MemoryKind.OS_MANAGED:
                return self._read_shared(identity, handle, processes)
            look.note(failed, identity, identity.name)
            return unreadable(identity, failed, processes=processes)
        implausible = find_implausible(numbers, self._last_total(identity.id))
        if implausible:
            look.troubles.append(report_nonsense(identity, numbers, implausible))
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

    def _read_shared(
        self, identity: Identity, handle: Handle, processes: Reading[tuple[GpuProcess, ...]]
    ) -> GpuReading:
        memory = self._read_memory() if self._read_memory else None
        return shared_memory(identity, memory, processes, self._read_use(handle))
