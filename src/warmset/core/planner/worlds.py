"""A world: what is resident where, what it takes, and what Ollama believes to be free beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from warmset.core.model import DeviceId
from warmset.core.ollama.belief import (
    RunnerView,
    at_most,
    found_free,
    looked_up,
    sum_known,
    with_free,
)
from warmset.core.ollama.types import Gpu
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import GpuCapacity, HostCapacity
from warmset.core.units import MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One resident model of a world. `upper` counts against budgets, `point` against free."""

    candidate: Candidate
    upper: Mapping[DeviceId, int]
    point: Mapping[DeviceId, int]
    ram_bytes: int
    views: tuple[RunnerView, RunnerView]  # under the names Ollama looks up, and the right ones


World = tuple[Loaded, ...]
"""What is resident, in the order of loading."""


def charge(
    candidate: Candidate,
    gpus: Sequence[GpuCapacity],
    *,
    beside: Mapping[DeviceId, int],
    located: Mapping[DeviceId, int] | None = None,
) -> Loaded | None:
    """Returns the model with its bytes on these GPUs (none: in RAM); `None`: not known.

    Args:
        candidate: the model.
        gpus: where it goes or is.
        beside: device -> bytes that other models hold there.
        located: device -> bytes it holds already.
    """
    free = {gpu.id: max(0, gpu.gpu.free_bytes - beside.get(gpu.id, 0)) for gpu in gpus}
    upper: dict[DeviceId, int]
    if not gpus:
        if candidate.on_cpu_bytes is None:
            return None
        upper, point, ram = {}, {}, candidate.on_cpu_bytes
    elif len(gpus) == 1:
        need = candidate.on_one
        if need is None:
            return None
        upper, point = {gpus[0].id: need.upper_bytes}, {gpus[0].id: need.point_bytes}
        ram = need.ram_bytes
    else:
        spread = candidate.spread
        if spread is None:
            return None
        upper, point = spread.shares(free), spread.shares(free, is_upper=False)
        ram = spread.ram_bytes
    if located is not None and len(gpus) > 1 and candidate.spread is not None:
        point = {gpu.id: located[gpu.id] for gpu in gpus}
        upper = {device: count + candidate.spread.margin_bytes for device, count in point.items()}
    elif located is not None:
        point = {gpu.id: located[gpu.id] for gpu in gpus}
        upper = {device: max(count, upper[device]) for device, count in point.items()}
    return Loaded(
        candidate=candidate,
        upper=upper,
        point=point,
        ram_bytes=ram,
        views=views_of(tuple(gpu.gpu for gpu in gpus), tuple(point.values()), tuple(free.values())),
    )


def views_of(
    own: tuple[Gpu, ...], taken: tuple[int, ...], free: tuple[int, ...]
) -> tuple[RunnerView, RunnerView]:
    """Returns what Ollama knows of a runner, under the names it looks up and the right ones.

    Args:
        own: its GPUs, in the order it was started with.
        taken, free: bytes per GPU that it holds, and that were free before it came.
    """
    devices = tuple(gpu.device for gpu in own)
    at_load = tuple(count // MIB * MIB for count in free[:1])
    as_found = RunnerView(
        gpus=devices,
        bytes_by_gpu=looked_up(own, taken),
        free_at_load=looked_up(own[:1], at_load),  # only the first is read from the log
    )
    rightly = RunnerView(
        gpus=devices,
        bytes_by_gpu=dict(zip(devices, taken, strict=True)),
        free_at_load=dict(zip(devices, free, strict=True)),
    )
    return as_found, rightly


def beliefs(host: HostCapacity, world: World) -> tuple[tuple[Gpu, ...], ...]:
    """Returns the GPUs with what Ollama may believe to be free, the likeliest belief first.

    Runners asked oldest first give the most hopeful answers, newest first the most cautious.
    """
    taken = held_by_device(world)
    gpus = [(gpu.gpu.device, gpu.gpu) for gpu in host.gpus]
    totals = {device: gpu.total_bytes for device, gpu in gpus}
    driver = {
        device: max(0, gpu.free_bytes - taken.get(each.id, 0))
        for (device, gpu), each in zip(gpus, host.gpus, strict=True)
    }
    believed: dict[tuple[int, ...], None] = {}
    for naming in (0, 1):
        views = [loaded.views[naming] for loaded in world]
        known = sum_known(views)
        for asked in (views[::-1], views):
            free = found_free(totals, asked, driver)
            counts = [at_most(free[d], totals[d], known.get(d, 0)) for d, _ in gpus]
            believed[tuple(counts)] = None
    return tuple(
        tuple(with_free(gpu, count) for (_, gpu), count in zip(gpus, counts, strict=True))
        for counts in believed
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A world as the next load finds it: worked out once for all that might be loaded.

    Attributes:
        beliefs: what Ollama may believe of the GPUs.
        system_free_bytes: free RAM as Ollama sees it.
    """

    host: HostCapacity
    world: World
    beliefs: tuple[tuple[Gpu, ...], ...]
    system_free_bytes: int


def outlook(host: HostCapacity, world: World) -> Outlook:
    """Returns what the next load finds."""
    return Outlook(
        host=host,
        world=world,
        beliefs=beliefs(host, world),
        system_free_bytes=system_free(host, world),
    )


def held(world: World, device: DeviceId) -> int:
    """Returns the bytes that a world's models are expected to hold on a GPU."""
    return sum([loaded.point.get(device, 0) for loaded in world])


def held_by_device(world: World) -> dict[DeviceId, int]:
    """Returns device -> the bytes that a world's models are expected to hold there."""
    found: dict[DeviceId, int] = {}
    for loaded in world:
        for device, count in loaded.point.items():
            found[device] = found.get(device, 0) + count
    return found


def room_by_device(host: HostCapacity, world: World) -> dict[DeviceId, int]:
    """Returns device -> what its budget leaves, of every GPU that is known; see `headroom`."""
    room = {gpu.id: gpu.usable_bytes or 0 for gpu in host.known}
    for loaded in world:
        for device, count in loaded.upper.items():
            if device in room:
                room[device] -= count
    return room


def headroom(world: World, gpu: GpuCapacity) -> int:
    """Returns what the budget of a GPU leaves beside a world's upper bounds; may be negative."""
    taken = sum([loaded.upper.get(gpu.id, 0) for loaded in world])
    return (gpu.usable_bytes or 0) - taken


def ram_room(host: HostCapacity, world: World) -> int | None:
    """Returns the RAM left for models; integrated GPUs take theirs from it."""
    if host.ram_bytes is None:
        return None
    shared = {gpu.id for gpu in host.gpus if gpu.gpu.integrated}
    taken = sum([loaded.ram_bytes for loaded in world])
    if shared:
        taken += sum(b for loaded in world for d, b in loaded.upper.items() if d in shared)
    return host.ram_bytes - taken


def system_free(host: HostCapacity, world: World) -> int:
    """Returns free RAM as Ollama sees it; 0 = not known, as in Ollama's own rule."""
    return max(0, ram_room(host, world) or 0)
