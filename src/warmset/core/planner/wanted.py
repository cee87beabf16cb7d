"""From candidates to the packing problem: what each would take, and which one counts first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import GpuCapacity, HostCapacity
from warmset.core.planner.problem import Item, Problem, Use

_VALUE_UNITS = 1_000_000
"""Values are counted in millionths of a second, so that the search has whole numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The problem, and the candidates behind its items, by number."""

    problem: Problem
    candidates: tuple[Candidate, ...]
    priorities: tuple[int, ...]  # of the levels


def state_problem(
    host: HostCapacity,
    candidates: Sequence[Candidate],
    *,
    conflicts: Sequence[frozenset[int]] = (),
    is_loose: bool = False,
) -> Wanted:
    """Returns the packing problem of these candidates under need.

    Levels are the priorities, highest first. Among sets of equal value on a level, what is
    resident is preferred by the seconds its reload would take, so that nothing is moved for
    nothing.

    Args:
        host: where.
        candidates: to choose from.
        conflicts: numbers of candidates, by key, that must not be chosen together.
        is_loose: whether a split may share itself out in any way. As it is, it goes by what is
            free when it loads; else it is taken to go by what is free on an empty host.
    """
    ordered = tuple(sorted(candidates, key=lambda c: c.key))
    priorities = tuple(sorted({c.priority for c in ordered}, reverse=True))
    gpus = host.known
    capacities = [max(0, gpu.usable_bytes or 0) for gpu in gpus]
    packed = len(capacities)
    if host.ram_bytes is not None:
        capacities.append(max(0, host.ram_bytes))
        packed = packed or 1  # without GPUs, models are packed into RAM
    groups = _groups(host)
    if is_loose:
        capacities += [sum(gpu.usable_bytes or 0 for gpu in members) for members in groups]
    bonuses = [round(1 + c.load_seconds) if c.is_resident else 0 for c in ordered]
    above_bonuses = 1 + sum(bonuses)
    items = [
        Item(
            level=priorities.index(c.priority),
            value=round(c.value * _VALUE_UNITS) * above_bonuses + bonus,
            options=_loosely(host, c, groups) if is_loose else placements(host, c),
            is_mandatory=c.pin,
        )
        for c, bonus in zip(ordered, bonuses, strict=True)
    ]
    problem = Problem(
        capacities=tuple(capacities),
        items=tuple(items),
        packed=packed,
        max_count=host.max_count,
        conflicts=tuple(conflicts),
    )
    return Wanted(problem=problem, candidates=ordered, priorities=priorities)


def placements(host: HostCapacity, candidate: Candidate) -> tuple[Use, ...]:
    """Returns what the candidate would take in each place it could go, whole places first."""
    ram = len(host.known)
    if host.is_cpu_only or _is_for_cpu(candidate):
        if candidate.on_cpu_bytes is None or host.ram_bytes is None:
            return ()
        return (((ram, candidate.on_cpu_bytes),),)
    uses: list[Use] = []
    need, in_ram = candidate.on_one, candidate.on_cpu_bytes
    if candidate.located == {} and in_ram is not None and host.ram_bytes is not None:
        uses.append(((ram, in_ram),))  # a resident that found no room on a GPU may stay as it is
    for number, gpu in enumerate(host.known):
        if need is not None and candidate.bound_to in (None, gpu.id):
            extra = need.ram_bytes + (need.upper_bytes if gpu.gpu.integrated else 0)
            uses.append(((number, need.upper_bytes), *_in_ram(host, ram, extra)))
    return (*uses, *_spreads(host, candidate))


def _spreads(host: HostCapacity, candidate: Candidate) -> list[Use]:
    """Returns one use per backend group of two or more GPUs, all of them known."""
    if candidate.spread is None or candidate.bound_to is not None:
        return []
    numbers = {gpu.id: number for number, gpu in enumerate(host.known)}
    uses: list[Use] = []
    for members in _groups(host):
        shares = candidate.spread.shares({gpu.id: gpu.gpu.free_bytes for gpu in members})
        on_gpus = tuple((numbers[device], count) for device, count in shares.items())
        shared = sum(shares[gpu.id] for gpu in members if gpu.gpu.integrated)
        ram = _in_ram(host, len(host.known), candidate.spread.ram_bytes + shared)
        uses.append((*on_gpus, *ram))
    return uses


def _groups(host: HostCapacity) -> list[list[GpuCapacity]]:
    """Returns the backend groups of two or more GPUs, all of them known."""
    groups: dict[str, list[GpuCapacity]] = {}
    for gpu in host.gpus:
        groups.setdefault(gpu.gpu.library, []).append(gpu)
    return [
        members
        for members in groups.values()
        if len(members) > 1 and all(gpu.usable_bytes is not None for gpu in members)
    ]


def _loosely(
    host: HostCapacity, candidate: Candidate, groups: Sequence[Sequence[GpuCapacity]]
) -> tuple[Use, ...]:
    """Returns the least that the candidate could take in each place it could go.

    A split takes its fixed bytes on each GPU, and all of it from what the group holds together.
    """
    first = len(host.known) + (host.ram_bytes is not None)
    numbers = {gpu.id: number for number, gpu in enumerate(host.known)}
    group_of = {numbers[g.id]: first + at for at, group in enumerate(groups) for g in group}
    uses: list[Use] = []
    for use in placements(host, candidate):
        on_gpus = [(r, n) for r, n in use if r in group_of]
        if len(on_gpus) == 1:
            ((r, n),) = on_gpus
            uses.append((*use, (group_of[r], n)))
        elif not on_gpus:
            uses.append(use)
    spread = candidate.spread
    if spread is None or candidate.bound_to is not None or _is_for_cpu(candidate):
        return tuple(uses)
    for at, members in enumerate(groups):
        fixed = spread.fixed_upper_bytes
        shared = sum(fixed for gpu in members if gpu.gpu.integrated)
        if all(gpu.gpu.integrated for gpu in members):
            shared += spread.shared_bytes
        ram = _in_ram(host, len(host.known), spread.ram_bytes + shared)
        whole = (first + at, spread.shared_bytes + fixed * len(members))
        uses.append((*((numbers[gpu.id], fixed) for gpu in members), *ram, whole))
    located = candidate.located or {}
    if len(located) > 1 and located.keys() <= numbers.keys():  # it may stay as it is
        held = tuple((numbers[d], count + spread.margin_bytes) for d, count in located.items())
        uses.append((*held, *_in_ram(host, len(host.known), spread.ram_bytes)))
    return tuple(uses)


def _in_ram(host: HostCapacity, resource: int, amount: int) -> tuple[tuple[int, int], ...]:
    return ((resource, amount),) if host.ram_bytes is not None else ()


def _is_for_cpu(candidate: Candidate) -> bool:
    return candidate.shape is not None and candidate.shape.options.num_gpu == 0
