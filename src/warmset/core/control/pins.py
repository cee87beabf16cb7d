"""Pins that do not fit: for ever, for now, or as far as anybody can tell.

Pins that could never fit together are an error of the configuration, and then nothing is moved.
Pins that do not fit now, since other programs hold memory, wait in the order of their rank; a
pin that is resident stays, whatever the budget says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from warmset.core.model import DeviceId, ModelKey, Observation, find_entry
from warmset.core.planner import ActionKind, Candidate, Conflict, HostCapacity, Plan, plan
from warmset.core.planner.admission import find_order, load_in_all
from warmset.core.planner.explain import why_impossible
from warmset.core.planner.pins import pins_conflict
from warmset.core.planner.standing import is_misplaced, is_within, standing_world
from warmset.core.planner.worlds import outlook
from warmset.core.replacing import replace
from warmset.core.settings import Settings

MOST_ROUNDS: Final = 3
"""Plans made to spare higher ranks; with the last of them nobody new comes in but pins. Our choice:
a plan for many models on many GPUs takes up to a second."""

ROUND_LOADS: Final = 300
"""Simulated loads of each of them but the first."""

JOIN_LOADS: Final = 60
"""Simulated loads in search of an order in which one more joins what stays. Our choice."""


def plan_pins(
    host: HostCapacity,
    candidates: tuple[Candidate, ...],
    budgets: Mapping[DeviceId, int],
    fixed: frozenset[ModelKey] = frozenset(),
) -> tuple[Plan, Conflict | None, Conflict | None]:
    """Returns the plan, the pins that never fit, and the pins that do not fit now.

    Args:
        host: as it is.
        candidates: with the operator's pins.
        budgets: device -> what models may take when nothing else is there.
        fixed: residents that are planned around, since nobody may send them away.
    """
    around = tuple(replace(c, pin=True) if c.key in fixed else c for c in candidates)
    made = plan(around, host)
    first = made.conflict
    if first is None:
        return _unpinned(spare_the_higher(made, around, host), fixed), None, None
    never = _never_together(host, candidates, budgets)
    if never is not None:
        return made, never, None
    missing = sorted((c for c in around if c.pin and not c.is_resident), key=lambda c: c.rank)
    while made.conflict is not None and missing:
        last = missing.pop(0)
        around = tuple(replace(c, pin=False) if c.key == last.key else c for c in around)
        made = plan(around, host)
    if made.conflict is not None:
        host = _with_room_for(host, [c for c in around if c.pin])
        made = plan(around, host)
    return _unpinned(spare_the_higher(made, around, host), fixed), None, first


def _unpinned(made: Plan, fixed: frozenset[ModelKey]) -> Plan:
    """Says of those that were planned around that nobody pinned them."""
    members = tuple(replace(m, pin=False) if m.key in fixed else m for m in made.members)
    return replace(made, members=members)


def spare_the_higher(made: Plan, candidates: tuple[Candidate, ...], host: HostCapacity) -> Plan:
    """Returns a plan that loads no model anew for the sake of lower ranks, never a pin at all.

    The planner would take a resident out and put it back elsewhere so that one more fits. That
    costs those who use it; so who comes in only that way stays outside, also where a higher one
    comes beside it that has no need of that.
    """
    by_key = {c.key: c for c in candidates}
    refused: set[ModelKey] = set()
    for left in range(MOST_ROUNDS, 0, -1):
        if made.conflict is not None:
            break
        loads = {c.key for c in made.actions if c.kind is ActionKind.PRELOAD}
        moved = [
            by_key[c.key] for c in made.changes if c.key in loads and by_key[c.key].is_resident
        ]
        missing = [by_key[key] for key in loads if not by_key[key].is_resident]
        below = {
            c.key
            for c in missing
            if not c.pin and any(one.pin or one.rank > c.rank for one in moved)
        }
        if not below:
            break
        come: frozenset[ModelKey] = frozenset()
        if left > 1:
            stays = [by_key[m.key] for m in made.members if m.is_resident]
            come = _who_joins(host, stays, missing, candidates) | (loads - below)
        refused |= {c.key for c in missing if not c.pin} - come
        around = tuple(
            c if c.is_resident or c.pin or c.key in come else replace(c, is_preloadable=False)
            for c in candidates
        )
        made = plan(around, host, loads=ROUND_LOADS)
    return _explained(_with_pins_in_place(made, candidates, host), refused)


def _with_pins_in_place(made: Plan, candidates: tuple[Candidate, ...], host: HostCapacity) -> Plan:
    """Returns a plan in which resident pins stay on their GPUs; the same one if there is none.

    The planner would have two pins change places where a GPU holds more than it may, or where one
    more pin comes only so. They are not unloaded for that, so others give way.
    """
    loads = {c.key for c in made.actions if c.kind is ActionKind.PRELOAD}
    pins = [c for c in candidates if c.pin and c.is_resident]
    if made.conflict is not None or not any(c.key in loads for c in pins):
        return made
    start = standing_world(host, pins)
    if start is None or any(is_misplaced(c) for c in pins):
        return made
    if not is_within(host, start):
        host = _with_room_for(host, pins)
    around = tuple(replace(c, is_fixed=True) if c in pins else c for c in candidates)
    again = plan(around, host, loads=ROUND_LOADS)
    return made if again.conflict is not None else again


def _who_joins(
    host: HostCapacity,
    stays: Sequence[Candidate],
    missing: Sequence[Candidate],
    candidates: Sequence[Candidate],
) -> frozenset[ModelKey]:
    """Returns who loads beside what stays where it is: of the missing in any order, then others."""
    start = standing_world(host, stays)
    if start is None:
        return frozenset()
    order: tuple[Candidate, ...] = ()
    for candidate in sorted(missing, key=lambda c: c.rank, reverse=True):
        found = find_order(host, start, (*order, candidate), steps=JOIN_LOADS)
        order = order if found is None else found[0]
    outlooks = [outlook(host, start)]
    for candidate in order:
        outlooks = [outlook(host, world) for world in load_in_all(outlooks, candidate) or ()]
    joined = {c.key for c in order}
    rest = (c for c in candidates if c.is_preloadable and not c.is_resident and c.key not in joined)
    for candidate in sorted(rest, key=lambda c: c.rank, reverse=True):
        after = load_in_all(outlooks, candidate)
        if after and not candidate.dismissed:
            joined.add(candidate.key)
            outlooks = [outlook(host, world) for world in after]
    return frozenset(joined)


def _explained(made: Plan, refused: Collection[ModelKey]) -> Plan:
    reason = "a model of higher rank would have to be loaded anew to make room for it"
    left_out = tuple(replace(o, reason=reason) if o.key in refused else o for o in made.left_out)
    return replace(made, left_out=left_out)


def _with_room_for(host: HostCapacity, residents: Sequence[Candidate]) -> HostCapacity:
    """Returns the host with as much usable as these residents hold: pins do not give way."""
    gpus = []
    for gpu in host.gpus:
        held = sum((c.located or {}).get(gpu.id, 0) for c in residents)
        usable = None if gpu.usable_bytes is None else max(gpu.usable_bytes, held)
        gpus.append(replace(gpu, usable_bytes=usable))
    return replace(host, gpus=tuple(gpus))


def _never_together(
    host: HostCapacity, candidates: Sequence[Candidate], budgets: Mapping[DeviceId, int]
) -> Conflict | None:
    """Returns the pins that conflict even on the empty host, with no other program on it."""
    if any(gpu.id not in budgets for gpu in host.gpus):
        return None  # what is not known proves nothing
    gpus = tuple(
        replace(
            gpu,
            gpu=replace(gpu.gpu, free_bytes=gpu.gpu.total_bytes),
            usable_bytes=budgets[gpu.id],
        )
        for gpu in host.gpus
    )
    pins = [replace(c, is_resident=False, is_busy=False, located=None) for c in candidates if c.pin]
    return pins_conflict(replace(host, gpus=gpus, strangers=0), pins)


def full_budgets(observation: Observation, settings: Settings) -> dict[DeviceId, int]:
    """Returns device -> bytes that models may take when nothing else is there."""
    budget = settings.budget
    return {
        d.id: budget.budget_bytes(d.id, d.index, d.total_bytes.value, pci_id=d.pci_id)
        for d in observation.devices
        if d.total_bytes.value is not None
    }


def without_impossible(
    host: HostCapacity, candidates: Sequence[Candidate]
) -> tuple[tuple[Candidate, ...], tuple[str, ...]]:
    """Takes the pin from models of which nothing can be promised, and says why."""
    kept, reasons = [], []
    for candidate in candidates:
        reason = why_impossible(host, candidate) if candidate.pin else None
        if reason is not None and not candidate.is_resident:
            reasons.append(f"{candidate.name}: {reason}")
            kept.append(replace(candidate, pin=False))
        else:
            kept.append(candidate)
    return tuple(kept), tuple(reasons)


def absent_pins(observation: Observation, settings: Settings) -> tuple[str, ...]:
    """Returns the names of pinned models that are not installed."""
    return tuple(
        policy.name
        for policy in settings.models.values()
        if policy.pin and find_entry(observation.entries, policy.name) is None
    )
