"""What a host can hold, from one look at it and the operator's budget."""

from __future__ import annotations

from collections.abc import Mapping

from warmset.core.host.budget import if_fresh, promise_bytes
from warmset.core.model import Device, DeviceId, ModelKey, Observation, Quality, Reading
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.types import Gpu
from warmset.core.planner.capacity import GpuCapacity, HostCapacity
from warmset.core.planner.locate import Located, locate_residents
from warmset.core.settings import Settings, merge_server, normalise_gpu


def build_host(
    observation: Observation,
    settings: Settings,
    *,
    located: Mapping[ModelKey, Mapping[DeviceId, int]] | None = None,
) -> tuple[HostCapacity, Located]:
    """Returns what the host can hold, and where its residents are.

    Args:
        observation: one look; devices in the order in which Ollama names them.
        settings: with the budget.
        located: device -> bytes of residents, as the driver shows them, where that is known.
    """
    env = ServerEnv.from_settings(merge_server(settings.server, observation.settings))
    where = locate_residents(observation, located or {})
    devices = enumerate(observation.devices)
    gpus = tuple(_gpu(position, device, settings, where) for position, device in devices)
    ram, ram_note = _ram(observation, settings, where)
    notes = (*observation.notes, *where.notes, *((ram_note,) if ram_note else ()))
    host = HostCapacity(
        gpus=gpus,
        ram_bytes=ram,
        env=env,
        strangers=where.strangers,
        knows_residents=observation.residents is not None,
        notes=notes,
    )
    return host, where


def _gpu(position: int, device: Device, settings: Settings, where: Located) -> GpuCapacity:
    """Returns one GPU; its free bytes are those it has when no model of ours is on it."""
    now_free = if_fresh(device.free_bytes)
    total, free = device.total_bytes.value, now_free.value
    unknown = ""
    if total is None:
        unknown = f"total memory: {device.total_bytes.reason}"
    elif free is None:
        unknown = f"free memory: {now_free.reason}"
    major, _, minor = device.compute.partition(".")
    empty = None
    if total is not None and free is not None:
        empty = min(total, free + where.on_device.get(device.id, 0))
    usable = None
    if total is not None and empty is not None:
        budget = settings.budget.budget_bytes(device.id, device.index, total, pci_id=device.pci_id)
        usable = max(0, min(budget, empty - _doubtful(now_free)))
    return GpuCapacity(
        id=device.id,
        name=device.name,
        names=tuple(
            normalise_gpu(name)
            for name in (
                device.id,
                device.pci_id,
                "" if device.index is None else str(device.index),
            )
            if name
        ),
        gpu=Gpu(
            library=device.library,
            id=str(position),
            total_bytes=total or 0,
            free_bytes=empty or 0,
            integrated=device.integrated,
            name=device.name,
            **({"compute_major": int(major), "compute_minor": int(minor)} if minor else {}),
        ),
        usable_bytes=usable,
        unknown=unknown,
    )


def _doubtful(free: Reading[int]) -> int:
    """Returns what of an estimate is not promised; of a count the operator's reserve is enough."""
    if free.value is None or free.quality is not Quality.ESTIMATE:
        return 0
    return free.value - promise_bytes(free)


def _ram(observation: Observation, settings: Settings, where: Located) -> tuple[int | None, str]:
    """Returns the RAM that models may take, residents' own part included.

    On a GPU that lives in RAM that is all of a resident: what it holds there is not available.
    """
    available = observation.memory.available_bytes
    if available.value is None:
        return None, f"RAM is not known ({available.reason}): nothing is promised in it"
    held = sum(
        max(0, r.size_bytes - r.size_vram_bytes)
        for r in observation.residents or ()
        if r.size_bytes is not None and r.size_vram_bytes is not None
    )
    shared = sum(where.on_device.get(d.id, 0) for d in observation.devices if d.integrated)
    ram = available.value + held + shared
    if observation.memory.total_bytes.value is not None:
        ram = min(ram, observation.memory.total_bytes.value)
    if settings.budget.ram_limit_bytes is not None:
        ram = min(ram, settings.budget.ram_limit_bytes)
    return ram, ""
