"""Other programs on the same GPUs: they come, grow and go, and warmset gives way.

The reserve is meant for them. Where they hold more than it, as much as they hold beyond is kept
free once more, up to another reserve: a program that grows finds room before it fails, and the
lowest ranks give way to it in time. The rule knows no past, so nothing flutters.
"""

from __future__ import annotations

from warmset.core.model import Observation
from warmset.core.planner import HostCapacity
from warmset.core.replacing import replace
from warmset.core.settings import Settings


def leave_room_to_grow(
    host: HostCapacity, settings: Settings, observation: Observation
) -> HostCapacity:
    """Returns the host with what is usable beside other programs that may still grow.

    Formula:
        usable = min(usable, free of models - min(reserve, max(0, others - reserve)))
    """
    gpus = []
    for gpu, device in zip(host.gpus, observation.devices, strict=True):
        budget = settings.budget.of(device.id, index=device.index, pci_id=device.pci_id)
        reserve = budget.vram_reserve_bytes
        empty, usable = gpu.gpu.free_bytes, gpu.usable_bytes
        margin = min(reserve, max(0, gpu.gpu.total_bytes - empty - reserve))
        if usable is not None:
            usable = max(0, min(usable, empty - margin))
        gpus.append(replace(gpu, usable_bytes=usable))
    return replace(host, gpus=tuple(gpus))
