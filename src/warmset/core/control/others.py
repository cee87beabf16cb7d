"""Other programs on the same GPUs: they come, grow and go, and warmset gives way.

The reserve is meant for them. Where they hold more than it, as much as they hold beyond is kept
free once more, up to another reserve: a program that grows finds room before it fails, and the
lowest ranks give way to it in time. The rule knows no past, so nothing flutters.

Where the driver does not say whose bytes are whose, its context of each runner is among what others
seem to hold, and so is a runner whose name means other weights now, or nothing. That is charged
once, since it is taken, and not once more: it does not grow.
"""

from __future__ import annotations

from warmset.core.footprint.overhead import CONTEXT_BYTES
from warmset.core.model import DeviceId, Observation, Resident
from warmset.core.planner import HostCapacity
from warmset.core.replacing import replace
from warmset.core.settings import Settings


def leave_room_to_grow(
    host: HostCapacity, settings: Settings, observation: Observation
) -> HostCapacity:
    """Returns the host with what is usable beside other programs that may still grow.

    Formula:
        usable = min(usable, free of models - min(reserve, max(0, others - reserve)))
        others = total - free of models - `CONTEXT_BYTES` of each runner that is not told apart
            - what runners without a name hold
    """
    hidden = [d for r in observation.residents or () for d in _hidden_on(r, observation)]
    nameless = held_by_nameless(observation)
    gpus = []
    for gpu, device in zip(host.gpus, observation.devices, strict=True):
        budget = settings.budget.of(device.id, index=device.index, pci_id=device.pci_id)
        reserve = budget.vram_reserve_bytes
        empty, usable = gpu.gpu.free_bytes, gpu.usable_bytes
        others = gpu.gpu.total_bytes - empty - hidden.count(device.id) * CONTEXT_BYTES
        others -= nameless.get(gpu.id, 0)
        margin = min(reserve, max(0, others - reserve))
        if usable is not None:
            usable = max(0, min(usable, empty - margin))
        gpus.append(replace(gpu, usable_bytes=usable))
    return replace(host, gpus=tuple(gpus))


def held_by_nameless(observation: Observation) -> dict[DeviceId, int]:
    """Returns device -> bytes of runners whose weights no installed name stands for.

    Their place is known where there is one GPU; elsewhere they count as other programs.
    """
    if len(observation.devices) != 1:
        return {}
    known = {entry.key for entry in observation.entries}
    rows = [row for row in observation.residents or () if row.key not in known]
    return {observation.devices[0].id: sum(row.size_vram_bytes or 0 for row in rows)}


def _hidden_on(row: Resident, observation: Observation) -> tuple[DeviceId, ...]:
    """Returns the GPUs on which a runner's bytes are known by Ollama's word alone."""
    is_told = row.key is not None and bool(observation.located.get(row.key))
    if is_told or not row.size_vram_bytes:
        return ()
    if len(observation.devices) == 1:
        return (observation.devices[0].id,)
    return () if row.key is None else tuple(observation.placed.get(row.key, ()))
