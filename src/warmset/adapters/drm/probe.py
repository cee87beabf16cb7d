"""AMD and Intel GPUs from sysfs, with their processes from fdinfo and kfd.

Rule: `cardN` numbers change between boots, so a card is its PCI slot. A card that sleeps is not
woken to be read.

Source: devices.md section 4; kernel documentation of amdgpu's sysfs and of DRM client usage.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from warmset.adapters.drm.cards import (
    KFD,
    SOURCE,
    Card,
    Use,
    estimated,
    find_cards,
    find_render_node,
    is_apu,
    list_processes,
    make_reading,
    make_unreadable,
    read_text,
    report_nonsense,
)
from warmset.adapters.drm.clients import read_clients
from warmset.adapters.drm.intel import CardMemory, Ioctl, read_memory
from warmset.adapters.drm.kfd import read_uses
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
)
from warmset.core.model import Device, DeviceId, Quality, Reading, unknown
from warmset.ports import HostProbe


@dataclass(slots=True)
class _Kept:
    reading: GpuReading
    at: float


class DrmProbe:
    """Reads AMD and Intel GPUs of this machine.

    Args:
        root: The root of the file system, for tests and for containers that mount the host's.
        host: Reads RAM for GPUs that live in it.
        intel_total_bytes: Memory of each Intel card by PCI address, as the operator states it;
            counts where the driver does not tell.
        monotonic: Seconds that never step back.
        proc_root: Where /proc is, if not in the root.
        ioctl: Stands for the kernel, in tests.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        host: HostProbe | None = None,
        *,
        intel_total_bytes: dict[str, int] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        proc_root: Path | None = None,
        ioctl: Ioctl | None = None,
    ) -> None:
        self._root = root
        self._host = host
        self._intel_total_bytes = intel_total_bytes or {}
        self._monotonic = monotonic
        self._proc = proc_root or root / "proc"
        self._ioctl = ioctl
        self._kept: dict[DeviceId, _Kept] = {}

    def read(self) -> tuple[Device, ...]:
        """Returns the devices; what failed is `unknown` or `stale` with its reason."""
        return tuple(reading.device for reading in self.survey().devices)

    def survey(self) -> GpuSurvey:
        """Returns every AMD and Intel GPU with its processes, as far as they may be seen."""
        cards = tuple(find_cards(self._root))
        if not cards:
            return GpuSurvey(source=SOURCE)
        clients, is_complete = read_clients(self._proc)
        use = Use(
            clients=clients,
            kfd=read_uses(self._root / KFD),
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

    def _read_card(
        self, card: Card, use: Use, *, is_only_amd: bool, troubles: list[Trouble]
    ) -> GpuReading:
        identity = DeviceId(card.pci_id)
        last = self._kept.get(identity)
        if read_text(card.folder / "power/runtime_status") == "suspended":
            return self._asleep(card, last)
        processes = list_processes(card, use, is_only_amd=is_only_amd)
        read = self._read_amd if card.vendor == "amd" else self._read_intel
        fresh = read(card, processes, troubles)
        if fresh.device.free_bytes.value is not None:
            self._kept[identity] = _Kept(reading=fresh, at=self._monotonic())
        elif last is not None:
            reason = fresh.device.free_bytes.reason
            age_seconds = self._monotonic() - last.at
            return mark_device_stale(last.reading, age_seconds, reason, DeviceState.FAILED)
        return fresh

    def _asleep(self, card: Card, last: _Kept | None) -> GpuReading:
        reason = "the card sleeps; reading it would wake it"
        if last is not None:
            age_seconds = self._monotonic() - last.at
            return mark_device_stale(last.reading, age_seconds, reason, DeviceState.ASLEEP)
        sleeping = make_reading(card, unknown(SOURCE, reason), unknown(SOURCE, reason))
        return replace(sleeping, state=DeviceState.ASLEEP)

    def _read_amd(
        self,
        card: Card,
        processes: Reading[tuple[GpuProcess, ...]],
        troubles: list[Trouble],
    ) -> GpuReading:
        total = card.number("mem_info_vram_total")
        used = card.number("mem_info_vram_used")
        if total is None or used is None:
            return make_unreadable(
                card, processes, "mem_info_vram_* is missing: kernel older than 5.1?"
            )
        numbers = MemoryNumbers(total_bytes=total, free_bytes=total - used, used_bytes=used)
        last = self._kept.get(DeviceId(card.pci_id))
        gtt_total = card.number("mem_info_gtt_total")
        lives_in_ram = is_apu(card, total, gtt_total)
        last_total = last.reading.device.total_bytes.value if last and not lives_in_ram else None
        nonsense = find_implausible(numbers, last_total)
        if nonsense:
            troubles.append(report_nonsense(card, nonsense))
            return make_unreadable(card, processes, nonsense)
        if lives_in_ram:
            return self._read_apu(card, numbers, gtt_total, processes)
        return make_reading(
            card,
            Reading(value=total, source=SOURCE),
            Reading(value=total - used, source=SOURCE),
            used=Reading(value=used, source=SOURCE),
            processes=processes,
        )

    def _read_apu(
        self,
        card: Card,
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
            return make_unreadable(card, processes, "mem_info_gtt_* cannot be read")
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
        return make_reading(
            card,
            Reading(value=vram.total_bytes + gtt_total, source=source, quality=estimate),
            free,
            used=Reading(value=vram.used_bytes + gtt_used, source=source, quality=estimate),
            processes=processes,
            kind=MemoryKind.UNIFIED,
        )

    def _read_intel(
        self,
        card: Card,
        processes: Reading[tuple[GpuProcess, ...]],
        troubles: list[Trouble],
    ) -> GpuReading:
        """Reads an Intel card: by its driver, else its total as stated and its use by fdinfo.

        Source: devices.md section 3, Intel: no memory counts in sysfs. What fdinfo shows is a lower
        bound; the driver itself calls its count an estimate (`xe_drm.h`).
        """
        known = [p.used_bytes for p in processes.value or () if p.used_bytes is not None]
        used: Reading[int] = unknown(SOURCE, processes.reason or "no process list")
        if processes.value is not None:
            used = estimated(sum(known), "fdinfo", "lower bound")
        memory, problem = self._ask_driver(card)
        stated = self._intel_total_bytes.get(card.pci_id)
        if memory is None and stated is None:
            return replace(make_unreadable(card, processes, problem), used_bytes=used)
        total, source = (memory.total_bytes, card.driver) if memory else (stated or 0, "stated")
        if memory is not None and memory.used_bytes is not None:
            used = estimated(memory.used_bytes, card.driver, "")
        taken = used.value or 0
        last = self._kept.get(DeviceId(card.pci_id))
        nonsense = find_implausible(
            MemoryNumbers(total_bytes=total, free_bytes=max(0, total - taken), used_bytes=taken),
            last.reading.device.total_bytes.value if last else None,
        )
        if nonsense:
            troubles.append(report_nonsense(card, nonsense))
            return make_unreadable(card, processes, nonsense)
        free: Reading[int] = unknown(SOURCE, used.reason)
        if used.value is not None:
            limit = "upper bound: not every process may be visible" if used.reason else ""
            free = estimated(max(0, total - taken), f"{source} total less {used.source}", limit)
        return make_reading(
            card, estimated(total, source, ""), free, used=used, processes=processes
        )

    def _ask_driver(self, card: Card) -> tuple[CardMemory | None, str]:
        """Returns the memory that the driver tells of, and else why it does not."""
        if card.is_root_device:
            return (
                None,
                "shares RAM; Ollama leaves integrated Intel GPUs alone unless told otherwise",
            )
        node = find_render_node(self._root, card)
        why = "it has no render node"
        try:
            memory = read_memory(node, card.driver, self._ioctl) if node else None
            why = "it tells of no memory of its own" if node else why
        except PermissionError:
            memory, why = None, f"{node} may not be opened: join the group render"
        except OSError as error:
            memory, why = None, os.strerror(error.errno) if error.errno else str(error)
        if memory is not None:
            return memory, ""
        return None, (
            f"the driver does not tell this Intel card's memory ({why}); state it in budgets.toml: "
            f'[budget.gpu."{card.pci_id}"] memory = "16GiB"'
        )


_PARTIAL_VIEW: Final = Trouble(
    code="partial-view",
    message="GPU use of other users' processes cannot be seen",
    hint="run as root, or as the user of the Ollama server",
    severity=Severity.INFO,
)
