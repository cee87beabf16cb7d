"""From what is resident to what is wanted: which residents stay, and in which order the rest loads.

Placement is steered by order: if the missing models cannot be loaded beside what is there, the
cheapest idle residents are unloaded and loaded again at their turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from warmset.core.planner.admission import find_order, largest_first
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.problem import Effort
from warmset.core.planner.restore import find_fragile
from warmset.core.planner.worlds import World, charge, headroom, held, ram_room

RESTORE_STEPS: Final = 300
"""Simulated loads spent on an order after which every member is taken back."""

MAX_RELOAD_SETS: Final = 32
"""Sets of residents tried for a reload before all of them are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How to get there: what is unloaded only to be placed anew, and what loads in which order."""

    reloads: tuple[Candidate, ...]
    loads: tuple[Candidate, ...]  # including the reloads
    world: World


def find_route(
    host: HostCapacity, members: Sequence[Candidate], budget: Effort | None = None
) -> Route | None:
    """Returns how all members become resident together; `None`: Ollama would not do it."""
    residents = [c for c in members if c.is_resident]
    missing = [c for c in members if not c.is_resident]
    fixed = [c for c in residents if c.is_fixed]
    stuck = [c for c in residents if c.is_busy and not c.is_fixed]
    movable = [c for c in residents if not c.is_busy and not c.is_fixed]
    for reloads in _reload_sets(movable):
        stay = [c for c in residents if c not in reloads]
        if any(is_misplaced(c) for c in stay):
            continue
        start = standing_world(host, stay)
        if start is None or not is_within(host, start):
            continue
        found = find_order(host, start, (*missing, *reloads), budget=budget)
        if found is not None:
            return Route(reloads=reloads, loads=found[0], world=found[1])
    if stuck:  # they become idle one day: what would hold then?
        start = standing_world(host, fixed)
        free = [c for c in members if not c.is_fixed]
        found = None if start is None else find_order(host, start, free, budget=budget)
        if found is not None:
            reloads = tuple(c for c in residents if not c.is_fixed)
            return Route(reloads=reloads, loads=found[0], world=found[1])
    return None


def self_restoring(host: HostCapacity, members: Sequence[Candidate], route: Route) -> Route | None:
    """Returns the same loads in an order that leaves no member fragile, `None` if none is known.

    Ollama remembers what was free when a runner loaded, so the order decides what it believes once
    another runner is lost.
    """
    loading = {c.key for c in route.loads}
    start = standing_world(host, [c for c in members if c.key not in loading])
    if not find_fragile(host, route.world):
        return route
    if start is None or not route.loads:
        return None
    found = find_order(
        host, start, route.loads, accepts=lambda w: not find_fragile(host, w), steps=RESTORE_STEPS
    )
    return None if found is None else Route(reloads=route.reloads, loads=found[0], world=found[1])


def _reload_sets(movable: Sequence[Candidate]) -> Iterator[tuple[Candidate, ...]]:
    """Yields sets of residents to unload and load again, cheap ones first, all of them last."""
    by_cost = sorted(movable, key=lambda c: (c.load_seconds, c.key))
    given = 0
    for size in range(len(by_cost)):
        for chosen in combinations(by_cost, size):
            if given >= MAX_RELOAD_SETS:
                break
            given += 1
            yield chosen
    yield tuple(by_cost)


def standing_world(host: HostCapacity, residents: Iterable[Candidate]) -> World | None:
    """Returns the world of what is resident where it is; `None`: where is not known.

    In which order it was loaded is not known; it counts as loaded the way a plan would have
    loaded it, the largest first.
    """
    world: World = ()
    for candidate in sorted(residents, key=largest_first):
        if candidate.located is None:
            return None
        gpus = tuple(gpu for gpu in host.gpus if gpu.id in candidate.located)
        if len(gpus) != len(candidate.located):
            return None
        beside = {gpu.id: held(world, gpu.id) for gpu in gpus}
        loaded = charge(candidate, gpus, beside=beside, located=candidate.located)
        if loaded is None:
            return None
        world = (*world, loaded)
    return world


def is_misplaced(resident: Candidate) -> bool:
    """Returns whether a resident lies elsewhere than where the operator wants it."""
    return resident.bound_to is not None and set(resident.located or ()) != {resident.bound_to}


def is_within(host: HostCapacity, world: World) -> bool:
    """Returns whether a world keeps every budget."""
    if len(world) > host.max_count:
        return False
    for gpu in host.gpus:
        taken = any(gpu.id in loaded.upper for loaded in world)
        if taken and (gpu.usable_bytes is None or headroom(world, gpu) < 0):
            return False
    room = ram_room(host, world)
    return room is None or room >= 0 or not world
