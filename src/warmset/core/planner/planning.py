"""`plan`: the best warm set that the host can hold and that Ollama would load.

The exact search proposes the best set under *need*. Ollama's rules then look for an order in which
it loads without an eviction. If there is none, the smallest part of the set that already fails is
forbidden, and the search proposes again. The first set that passes is the best: every better one
was refused by one truth or the other.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from warmset.core.footprint.result import Basis
from warmset.core.model import ModelKey
from warmset.core.planner.actions import list_actions
from warmset.core.planner.admission import load_in_all
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.choice import Choice, measured
from warmset.core.planner.conflict import smallest_infeasible
from warmset.core.planner.explain import why_impossible, why_left_out
from warmset.core.planner.pins import name_conflict, pins_conflict
from warmset.core.planner.problem import Effort, Solution
from warmset.core.planner.restore import find_fragile
from warmset.core.planner.result import Conflict, LeftOut, Member, Plan
from warmset.core.planner.search import (
    DEFAULT_WORK,
    LEAST_ITEMS,
    relative_gap,
    solve,
)
from warmset.core.planner.splitting import with_any_split
from warmset.core.planner.standing import (
    Route,
    find_route,
    self_restoring,
    standing_world,
)
from warmset.core.planner.wanted import Wanted, state_problem
from warmset.core.planner.worlds import Loaded, Outlook, outlook
from warmset.core.replacing import replace

PLAN_LOADS: Final = 2000
"""Simulated loads in search of the best set; beyond, the plan is grown by rank and not proved."""

GROW_LOADS: Final = 60
"""Simulated loads in search of another order for each model of the proposal that does not load
after the others."""

MAX_EQUALS: Final = 4
"""Sets of equal worth that are looked at for one that restores itself."""


def plan(
    candidates: Sequence[Candidate],
    host: HostCapacity,
    *,
    asked: Collection[ModelKey] = (),
    work: int = DEFAULT_WORK,
    loads: int = PLAN_LOADS,
) -> Plan:
    """Returns the warm set and the way there.

    Pins come first, then priorities, highest first, then the value within each priority; under
    the upper bound of each model's need within the budget, Ollama's own rule of admission, and
    the maximum of loaded models.

    Args:
        candidates: all models of the host, one per set of weights.
        host: what there is room for.
        asked: pins that the question makes, not the operator; a conflict is told accordingly.
        work: search budget of each proposal.
        loads: simulated loads in search of the best set.
    """
    assert len({c.key for c in candidates}) == len(candidates), "a model is listed twice"
    candidates = tuple(sorted(candidates, key=lambda c: c.key))
    barred = {c.key: r for c in candidates if (r := why_impossible(host, c)) is not None}
    lost_pin = next((c for c in candidates if c.pin and c.key in barred), None)
    if lost_pin is not None:
        fact = "" if lost_pin.key in asked else " is pinned"
        reason = f"{lost_pin.name}{fact}: {barred[lost_pin.key]}"
        return _refused(host, candidates, name_conflict((lost_pin,), reason))
    possible = [c for c in candidates if c.key not in barred]
    conflict = pins_conflict(host, [c for c in possible if c.pin], asked)
    if conflict is not None and not _may_be_steered(possible, conflict):
        return _refused(host, candidates, conflict)
    effort = Effort(loads)
    choice, left, cuts = _choose(host, possible, work, effort)
    if choice is None:
        pins = tuple(c for c in possible if c.pin)
        assert conflict or any(c.is_fixed for c in pins), "the pins were found to load"
        kept = name_conflict(pins, "they do not load beside those that stay where they are")
        return _refused(host, candidates, conflict or kept)
    choice = with_any_split(host, possible, choice, left, effort)
    return _make_plan(host, candidates, _without_fragile(host, choice, cuts, left))


def _may_be_steered(candidates: Sequence[Candidate], conflict: Conflict) -> bool:
    """Whether pins that conflict may go together once others are loaded before them.

    Such are models bound to a GPU that Ollama takes only when another one is fuller.
    """
    has_bound = any(c.bound_to is not None for c in candidates if c.key in conflict.keys)
    return has_bound and any(not c.pin for c in candidates)


def _choose(
    host: HostCapacity, candidates: Sequence[Candidate], work: int, loads: Effort
) -> tuple[Choice | None, int, list[frozenset[int]]]:
    """Returns a choice, the work that is left, and what was refused on the way.

    No choice: the pins load neither alone nor with any others that were tried.

    Proposes sets, best first, until Ollama's rules accept one or the effort is spent.

    Every set that was worth more was refused for certain, so the accepted one is the best. Where
    a refusal was only a lack of steps, the worth of that set stays as the bound.
    """
    cuts: list[frozenset[int]] = []
    bounds: tuple[int, ...] | None = None
    left = work
    while True:
        wanted = state_problem(host, candidates, conflicts=cuts)
        solution = solve(wanted.problem, work=left)
        if solution is None:  # the pins fit only with another split, or not at all
            none = (0,) * len(wanted.priorities)
            grown = _grow_route(host, (), candidates)
            return None if grown is None else measured(wanted, grown, none), left, cuts
        left -= solution.nodes * max(LEAST_ITEMS, len(candidates))
        loads.was_cut_short = False
        chosen = tuple(wanted.candidates[n] for n in sorted(solution.chosen))
        route = find_route(host, chosen, loads)
        is_certain = not loads.was_cut_short and solution.is_proved
        if bounds is None and (route is not None or not is_certain):
            bounds = solution.bounds
        if route is None and (loads.is_spent or left <= 0):
            route = _grow_route(host, chosen, candidates)
            if route is None:
                return None, left, cuts
            bounds = bounds or solution.bounds
        if route is not None:
            assert bounds is not None
            return measured(wanted, route, bounds), left, cuts
        cuts.append(
            frozenset(solution.chosen)
            if loads.was_cut_short
            else _refused_part(host, wanted, solution, loads)
        )


def _without_fragile(
    host: HostCapacity, choice: Choice, cuts: Sequence[frozenset[int]], left: int
) -> Choice:
    """Returns the same set in an order, or another set of equal worth, that restores itself.

    The choice itself where there is none, or none is found.
    """
    others = list(cuts)
    first = choice
    for _ in range(MAX_EQUALS):
        members = [loaded.candidate for loaded in choice.route.world]
        better = self_restoring(host, members, choice.route)
        if better is not None:
            return replace(choice, route=better)
        keys = {c.key for c in members}
        same = {n for n, c in enumerate(first.wanted.candidates) if c.key in keys}
        others.append(frozenset(same))
        wanted = state_problem(host, first.wanted.candidates, conflicts=others)
        solution = solve(wanted.problem, work=max(0, left))
        if solution is None or solution.objective != first.values:
            break
        loads = Effort(GROW_LOADS)
        chosen = [wanted.candidates[n] for n in sorted(solution.chosen)]
        route = find_route(host, chosen, loads)
        if route is None:
            break
        choice = replace(first, route=route)
    return first


def _refused_part(
    host: HostCapacity, wanted: Wanted, solution: Solution, loads: Effort
) -> frozenset[int]:
    """Returns a part of the chosen that Ollama would not hold, all of which it takes.

    A model bound to a GPU may load only after another one, so a part may fail that more models
    would make good. What fails even where nothing is bound fails with any others; else the whole
    set is the part: what holds more than it was proposed and refused before.
    """
    unbound = [replace(c, bound_to=None) for c in wanted.candidates]
    members = sorted(solution.chosen, key=lambda n: wanted.candidates[n].rank, reverse=True)
    is_bound = any(wanted.candidates[n].bound_to is not None for n in members)

    def is_feasible(subset: frozenset[int]) -> bool:
        part = [unbound[n] for n in sorted(subset)]
        loads.was_cut_short = False
        return find_route(host, part, loads) is not None or loads.was_cut_short or loads.is_spent

    everybody = frozenset(members)
    if is_bound and is_feasible(everybody):
        return everybody
    return smallest_infeasible(members, is_feasible, checks=0)


def _grow_route(
    host: HostCapacity, chosen: Sequence[Candidate], candidates: Sequence[Candidate]
) -> Route | None:
    """Returns a route for the pins and whatever joins them: the chosen by rank, then the rest.

    Of the rest only those join that load after all others, as they are. `None`: the pins do not
    load by themselves.
    """
    members = [c for c in candidates if c.pin]
    route = find_route(host, members)
    if route is None:
        return None
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


def _make_plan(host: HostCapacity, candidates: Sequence[Candidate], choice: Choice) -> Plan:
    route, wanted = choice.route, choice.wanted
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
        is_proved=choice.values >= choice.bounds,
        gap=relative_gap(choice.values, choice.bounds),
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
