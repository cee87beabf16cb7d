"""Hosts and models in plain numbers for the planner's tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from warmset.core.model import DeviceId, ModelKey
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.types import Gpu, LoadShape, RunnerOptions, WeightsFile
from warmset.core.planner.candidates import Candidate, Need, Spread
from warmset.core.planner.capacity import GpuCapacity, HostCapacity
from warmset.core.planner.result import ActionKind, Plan
from warmset.core.planner.standing import find_route
from warmset.core.units import GIB


def gib(count: float) -> int:
    return round(count * GIB)


def gpu(number: int, size: float, *, usable: float | None = None, **fields) -> GpuCapacity:
    """A GPU whose `size` GiB are free of foreign programs and, unless said, all in the budget."""
    return GpuCapacity(
        id=DeviceId(f"GPU-{number}"),
        name="card",
        gpu=Gpu(
            library=fields.pop("library", "CUDA"),
            id=str(number),
            total_bytes=gib(size),
            free_bytes=gib(size),
            integrated=fields.pop("integrated", False),
        ),
        usable_bytes=fields.pop("usable_bytes", gib(size if usable is None else usable)),
        **fields,
    )


def host(*sizes: float, ram: float | None = 256, maximum: int = 0, **fields) -> HostCapacity:
    gpus = fields.pop("gpus", tuple(gpu(n, size) for n, size in enumerate(sizes)))
    return HostCapacity(
        gpus=gpus,
        ram_bytes=None if ram is None else gib(ram),
        env=fields.pop("env", ServerEnv(max_loaded_models=maximum)),
        **fields,
    )


def model(name: str, size: float, *, upper: float | None = None, **fields) -> Candidate:
    """A model of `size` GiB whose need equals Ollama's forecast, unless an upper bound is given."""
    count = gib(size)
    bound = count if upper is None else gib(upper)
    auto_batch = fields.pop("auto_batch", False)
    ram = gib(fields.pop("ram", 0))
    return Candidate(
        key=ModelKey(f"sha256:{name}"),
        name=name,
        names=(name,),
        on_one=Need(point_bytes=count, upper_bytes=bound, ram_bytes=ram),
        spread=fields.pop(
            "spread",
            Spread(
                fixed_point_bytes=0,
                fixed_upper_bytes=bound - count,
                shared_bytes=count,
                ram_bytes=ram,
            ),
        ),
        on_cpu_bytes=fields.pop("on_cpu_bytes", count),
        file=WeightsFile(file_bytes=gib(fields.pop("forecast", size))),
        shape=LoadShape(options=RunnerOptions(num_ctx=4096), num_batch_auto=auto_batch),
        **{"value": size, "load_seconds": 2 + size, **fields},
    )


def resident(candidate: Candidate, *devices: int, **fields) -> Candidate:
    """The candidate, resident on these GPUs in equal parts."""
    assert candidate.on_one is not None
    part = candidate.on_one.point_bytes // max(1, len(devices))
    located = {DeviceId(f"GPU-{n}"): part for n in devices}
    return replace(candidate, is_resident=True, located=located, **fields)


def applied(candidates: tuple[Candidate, ...], plan: Plan) -> tuple[Candidate, ...]:
    """The candidates after the plan's actions have been carried out."""
    members = {m.key: m for m in plan.members}
    gone = {a.key for a in plan.actions if a.kind in (ActionKind.UNLOAD, ActionKind.WAIT)}
    loaded = {a.key for a in plan.actions if a.kind is ActionKind.PRELOAD}
    after = []
    for c in candidates:
        is_resident = (c.is_resident and c.key not in gone) or c.key in loaded
        located = dict(members[c.key].point) if is_resident and c.key in members else None
        after.append(replace(c, is_resident=is_resident, located=located, is_busy=False))
    return tuple(after)


def names(plan: Plan) -> set[str]:
    return {m.name for m in plan.members}


def best_by_routes(machine: HostCapacity, models: Sequence[Candidate]) -> float | None:
    """The worth of the best set with all pins that Ollama's own rules would load; `None`: none.

    Every set is tried.
    """
    pins = {m.key for m in models if m.pin}
    worths = [
        sum(m.value for m in some)
        for count in range(len(models) + 1)
        for some in combinations(models, count)
        if pins <= {m.key for m in some} and find_route(machine, some) is not None
    ]
    return max(worths, default=None)
