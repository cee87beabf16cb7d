"""AMD and Intel GPUs from sysfs, with their processes from fdinfo and kfd.

Rule: `cardN` numbers change between boots, so a card is its PCI slot. A card that sleeps is not
woken to be read.

Source: devices.md section 4; kernel documentation of amdgpu's sysfs and of DRM client usage.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from warmset.adapters.drm.clients import ClientUse, KfdUse, read_clients, read_kfd
from warmset.core.host.readings import (
    DeviceState,
    GpuProcess,
    GpuReading,
    GpuSurvey,
    MemoryKind,
    MemoryNumbers,
    Severity,
    Trouble,
    find_implausible,
    mark_device_stale,
    merge_processes,
    normalise_pci,
)
from warmset.core.model import Device, DeviceId, Quality, Reading, unknown
from warmset.core.units import GIB
from warmset.ports import HostProbe

SOURCE: Final = "drm"
Vendor = Literal["amd", "intel"]
VENDORS: Final[dict[str, Vendor]] = {"0x1002": "amd", "0x8086": "intel"}

CARVE_OUT_BELOW_BYTES: Final = 4 * GIB
"""The largest carve-out that marks an APU where the kernel names no memory vendor. Firmware
carves out 512 MiB by default; an APU set to more is read like a card, which its carve-out is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Card:
    """One PCI device with a DRM driver."""

    folder: Path  # /sys/class/drm/cardN/device
    pci_id: str
    index: int
    vendor: Vendor
    name: str

    def number(self, file: str) -> int | None:
        """Returns a sysfs number, `None` if the file is absent or not one."""
        text = _read_text(self.folder / file)
        return int(text) if text is not None and text.isdecimal() else None


@dataclass(slots=True)
class _Kept:
    reading: GpuReading
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    """Who uses the cards, and whether every process could be asked."""

    clients: tuple[ClientUse, ...] = ()
    kfd: tuple[KfdUse, ...] = ()
    is_complete: bool = True


class DrmProbe:
    """Reads AMD and Intel GPUs of this machine.

    Args:
        root: The root of the file system, for tests and for containers that mount the host's.
        host: Reads RAM for GPUs that live in it.
        intel_total_bytes: Memory of each Intel card by PCI address, where the operator states it:
            sysfs does not tell.
        monotonic: Seconds that never step back.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        host: HostProbe | None = None,
        *,
        intel_total_bytes: dict[str, int] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._host = host
        self._intel_total_bytes = intel_total_bytes or {}
        self._monotonic = monotonic
        self._kept: dict[DeviceId, _Kept] = {}

    def read(self) -> tuple[Device, ...]:
        """Returns the devices; what failed is `unknown` or `stale` with its reason."""
        return tuple(reading.device for reading in self.survey().devices)

    def survey(self) -> GpuSurvey:
        """Returns every AMD and Intel GPU with its processes, as far as they may be seen."""
        cards = tuple(self._cards())
        if not cards:
            return GpuSurvey(source=SOURCE)
        clients, is_complete = read_clients(self._root / "proc")
        use = _Use(
            clients=clients,
            kfd=read_kfd(self._root / "sys/class/kfd/kfd"),
            is_complete=is_complete,
        )
        troubles: list[Trouble] = []
        amd_count = sum(card.vendor == "amd" for card in cards)
        devices = tuple(
            self._read_card(card, use, is_only_amd=amd_count == 1, troubles=troubles)
            for card in cards
        )
        if not is_complete:
            troubles.append(_PARTIAL_VIEW)
        return GpuSurvey(source=SOURCE, devices=devices, troubles=tuple(troubles))

    def _cards(self) -> Iterator[_Card]:
        folder = self._root / "sys/class/drm"
        seen: set[str] = set()
        for entry in sorted(folder.glob("card*"), key=lambda path: (len(path.name), path.name)):
            if not re.fullmatch(r"card\d+", entry.name):
                continue  # a connector such as card0-DP-1
            device = entry / "device"
            vendor = VENDORS.get((_read_text(device / "vendor") or "").lower())
            if vendor is None:
                continue
            pci_id = normalise_pci(device.resolve().name)
            if pci_id in seen:
                continue
            seen.add(pci_id)
            yield _Card(
                folder=device,
                pci_id=pci_id,
                index=int(entry.name.removeprefix("card")),
                vendor=vendor,
                name=_product_name(device, vendor),
            )

    def _read_card(
        self, card: _Card, use: _Use, *, is_only_amd: bool, troubles: list[Trouble]
    ) -> GpuReading:
        identity = DeviceId(card.pci_id)
        last = self._kept.get(identity)
        if _read_text(card.folder / "power/runtime_status") == "suspended":
            return self._asleep(card, last)
        processes = _processes_of(card, use, is_only_amd=is_only_amd)
        read = self._read_amd if card.vendor == "amd" else self._read_intel
        fresh = read(card, processes, troubles)
        if fresh.device.free_bytes.value is not None:
            self._kept[identity] = _Kept(reading=fresh, at=self._monotonic())
        elif last is not None:
            reason = fresh.device.free_bytes.reason
            age_seconds = self._monotonic() - last.at
            return mark_device_stale(last.reading, age_seconds, reason, DeviceState.FAILED)
        return fresh

    def _asleep(self, card: _Card, last: _Kept | None) -> GpuReading:
        reason = "the card sleeps; reading it would wake it"
        if last is not None:
            age_seconds = self._monotonic() - last.at
            return mark_device_stale(last.reading, age_seconds, reason, DeviceState.ASLEEP)
        sleeping = _reading(card, unknown(SOURCE, reason), unknown(SOURCE, reason))
        return replace(sleeping, state=DeviceState.ASLEEP)

    def _read_amd(
        self,
        card: _Card,
        processes: Reading[tuple[GpuProcess, ...]],
        troubles: list[Trouble],
    ) -> GpuReading:
        total = card.number("mem_info_vram_total")
        used = card.number("mem_info_vram_used")
        if total is None or used is None:
            return _silent(card, processes, "mem_info_vram_* is missing: kernel older than 5.1?")
        numbers = MemoryNumbers(total_bytes=total, free_bytes=total - used, used_bytes=used)
        last = self._kept.get(DeviceId(card.pci_id))
        gtt_total = card.number("mem_info_gtt_total")
        is_apu = _is_apu(card, total, gtt_total)
        last_total = last.reading.device.total_bytes.value if last and not is_apu else None
        why = find_implausible(numbers, last_total)
        if why:
            troubles.append(_report_nonsense(card, why))
            return _silent(card, processes, why)
        if is_apu:
            return self._read_apu(card, numbers, gtt_total, processes)
        return _reading(
            card,
            Reading(value=total, source=SOURCE),
            Reading(value=total - used, source=SOURCE),
            used=Reading(value=used, source=SOURCE),
            processes=processes,
        )

    def _read_apu(
        self,
        card: _Card,
        vram: MemoryNumbers,
        gtt_total: int | None,
        processes: Reading[tuple[GpuProcess, ...]],
    ) -> GpuReading:
        """Reads a GPU with a small carve-out of its own and the rest in RAM.

        Source: devices.md section 3, AMD APU: VRAM free + min(GTT free, RAM available), an
        estimate, since the carve-out lies outside MemAvailable and GTT inside.
        """
        gtt_used = card.number("mem_info_gtt_used")
        source = "drm: carve-out and GTT within RAM"
        if gtt_total is None or gtt_used is None or not 0 <= gtt_used <= gtt_total:
            return _silent(card, processes, "mem_info_gtt_* cannot be read")
        gtt_free = gtt_total - gtt_used
        ram = self._host.read().available_bytes if self._host else None
        if ram is None or ram.value is None:
            why = ram.reason if ram else "the host's RAM is not read here"
            free: Reading[int] = unknown(source, why)
        else:
            quality = Quality.STALE if ram.quality is Quality.STALE else Quality.ESTIMATE
            value = vram.free_bytes + min(gtt_free, ram.value)
            free = Reading(value=value, source=source, quality=quality, age_seconds=ram.age_seconds)
        estimate = Quality.ESTIMATE
        return _reading(
            card,
            Reading(value=vram.total_bytes + gtt_total, source=source, quality=estimate),
            free,
            used=Reading(value=vram.used_bytes + gtt_used, source=source, quality=estimate),
            processes=processes,
            kind=MemoryKind.UNIFIED,
        )

    def _read_intel(
        self,
        card: _Card,
        processes: Reading[tuple[GpuProcess, ...]],
        _troubles: list[Trouble],
    ) -> GpuReading:
        """Reads an Intel card: its total as stated, its use as far as fdinfo shows it.

        Source: devices.md section 3, Intel: no memory counts in sysfs; used is a lower bound.
        """
        known = [p.used_bytes for p in processes.value or () if p.used_bytes is not None]
        used: Reading[int] = unknown(SOURCE, processes.reason or "no process list")
        if processes.value is not None:
            used = Reading(
                value=sum(known), source="fdinfo", quality=Quality.ESTIMATE, reason="lower bound"
            )
        total = self._intel_total_bytes.get(card.pci_id)
        if total is None:
            reason = "the kernel does not tell an Intel card's memory; state it in budgets.toml"
            return replace(_silent(card, processes, reason), used_bytes=used)
        free: Reading[int] = unknown(SOURCE, used.reason)
        if used.value is not None:
            free = Reading(
                value=max(0, total - used.value),
                source="stated total less fdinfo",
                quality=Quality.ESTIMATE,
                reason="upper bound: not every process may be visible",
            )
        return _reading(
            card,
            Reading(value=total, source="stated", quality=Quality.ESTIMATE),
            free,
            used=used,
            processes=processes,
        )


_PARTIAL_VIEW: Final = Trouble(
    code="partial-view",
    message="GPU use of other users' processes cannot be seen",
    hint="run as root, or as the user of the Ollama server",
    severity=Severity.INFO,
)


def _is_apu(card: _Card, vram_total: int, gtt_total: int | None) -> bool:
    """Tells a GPU that lives in RAM from a card, by facts of the driver.

    A discrete amdgpu device names its memory's vendor; one in the CPU, we believe, does not. Then
    a small carve-out below its GTT is an APU.
    """
    vendor = _read_text(card.folder / "mem_info_vram_vendor")
    if vendor and vendor.lower() not in {"unknown", "none"}:
        return False
    return gtt_total is not None and vram_total < gtt_total and vram_total <= CARVE_OUT_BELOW_BYTES


def _processes_of(card: _Card, use: _Use, *, is_only_amd: bool) -> Reading[tuple[GpuProcess, ...]]:
    rows = [
        GpuProcess(
            pid=client.pid,
            used_bytes=client.used_bytes,
            kinds=frozenset({"compute" if client.is_compute else "graphics"}),
            busy_seconds=client.busy_seconds,
        )
        for client in use.clients
        if client.pci_id == card.pci_id
    ]
    if card.vendor == "amd":
        # A kfd row without an address can only be this card's if there is no other.
        rows += [
            GpuProcess(pid=row.pid, used_bytes=row.used_bytes, kinds=frozenset({"compute"}))
            for row in use.kfd
            if row.pci_id == card.pci_id or (row.pci_id is None and is_only_amd)
        ]
    quality = Quality.EXACT if use.is_complete else Quality.ESTIMATE
    reason = "" if use.is_complete else "own processes only"
    return Reading(value=merge_processes(rows), source="fdinfo", quality=quality, reason=reason)


def _reading(
    card: _Card,
    total: Reading[int],
    free: Reading[int],
    *,
    used: Reading[int] | None = None,
    processes: Reading[tuple[GpuProcess, ...]] | None = None,
    kind: MemoryKind = MemoryKind.DEDICATED,
) -> GpuReading:
    busy = card.number("gpu_busy_percent")
    use: Reading[float] = unknown(SOURCE, "not reported")
    if busy is not None and busy <= 100 and free.value is not None:
        use = Reading(value=busy / 100, source=SOURCE)
    return GpuReading(
        device=Device(
            id=DeviceId(card.pci_id),
            name=card.name,
            library="ROCm" if card.vendor == "amd" else "Vulkan",
            total_bytes=total,
            free_bytes=free,
            index=card.index,
            pci_id=card.pci_id,
            integrated=kind is MemoryKind.UNIFIED,
        ),
        memory_kind=kind,
        used_bytes=used or unknown(SOURCE, total.reason or "not reported"),
        reserved_bytes=unknown(SOURCE, "this driver has no such count"),
        processes=processes or unknown(SOURCE, total.reason or "not read"),
        utilization=use,
    )


def _silent(card: _Card, processes: Reading[tuple[GpuProcess, ...]], reason: str) -> GpuReading:
    return _reading(
        card,
        unknown(SOURCE, reason),
        unknown(SOURCE, reason),
        processes=processes,
        kind=MemoryKind.UNREPORTED,
    )


def _report_nonsense(card: _Card, why: str) -> Trouble:
    return Trouble(
        code="implausible",
        message=f"{card.name}: implausible memory reading, discarded: {why}",
        device=DeviceId(card.pci_id),
    )


def _product_name(device: Path, vendor: Vendor) -> str:
    name = _read_text(device / "product_name")
    if name:
        return name
    number = (_read_text(device / "device") or "").removeprefix("0x")
    maker = "AMD" if vendor == "amd" else "Intel"
    return f"{maker} GPU {number}".rstrip()


def _read_text(file: Path) -> str | None:
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return None
