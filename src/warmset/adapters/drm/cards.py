"""Cards of the kernel's DRM drivers, and what their facts amount to as the frame's values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from warmset.adapters.drm.clients import ClientUse
from warmset.adapters.drm.kfd import KfdUse, read_nodes
from warmset.core.host.readings import (
    GpuProcess,
    GpuReading,
    MemoryKind,
    Trouble,
    merge_processes,
    normalise_pci,
)
from warmset.core.model import Device, DeviceId, Quality, Reading, unknown
from warmset.core.units import GIB

SOURCE: Final = "drm"
KFD: Final = "sys/class/kfd/kfd"
Vendor = Literal["amd", "intel"]
VENDORS: Final[dict[str, Vendor]] = {"0x1002": "amd", "0x8086": "intel"}

CARVE_OUT_BELOW_BYTES: Final = 4 * GIB
"""The largest carve-out that marks an APU where the kernel names no memory vendor. Firmware
carves out 512 MiB by default; an APU set to more is read like a card, which its carve-out is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One PCI device with a DRM driver."""

    folder: Path  # /sys/class/drm/cardN/device
    pci_id: str
    index: int
    vendor: Vendor
    name: str
    driver: str = ""  # of the kernel: amdgpu, i915, xe
    compute: str = ""  # what ROCm calls its kind: gfx1100

    @property
    def is_root_device(self) -> bool:
        """Whether it sits on the root bus, where Intel's integrated GPUs are (00:02.0)."""
        return self.pci_id.startswith("0000:00:")

    def number(self, file: str) -> int | None:
        """Returns a sysfs number, `None` if the file is absent or not one."""
        text = read_text(self.folder / file)
        return int(text) if text is not None and text.isdecimal() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Who uses the cards, and whether every process could be asked."""

    clients: tuple[ClientUse, ...] = ()
    kfd: tuple[KfdUse, ...] = ()
    is_complete: bool = True


def find_cards(root: Path) -> Iterator[Card]:
    """Yields every AMD and Intel card once, connectors and render nodes left out."""
    folder = root / "sys/class/drm"
    kinds = {node.pci_id: node.compute for node in read_nodes(root / KFD).values()}
    seen: set[str] = set()
    for entry in sorted(folder.glob("card*"), key=lambda path: (len(path.name), path.name)):
        if not re.fullmatch(r"card\d+", entry.name):
            continue  # a connector such as card0-DP-1
        device = entry / "device"
        vendor = VENDORS.get((read_text(device / "vendor") or "").lower())
        if vendor is None:
            continue
        pci_id = normalise_pci(device.resolve().name)
        if pci_id in seen:
            continue
        seen.add(pci_id)
        yield Card(
            folder=device,
            pci_id=pci_id,
            index=int(entry.name.removeprefix("card")),
            vendor=vendor,
            name=_product_name(device, vendor),
            driver=(device / "driver").resolve().name if (device / "driver").is_symlink() else "",
            compute=kinds.get(pci_id, ""),
        )


def find_render_node(root: Path, card: Card) -> Path | None:
    """Returns the node through which programs without a display reach the card."""
    for entry in sorted((root / "sys/class/drm").glob("renderD*")):
        if normalise_pci((entry / "device").resolve().name) == card.pci_id:
            return root / "dev/dri" / entry.name
    return None


def is_apu(card: Card, vram_total: int, gtt_total: int | None) -> bool:
    """Tells a GPU that lives in RAM from a card, by facts of the driver.

    A discrete amdgpu device names its memory's vendor; one in the CPU, we believe, does not. Then
    a small carve-out below its GTT is an APU.
    """
    vendor = read_text(card.folder / "mem_info_vram_vendor")
    if vendor and vendor.lower() not in {"unknown", "none"}:
        return False
    return gtt_total is not None and vram_total < gtt_total and vram_total <= CARVE_OUT_BELOW_BYTES


def list_processes(card: Card, use: Use, *, is_only_amd: bool) -> Reading[tuple[GpuProcess, ...]]:
    """Returns the processes on a card, exact if every process could be asked."""
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


def make_reading(
    card: Card,
    total: Reading[int],
    free: Reading[int],
    *,
    used: Reading[int] | None = None,
    processes: Reading[tuple[GpuProcess, ...]] | None = None,
    kind: MemoryKind = MemoryKind.DEDICATED,
) -> GpuReading:
    """Returns a card with these memory readings."""
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
            compute=card.compute,
            integrated=kind is MemoryKind.UNIFIED
            or (card.vendor == "intel" and card.is_root_device),
        ),
        memory_kind=kind,
        used_bytes=used or unknown(SOURCE, total.reason or "not reported"),
        reserved_bytes=unknown(SOURCE, "this driver has no such count"),
        processes=processes or unknown(SOURCE, total.reason or "not read"),
        utilization=use,
    )


def estimated(value: int, source: str, reason: str) -> Reading[int]:
    """Returns a count that is good to plan with and not exact."""
    return Reading(value=value, source=source, quality=Quality.ESTIMATE, reason=reason)


def make_unreadable(
    card: Card, processes: Reading[tuple[GpuProcess, ...]], reason: str
) -> GpuReading:
    """Returns a card whose memory could not be read, and why."""
    return make_reading(
        card,
        unknown(SOURCE, reason),
        unknown(SOURCE, reason),
        processes=processes,
        kind=MemoryKind.UNREPORTED,
    )


def report_nonsense(card: Card, why: str) -> Trouble:
    """Returns the trouble that explains a discarded reading."""
    return Trouble(
        code="implausible",
        message=f"{card.name}: implausible memory reading, discarded: {why}",
        device=DeviceId(card.pci_id),
    )


def _product_name(device: Path, vendor: Vendor) -> str:
    name = read_text(device / "product_name")
    if name:
        return name
    number = (read_text(device / "device") or "").removeprefix("0x")
    maker = "AMD" if vendor == "amd" else "Intel"
    return f"{maker} GPU {number}".rstrip()


def read_text(file: Path) -> str | None:
    """Returns the stripped text of a file, `None` if it cannot be read."""
    try:
        return file.read_text("utf-8", "replace").strip()
    except OSError:
        return None
