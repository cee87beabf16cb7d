"""`plan`: the best warm set that the host can hold and that Ollama would load.

The exact search proposes the best set under *need*. Ollama's rules then look for an order in which
it loads without an eviction. If there is none, the smallest part of the set that already fails is
forbidden, and the search proposes again. The first set that passes is the best: every better one
was refused by one truth or the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from warmset.core.footprint.result import Basis
from warmset.core.model import ModelKey
from warmset.core.planner.actions import list_actions
from warmset.core.planner.admission import Denied, load_in_all, try_load
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.conflict import smallest_infeasible
from warmset.core.planner.explain import why_impossible, why_left_out
from warmset.core.planner.problem import Effort, Solution
from warmset.core.planner.restore import find_fragile
from warmset.core.planner.result import Conflict, LeftOut, Member, Plan
from warmset.core.planner.search import DEFAULT_WORK, relative_gap, solve
from warmset.core.planner.standing import (
    Route,
    find_route,
    self_restoring,
    standing_world,
)
from warmset.core.planner.wanted import Wanted, state_problem
from warmset.core.planner.worlds import Loaded, Outlook, outlook
from warmset.core.units import format_bytes

PLAN_LOADS: Final = 1500
"""Simulated loads in search of the best set; beyond, the plan is grown by rank and not proved."""

GROW_LOADS: Final = 60
"""Simulated loads in search of another order for each model of the proposal that does not load
after the others."""


def plan(candidates: Sequence[Candidate], host: HostCapacity, *, work: int = DEFAULT_WORK) -> Plan:
    """Returns the warm set and the way there.

    Pins come first, then priorities, highest first, then the value within each priority; under
    the upper bound of each model's need within the budget, Ollama's own rule of admission, and
    the maximum of loaded models.

    Args:
        candidates: all models of the host, one per set of weights.
        host: what there is room for.
        work: search budget of each proposal.
    """
    assert len({c.key for c in candidates}) == len(candidates), "a model is listed twice"
    candidates = tuple(sorted(candidates, key=lambda c: c.key))
    barred = {c.key: r for c in candidates if (r := why_impossible(host, c)) is not None}
    lost_pin = next((c for c in candidates if c.pin and c.key in barred), None)
    if lost_pin is not None:
        reason = f"{lost_pin.name} is pinned: {barred[lost_pin.key]}"
        return _refused(host, candidates, _conflict((lost_pin,), reason))
    possible = [c for c in candidates if c.key not in barred]
    conflict = pins_conflict(host, [c for c in possible if c.pin])
    if conflict is not None:
        return _refused(host, candidates, conflict)
    wanted, solution, route = _choose(host, possible, work)
    return _make_plan(host, candidates, wanted, solution, route)


def _choose(
    host: HostCapacity, candidates: Sequence[Candidate], work: int
) -> tuple[Wanted, Solution, Route]:
    """Proposes sets, best first, until Ollama's rules accept one or the loads are used up."""
    cuts: list[frozenset[int]] = []
    loads = Effort(PLAN_LOADS)
    while True:
        wanted = state_problem(host, candidates, conflicts=cuts)
        solution = solve(wanted.problem, work=work)
        assert solution is not None, "the pins were found to fit"
        chosen = tuple(wanted.candidates[n] for n in sorted(solution.chosen))
        route = find_route(host, chosen, loads)
        if route is None and loads.is_spent:
            route = _grow_route(host, chosen, candidates)
            solution = replace(solution, is_proved=False)
        if route is not None:
            members = [loaded.candidate for loaded in route.world]
            return wanted, solution, self_restoring(host, members, route) or route
        cuts.append(_refused_part(host, wanted, solution, loads))


def _refused_part(
    host: HostCapacity, wanted: Wanted, solution: Solution, loads: Effort
) -> frozenset[int]:
    """Returns a part of the chosen that Ollama would not hold, all of which it takes."""
    members = sorted(solution.chosen, key=lambda n: wanted.candidates[n].rank, reverse=True)

    def is_feasible(subset: frozenset[int]) -> bool:
        part = [wanted.candidates[n] for n in sorted(subset)]
        return find_route(host, part, loads) is not None or loads.is_spent

    return smallest_infeasible(members, is_feasible, checks=0)


def _grow_route(
    host: HostCapacity, chosen: Sequence[Candidate], candidates: Sequence[Candidate]
) -> Route:
    """Returns a route for the pins and whatever joins them: the chosen by rank, then the rest.

    Of the rest only those join that load after all others, as they are.
    """
    members = [c for c in chosen if c.pin]
    route = find_route(host, members)
    assert route is not None, "the pins were found to load"
    outlooks = _outlooks_after(host, members, route)
    favourites = {c.key for c in chosen}
    queue = sorted(candidates, key=lambda c: (c.key in favourites, c.rank), reverse=True)
    for candidate in queue:
        if candidate.pin or len(members) >= host.max_count:
            continue
        after = None if candidate.is_resident else load_in_all(outlooks, candidate)
        if after is not None:
            members, outlooks = [*members, candidate], [outlook(host, world) for world in after]
            route = replace(route, loads=(*route.loads, candidate), world=after[0])
        elif candidate.key in favourites or candidate.is_resident:
            longer = find_route(host, [*members, candidate], Effort(GROW_LOADS))
            if longer is not None:
                members, route = [*members, candidate], longer
                outlooks = _outlooks_after(host, members, route)
    return route


def _outlooks_after(
    host: HostCapacity, members: Sequence[Candidate], route: Route
) -> list[Outlook]:
    """Returns every world that a route may lead to, the likeliest first."""
    loading = {c.key for c in route.loads}
    start = standing_world(host, [c for c in members if c.key not in loading])
    outlooks = [outlook(host, start or ())]
    for candidate in route.loads:
        after = load_in_all(outlooks, candidate)
        assert after is not None, "the route was found to load"
        outlooks = [outlook(host, world) for world in after]
    return outlooks


def pins_conflict(host: HostCapacity, pins: Sequence[Candidate]) -> Conflict | None:
    """Returns the smallest set of pins that cannot be held together, `None` if all can."""
    by_size = sorted(pins, key=lambda c: (-_size(c), c.key))

    def is_feasible(subset: frozenset[int]) -> bool:
        chosen = [by_size[n] for n in sorted(subset)]
        if solve(state_problem(host, chosen).problem) is None:
            return False
        return find_route(host, chosen) is not None

    everybody = range(len(by_size))
    if is_feasible(frozenset(everybody)):
        return None
    fewest = smallest_infeasible(everybody, is_feasible)
    members = tuple(by_size[n] for n in sorted(fewest))
    return _conflict(members, _conflict_text(host, members))


def _conflict_text(host: HostCapacity, members: Sequence[Candidate]) -> str:
    sizes = ", ".join(f"{c.name} {format_bytes(_size(c))}" for c in members)
    if len(members) > host.max_count:
        return f"{len(members)} pins ({sizes}); the server loads at most {host.max_count} models"
    if solve(state_problem(host, members).problem) is None:
        return f"pinned together they need {sizes}; {host.describe()}"
    alone = try_load(host, (), members[0])
    if len(members) == 1 and isinstance(alone, Denied):
        return f"{members[0].name}: {alone.reason}"
    return f"pinned together they fit ({sizes}), but Ollama's 80 % rule loads them in no order"


def _size(candidate: Candidate) -> int:
    if candidate.on_one is not None:
        return candidate.on_one.upper_bytes
    return candidate.on_cpu_bytes or 0


def _conflict(members: Sequence[Candidate], reason: str) -> Conflict:
    return Conflict(
        keys=tuple(c.key for c in members), names=tuple(c.name for c in members), reason=reason
    )


def _refused(host: HostCapacity, candidates: Sequence[Candidate], conflict: Conflict) -> Plan:
    reason = "nothing is planned while the pins conflict"
    return Plan(
        members=(),
        left_out=tuple(
            LeftOut(key=c.key, name=c.name, reason=why_impossible(host, c) or reason)
            for c in candidates
        ),
        actions=(),
        fragile=(),
        order=(),
        objective={},
        is_proved=True,
        gap=0.0,
        conflict=conflict,
        notes=host.notes,
    )


def _make_plan(
    host: HostCapacity,
    candidates: Sequence[Candidate],
    wanted: Wanted,
    solution: Solution,
    route: Route,
) -> Plan:
    inside = {loaded.candidate.key for loaded in route.world}
    left_out = tuple(
        LeftOut(key=c.key, name=c.name, reason=why_left_out(host, route.world, c))
        for c in candidates
        if c.key not in inside
    )
    reasons: dict[ModelKey, str] = {entry.key: entry.reason for entry in left_out}
    ranked = sorted(route.world, key=lambda m: m.candidate.rank, reverse=True)
    members = tuple(_member(loaded) for loaded in ranked)
    return Plan(
        members=members,
        left_out=left_out,
        actions=list_actions(host, route, candidates, reasons) if host.knows_residents else (),
        fragile=find_fragile(host, route.world),
        order=tuple(loaded.candidate.key for loaded in route.world),
        objective={
            priority: sum(m.value for m in members if m.priority == priority)
            for priority in wanted.priorities
        },
        is_proved=solution.is_proved,
        gap=relative_gap(solution),
        notes=host.notes,
    )


def _member(loaded: Loaded) -> Member:
    candidate = loaded.candidate
    return Member(
        key=candidate.key,
        name=candidate.name,
        priority=candidate.priority,
        pin=candidate.pin,
        value=candidate.value,
        upper=loaded.upper,
        point=loaded.point,
        ram_bytes=loaded.ram_bytes,
        is_resident=candidate.is_resident,
        basis=_basis(loaded),
    )


def _basis(loaded: Loaded) -> Basis:
    """What a resident holds is read off the driver; the rest is as its need is known."""
    candidate = loaded.candidate
    if candidate.located and dict(candidate.located) == dict(loaded.point):
        return "observed"
    need = candidate.spread if len(loaded.upper) > 1 else candidate.on_one
    return "estimated" if need is None or not loaded.upper else need.basis
