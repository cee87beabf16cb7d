"""Whose turn it is to be loaded: the order of a plan, also while one of its members has to wait.

A plan is good in its order. It is left only where that costs it nothing: nobody comes before its
turn who would have to go again for those who are still to come, or for whoever makes room for them
and returns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from warmset.core.control.actions import Basis, Preload, Unload, Wait
from warmset.core.control.drift import why_not_use
from warmset.core.control.leases import lease_seconds
from warmset.core.control.making_room import who_makes_room
from warmset.core.control.restraint import why_not_preload
from warmset.core.control.returning import who_returns
from warmset.core.control.room import is_harmless, why_not_admitted
from warmset.core.control.scene import Scene
from warmset.core.control.wanted import Wish
from warmset.core.model import ModelKey, find_entry
from warmset.core.planner import Action as Change
from warmset.core.planner import ActionKind, Candidate
from warmset.core.planner.admission import forecast_on

PINS_WAIT_SECONDS: Final = 120.0
"""So long a pin stays away for the sake of another one, which it would keep out for as long as it
is resident. Our choice: who leaves is idle by then, or in use for long."""
GOING: Final = (ActionKind.UNLOAD, ActionKind.WAIT)
"""Changes of those who are to leave, at once or once they are idle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is done with the differences: at most one order, and what is waited for.

    Attributes:
        blocked: wanted models that are not resident and have no room yet.
        queued: others for which there is room, and whose turn comes once somebody has left.
        soon: those that are paused, but not for long.
        is_room_coming: whether somebody in the way is to leave, only not at this moment.
    """

    order: Preload | Unload | None = None
    waits: tuple[Wait, ...] = ()
    blocked: tuple[Candidate, ...] = ()
    queued: tuple[Candidate, ...] = ()
    soon: tuple[Candidate, ...] = ()
    is_room_coming: bool = False


def choose_load(loads: Sequence[Change], leaves: Sequence[Change], scene: Scene) -> Choice:
    """Returns the first load that may be sent now.

    Larger models come first in a plan, since later ones find less room. One that is blocked keeps
    others from taking its room: lower ranks as long as it is blocked, higher ones only while
    somebody is making room for it. One that is paused keeps out lower ranks too, unless for longer
    than a first pause: they would have to go for it, or for whoever makes room for it and returns.
    And while somebody is still to leave, no lower rank comes that would keep out a higher one for
    having found so little free, and no pin another pin, but that one waits so long only.
    """
    wish, state = scene.wish, scene.state
    waits: list[Wait] = []
    blocked: list[Candidate] = []
    queued: list[Candidate] = []
    soon: list[Candidate] = []
    patient: list[Candidate] = []

    @cache
    def room_for(key: ModelKey) -> Sequence[Change]:
        candidate = wish.candidate(key)
        is_let_in = not candidate.is_resident and not why_not_admitted(wish, candidate, state)
        return () if is_let_in else who_makes_room(candidate, leaves, scene)

    for index, change in enumerate(loads):
        candidate = wish.candidate(change.key)
        reason, until = _why_paused(candidate, scene)
        if reason:
            waits.append(Wait(key=change.key, name=change.name, reason=reason, until=until))
            soon += [candidate] if _comes_soon(candidate, scene) else []
            continue
        if candidate.is_resident:
            reason = "to be loaded again where Ollama's order puts it"
        else:
            reason = why_not_admitted(wish, candidate, state)
        if reason:
            blocked.append(candidate)
            waits.append(Wait(key=change.key, name=change.name, reason=reason))
            continue
        before = [b for b in blocked if b.rank > candidate.rank or room_for(b.key)]
        before += [one for one in (*soon, *patient) if one.rank > candidate.rank]
        after = _higher(candidate, loads[index + 1 :], scene)
        others = (*before, *after)
        others += tuple(c for c in _pins_beside(candidate, loads, scene) if c not in others)
        goers = {change.key for b in before for change in room_for(b.key)}
        returning = who_returns(candidate, goers, scene) if others else ()
        if others and not is_harmless(wish, candidate, others, returning):
            first = others[0]
            reason = f"its turn is after {first.name}"
            waits.append(Wait(key=change.key, name=change.name, reason=reason))
            queued.append(candidate)
            patient += [candidate] if candidate.pin else []
            continue
        order = _preload(change, candidate, scene)
        return Choice(order=order, waits=tuple(waits))
    absent = tuple(c for c in blocked if not c.is_resident)
    return Choice(waits=tuple(waits), blocked=absent, queued=tuple(queued), soon=tuple(soon))


def _higher(candidate: Candidate, later: Sequence[Change], scene: Scene) -> list[Candidate]:
    """Returns who ranks higher and is loaded later.

    The plan has tried its order, but by what the models are likely to take, and as if nobody who is
    to leave were there still.
    """
    others = (scene.wish.candidate(change.key) for change in later)
    return [
        c for c in others if c.rank > candidate.rank and not c.is_resident and _comes_soon(c, scene)
    ]


def _pins_beside(candidate: Candidate, loads: Sequence[Change], scene: Scene) -> list[Candidate]:
    """Returns the other pins that are to come, if a pin may wait until somebody has left for all.

    Pins are not unloaded: one that finds little free keeps the next one out for as long as it is
    resident.
    """
    since = scene.state.of(candidate.key).missing_since or scene.now
    is_room_to_come = any(change.kind in GOING for change in scene.wish.plan.changes)
    if not (candidate.pin and is_room_to_come and scene.now - since < PINS_WAIT_SECONDS):
        return []
    others = (scene.wish.candidate(c.key) for c in loads if c.key != candidate.key)
    return [c for c in others if c.pin and not c.is_resident and _comes_soon(c, scene)]


def _why_paused(candidate: Candidate, scene: Scene) -> tuple[str, float | None]:
    """Returns why nothing is loaded, or not this model, and until when; empty if it may be."""
    reason, until = why_not_use(scene.state, "preload", scene.now)
    if reason:
        return reason, until
    return why_not_preload(candidate, scene.state, scene.loop, scene.now)


def _comes_soon(candidate: Candidate, scene: Scene) -> bool:
    """Whether a model is paused for no longer than a first pause, if it is at all."""
    reason, until = _why_paused(candidate, scene)
    return not reason or (until is not None and until - scene.now <= scene.loop.back_off)


def _preload(change: Change, candidate: Candidate, scene: Scene) -> Preload:
    slot = scene.state.of(change.key).slot
    assert slot is not None, "a wanted model has a rank"
    entry = find_entry(scene.observation.entries, candidate.names[0])
    policy = scene.config.settings.policy_for(candidate.names if entry is None else entry.names)
    return Preload(
        key=change.key,
        name=change.name,
        keep_alive=lease_seconds(slot, scene.state.base),
        num_ctx=policy.context if policy.clients_send_context else None,
        reason=f"wanted and not resident; {change.reason}",
        basis=_load_basis(candidate, scene.wish),
    )


def _load_basis(candidate: Candidate, wish: Wish) -> Basis:
    """Returns the numbers that let the model in."""
    member = next((m for m in wish.plan.members if m.key == candidate.key), None)
    forecast = next(iter(forecast_on(wish.host, wish.world or (), candidate)), None)
    return {
        "priority": candidate.priority,
        "pin": candidate.pin,
        "point_bytes": sum(member.point.values()) if member else None,
        "upper_bytes": sum(member.upper.values()) if member else None,
        "ram_bytes": member.ram_bytes if member else None,
        "ollama_expects_bytes": forecast.total_bytes if forecast else None,
        "ollama_believes_free_bytes": forecast.available_bytes if forecast else None,
        "load_seconds": candidate.load_seconds,
        "residents": sum(c.is_resident for c in wish.candidates),
    }
