"""`pack`: which models to hold on which devices, for checks and for programs.

Bytes are all that counts here; what Ollama would do with it is the business of `plan`, which uses
the same search.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from warmset.core.planner.candidates import split_in_proportion
from warmset.core.planner.conflict import smallest_infeasible
from warmset.core.planner.packing_input import (
    MAX_NUMBER,
    Id,
    PackDevice,
    PackModel,
    read_devices,
    read_max_loaded,
    read_models,
)
from warmset.core.planner.problem import Item, Problem, Solution, Use, anywhere
from warmset.core.planner.search import is_impossible, relative_gap, solve
from warmset.core.units import format_bytes
from warmset.errors import Refused

PACK_WORK: Final = 30_000_000
"""Steps of one call times models: about a second of CPU time for 200 models and 16 devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """The best choice that was found, and how good it is known to be.

    Attributes:
        placement: model -> its device, or device -> bytes where it is split.
        left_out: model -> why it is not placed.
        objective: priority -> summed value of what is placed, highest priority first.
        proved: whether no better packing exists.
        gap: how far the bound of the first class that is not proved lies above its value, as a
            ratio of the bound; 0 if all are proved.
    """

    placement: Mapping[Id, Id | Mapping[Id, int]]
    left_out: Mapping[Id, str]
    objective: Mapping[float, float]
    proved: bool
    gap: float


def pack(
    devices: Iterable[Mapping[str, object]],
    models: Iterable[Mapping[str, object]],
    max_loaded: int | None = None,
    *,
    work: int = PACK_WORK,
) -> Packing:
    """Returns the most valuable models that fit, and where.

    Pinned models are all in. Among the others the sum of `value` is maximised in the class of the
    highest `priority`, then in the next, and so on. Each model lies whole on one device, or, if
    it is `splittable` and no device of its own could hold it, over all of them in proportion to
    their bytes, as Ollama does.

    Args:
        devices: mappings with `id` and `bytes` (what models may take there).
        models: mappings with `id` and `bytes`, and, if they matter, `value` (1), `priority` (50),
            `pinned` (False), `device` (None: any) and `splittable` (False).
        max_loaded: the most models to place; `None`: no limit.
        work: the search budget. When it runs out, the best packing so far is returned with
            `proved` False and its gap.

    Raises:
        Refused: the pinned models cannot all be placed (`context["models"]` is a smallest set that
            conflicts), or an input is impossible.
    """
    places = read_devices(devices)
    wanted = read_models(models, places)
    limit = read_max_loaded(max_loaded)
    levels = tuple(sorted({m.priority for m in wanted}, reverse=True))
    problem = _state(places, wanted, levels, limit)
    solution = solve(problem, work=work)
    if solution is None:
        raise _pins_refused(places, wanted, problem)
    return _read_off(places, wanted, levels, problem, solution)


def _state(
    devices: Sequence[PackDevice],
    models: Sequence[PackModel],
    levels: Sequence[float],
    limit: int | None,
) -> Problem:
    values: dict[Id, int] = {}
    for level in levels:
        members = [m for m in models if m.priority == level]
        whole = whole_values([m.value for m in members])
        if max(whole) > MAX_NUMBER:
            raise Refused(
                f"the values of priority {level:g} lie too far apart to be compared exactly",
                hint="leave out digits that do not matter",
                context={"key": "value"},
            )
        values.update({m.id: value for m, value in zip(members, whole, strict=True)})
    number = {level: at for at, level in enumerate(levels)}
    largest = max([d.bytes for d in devices], default=0)
    return Problem(
        capacities=tuple([d.bytes for d in devices]),
        items=tuple(
            [
                Item(
                    level=number[model.priority],
                    value=values[model.id],
                    options=_options(model, devices, largest),
                    is_mandatory=model.pinned,
                )
                for model in models
            ]
        ),
        packed=len(devices),
        max_count=limit,
    )


def whole_values(values: Sequence[int | float]) -> list[int]:
    """Returns the values as the smallest whole numbers in the same proportions.

    A float counts as the decimal number that it is written as: 0.1 + 0.2 is worth as much as 0.3.
    """
    if set(map(type, values)) <= {int}:
        whole = [int(v) for v in values]
    else:
        exact = [Fraction(float.__repr__(v) if isinstance(v, float) else v) for v in values]
        unit = math.lcm(*(f.denominator for f in exact))
        whole = [int(f * unit) for f in exact]
    common = math.gcd(*whole) or 1
    return [value // common for value in whole]


def _options(model: PackModel, devices: Sequence[PackDevice], largest: int) -> tuple[Use, ...]:
    if model.device is not None:
        return tuple(
            ((n, model.bytes),) for n, device in enumerate(devices) if device.id == model.device
        )
    if _is_split(model, largest):
        parts = split_in_proportion(model.bytes, [d.bytes for d in devices])
        return (tuple(enumerate(parts)),)
    return anywhere(model.bytes, len(devices))


def _is_split(model: PackModel, largest: int) -> bool:
    return model.bytes > largest > 0 and model.splittable and model.device is None


def _read_off(
    devices: Sequence[PackDevice],
    models: Sequence[PackModel],
    levels: Sequence[float],
    problem: Problem,
    solution: Solution,
) -> Packing:
    left = list(problem.capacities)
    largest = max(left, default=0)
    placement: dict[Id, Id | Mapping[Id, int]] = {}
    worth: dict[float, list[float]] = {level: [] for level in levels}
    for number, option in sorted(solution.chosen.items()):
        model, use = models[number], problem.items[number].options[option]
        for place, count in use:
            left[place] -= count
        if len(use) > 1 or _is_split(model, largest):
            placement[model.id] = MappingProxyType({devices[p].id: count for p, count in use})
        else:
            placement[model.id] = devices[use[0][0]].id
        worth[model.priority].append(model.value)
    limit = problem.max_count
    outside = _Outside(devices, left, limit if limit == len(placement) else None)
    return Packing(
        placement=MappingProxyType(placement),
        left_out=MappingProxyType({m.id: outside.why(m) for m in models if m.id not in placement}),
        objective=MappingProxyType({level: math.fsum(some) for level, some in worth.items()}),
        proved=solution.is_proved,
        gap=relative_gap(solution.objective, solution.bounds),
    )


class _Outside:
    """Why a model is not placed: never possible, no place in the count, or no room.

    Args:
        devices: all there are.
        left: what is free of each.
        limit: the most models, where so many are placed.
    """

    def __init__(
        self, devices: Sequence[PackDevice], left: Sequence[int], limit: int | None
    ) -> None:
        self._sizes = {d.id: d.bytes for d in devices}
        self._free = dict(zip(self._sizes, left, strict=True))
        self._limit = limit
        self._largest = max(self._sizes.values(), default=0)
        self._largest_left = f"the largest has {format_bytes(max(left, default=0))} left"

    def why(self, model: PackModel) -> str:
        """Returns the reason."""
        need = f"needs {format_bytes(model.bytes)}"
        if not self._sizes:
            return f"{need}; there is no device"
        if model.device is not None:
            where, most = f"on device {model.device}", self._sizes[model.device]
            words, left = f"device {model.device} has", self._free[model.device]
        elif model.bytes <= self._largest and self._limit is None:
            return f"{need} on one device; {self._largest_left}"
        elif _is_split(model, self._largest):
            where, most = "over all devices", sum(self._sizes.values())
            words, left = "together they have", sum(self._free.values())
        else:
            where, most = "on one device", self._largest
            words, left = "the largest has", most
        if model.bytes > most:
            return f"{need} {where}; {words} {format_bytes(most)}"
        if self._limit is not None:
            return f"{need} {where}; {self._limit} models are the most that may be loaded"
        return f"{need} {where}; {words} {format_bytes(left)} left"


def _pins_refused(
    devices: Sequence[PackDevice], models: Sequence[PackModel], problem: Problem
) -> Refused:
    """Returns the refusal that names a smallest set of pins that cannot be placed together."""
    pins = [n for n, m in enumerate(models) if m.pinned]
    pins.sort(key=lambda n: (-models[n].bytes, n))
    if not is_impossible(problem):
        return _not_arranged(devices, [models[n] for n in pins])

    def is_feasible(subset: frozenset[int]) -> bool:
        chosen = tuple(problem.items[n] for n in sorted(subset))
        part = Problem(
            capacities=problem.capacities,
            items=chosen,
            packed=problem.packed,
            max_count=problem.max_count,
        )
        return not is_impossible(part)

    fewest = sorted(smallest_infeasible(pins, is_feasible), key=pins.index)
    named = [models[n] for n in fewest]
    sizes = ", ".join(
        f"{m.id} {format_bytes(m.bytes)}" + (f" on {m.device}" if m.device is not None else "")
        for m in named
    )
    room = ", ".join(f"{d.id} {format_bytes(d.bytes)}" for d in devices) or "no device"
    together = format_bytes(sum(m.bytes for m in named))
    limit = problem.max_count
    too_many = limit is not None and len(named) > limit
    rule = f"; at most {limit} models may be loaded" if too_many else ""
    return Refused(
        f"the pinned models cannot all be placed: {sizes} (together {together}); "
        f"devices: {room}{rule}",
        hint=f"unpin one of {', '.join(str(m.id) for m in named)}, or make it smaller",
        context={
            "models": tuple(m.id for m in named),
            "bytes": sum(m.bytes for m in named),
            "devices": {str(d.id): d.bytes for d in devices},
            "max_loaded": limit,
        },
    )


def _not_arranged(devices: Sequence[PackDevice], pins: Sequence[PackModel]) -> Refused:
    """Returns the refusal of pins of which it is not known whether they fit."""
    together = sum(m.bytes for m in pins)
    room = sum(d.bytes for d in devices)
    return Refused(
        f"no arrangement of the {len(pins)} pinned models was found in time, nor that there is "
        f"none: together they take {format_bytes(together)} of {format_bytes(room)}",
        hint=f"unpin the smallest, {pins[-1].id}, or make one smaller: so full, few orders work",
        context={
            "models": tuple(m.id for m in pins),
            "bytes": together,
            "devices": {str(d.id): d.bytes for d in devices},
            "is_certain": False,
        },
    )
