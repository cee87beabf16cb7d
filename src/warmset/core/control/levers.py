"""Which lever to pull now: from what differs to at most one load or unload.

The planner says what should change and in which order. What of it may be done at this moment is
decided here, the most wanted first; for everything else the reason to wait is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from warmset.core.control.actions import Basis, Preload, Unload, Wait
from warmset.core.control.drift import why_not_use
from warmset.core.control.idle import why_not_idle
from warmset.core.control.leases import lease_seconds
from warmset.core.control.making_room import (
    who_leaves,
    who_leaves_before,
    who_makes_room,
    why_keep,
)
from warmset.core.control.pending import calm_at
from warmset.core.control.restraint import why_not_preload
from warmset.core.control.returning import who_returns
from warmset.core.control.room import is_harmless, why_not_admitted
from warmset.core.control.scene import Scene
from warmset.core.control.wanted import Wish
from warmset.core.host.draining import PATIENCE_SECONDS
from warmset.core.host.readings import STALE_AFTER_SECONDS
from warmset.core.model import ModelKey, Quality, find_entry
from warmset.core.planner import Action as Change
from warmset.core.planner import ActionKind, Candidate
from warmset.core.planner.admission import forecast_on
from warmset.core.replacing import replace
from warmset.core.units import format_seconds

SOON_GONE_SECONDS: Final = 30.0
"""So much left of a keep-alive is waited for. Our choice: about what loading the pins takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is done with the differences: at most one order, and what is waited for.

    Attributes:
        blocked: wanted models that are not resident and have no room yet.
        queued: others for which there is room, and whose turn comes once somebody has left.
        is_room_coming: whether somebody in the way is to leave, only not at this moment.
    """

    order: Preload | Unload | None = None
    waits: tuple[Wait, ...] = ()
    blocked: tuple[Candidate, ...] = ()
    queued: tuple[Candidate, ...] = ()
    is_room_coming: bool = False


def list_changes(scene: Scene) -> tuple[Change, ...]:
    """Returns what differs from what is wanted; what warmset never unloads is waited for."""
    changes = []
    for change in scene.wish.plan.changes:
        if change.kind is ActionKind.UNLOAD:
            reason, until = why_keep(scene.wish.candidate(change.key), scene)
            if reason and until is None:
                text = f"{reason}; it is in the way: {change.reason}"
                changes.append(replace(change, kind=ActionKind.WAIT, reason=text))
                continue
        changes.append(change)
    return tuple(changes)


def choose_lever(changes: Sequence[Change], scene: Scene) -> Choice:
    """Returns the one thing to do now, if there is one.

    Nothing is open or pending when this is asked (`pending.why_silent`).
    """
    loads = [c for c in changes if c.kind is ActionKind.PRELOAD]
    leaves = [c for c in changes if c.kind is ActionKind.UNLOAD]
    calm = calm_at(scene.state, scene.loop)
    if loads and scene.now < calm:
        reason = f"{scene.state.load_why}: loads come in bursts"
        wait = Wait(key=None, name="", reason=reason, until=calm)
        return Choice(waits=(wait, *_other_waits(changes, scene)))
    no_load = scene.observation.memory.pressure or _why_unread(scene) or _why_not_yet(scene)
    if no_load:
        choice = Choice(waits=tuple(Wait(key=c.key, name=c.name, reason=no_load) for c in loads))
    else:
        choice = _choose_load(loads, leaves, scene)
    others = _other_waits(changes, scene)
    if not _is_pressed(scene):
        leaves = list(_who_leaves_for(choice, loads, leaves, scene))
    unload = _choose_unload(leaves, scene)
    if unload.order is not None:  # room first: a runner remembers what was there when it came
        choice = replace(choice, order=unload.order)
    is_room_coming = bool(others) or bool(unload.waits)
    waits = (*choice.waits, *others, *unload.waits)
    return replace(choice, waits=waits, is_room_coming=is_room_coming)


def _who_leaves_for(
    choice: Choice, loads: Sequence[Change], leaves: Sequence[Change], scene: Scene
) -> Sequence[Change]:
    """Returns who goes before the load at hand, or so that there is one."""
    if choice.order is not None:
        return who_leaves_before(choice.order.key, loads, leaves, scene)
    # What is missing for a moment only makes nobody go, not even for somebody else.
    is_brief = scene.state.pressure_since is not None
    blocked = () if is_brief else (*choice.blocked, *choice.queued)
    return who_leaves(blocked, leaves, scene)


def _why_unread(scene: Scene) -> str:
    """Returns which GPU did not answer just now; empty if all did, or one is silent for long.

    Its last number is still planned with, so that nothing moves for a hiccup, but nothing is loaded
    on the strength of it. Later it counts as unknown, and the other GPUs are used again.
    Source: devices.md section 8.
    """
    for device in scene.observation.devices:
        free = device.free_bytes
        if free.quality is Quality.STALE and free.age_seconds <= STALE_AFTER_SECONDS:
            return f"the free memory of {device.name} could not be read just now"
    return ""


def _why_not_yet(scene: Scene) -> str:
    """Returns why what is free is about to be more; empty if nothing is known of that.

    A model that is loaded now would remember how little was free, and so keep the next one out for
    as long as it lives itself (ollama-behaviour 4.3). Who is about to leave is waited for only
    where it keeps pins out.
    """
    observation, wish = scene.observation, scene.wish
    freed_at = scene.state.freed_at
    is_recent = freed_at is not None and scene.now - freed_at < PATIENCE_SECONDS
    if is_recent and (wish.postponed is not None or _is_draining(scene)):
        return "a model left just now: its memory may not be back yet"
    if wish.postponed is None:
        return ""
    soon = observation.at + SOON_GONE_SECONDS
    for row in observation.residents or ():
        is_others = row.key not in wish.managed
        if is_others and row.expires_at is not None and row.expires_at < soon:
            return f"{row.name} is about to leave, and with its room more pins fit together"
    return ""


def _is_draining(scene: Scene) -> bool:
    """Whether less is free than there was with those who left last, and most of what they held."""
    free = {d.id: d.free_bytes.value for d in scene.observation.devices}
    seen = {device: free[device] for device in scene.state.awaited if device in free}
    return any(n is not None and n < scene.state.awaited[device] for device, n in seen.items())


def _other_waits(changes: Sequence[Change], scene: Scene) -> tuple[Wait, ...]:
    """Returns the waits for what is in the way, and of the pins that have no room at all."""
    waits = [
        Wait(key=change.key, name=change.name, reason=change.reason)
        for change in changes
        if change.kind is ActionKind.WAIT
    ]
    wanted = {member.key for member in scene.wish.plan.members}
    postponed = scene.wish.postponed
    waits += [
        Wait(key=c.key, name=c.name, reason=f"no room for it now: {postponed.reason}")
        for c in scene.wish.candidates
        if postponed is not None and c.pin and not c.is_resident and c.key not in wanted
    ]
    return tuple(waits)


def _is_pressed(scene: Scene) -> bool:
    """Whether other programs have held too much for long enough."""
    since = scene.state.pressure_since
    return since is not None and scene.now - since >= scene.loop.pressure


def _choose_load(loads: Sequence[Change], leaves: Sequence[Change], scene: Scene) -> Choice:
    """Returns the first load that may be sent now.

    Larger models come first in a plan, since later ones find less room. One that is blocked keeps
    others from taking its room: lower ranks as long as it is blocked, higher ones only while
    somebody is making room for it. One that is paused keeps out lower ranks too, unless for longer
    than a first pause: they would have to go for it, or for whoever makes room for it and returns.
    And while somebody is still to leave, no lower rank comes that would keep out a higher one for
    having found so little free.
    """
    wish, state = scene.wish, scene.state
    waits: list[Wait] = []
    blocked: list[Candidate] = []
    queued: list[Candidate] = []
    soon: list[Candidate] = []

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
        before += [one for one in soon if one.rank > candidate.rank]
        after = _higher(candidate, loads[index + 1 :], scene)
        others = (*before, *after)
        goers = {change.key for b in before for change in room_for(b.key)}
        returning = who_returns(candidate, goers, scene) if others else ()
        if others and not is_harmless(wish, candidate, others, returning):
            first = others[0]
            reason = f"its turn is after {first.name}"
            waits.append(Wait(key=change.key, name=change.name, reason=reason))
            if first.is_resident or not before:
                queued.append(candidate)
            continue
        order = _preload(change, candidate, scene)
        return Choice(order=order, waits=tuple(waits))
    absent = tuple(c for c in blocked if not c.is_resident)
    return Choice(waits=tuple(waits), blocked=absent, queued=tuple(queued))


def _higher(candidate: Candidate, later: Sequence[Change], scene: Scene) -> list[Candidate]:
    """Returns who ranks higher and is loaded later.

    The plan has tried its order, but by what the models are likely to take, and as if nobody who is
    to leave were there still.
    """
    others = (scene.wish.candidate(change.key) for change in later)
    return [
        c for c in others if c.rank > candidate.rank and not c.is_resident and _comes_soon(c, scene)
    ]


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


def _choose_unload(leaves: Sequence[Change], scene: Scene) -> Choice:
    """Returns the lowest rank that may go; the others are waited for."""
    state, now = scene.state, scene.now
    members = {member.key for member in scene.wish.plan.members}
    waits = []
    for change in leaves:
        candidate = scene.wish.candidate(change.key)
        reason, until = why_not_use(state, "unload", now)
        if not reason:
            reason, until = why_keep(candidate, scene)
        if not reason:
            reason, until = why_not_idle(change.key, state, scene.loop, now), None
        if reason:
            waits.append(Wait(key=change.key, name=change.name, reason=reason, until=until))
            continue
        used_at = state.of(change.key).used_at
        idle = "never seen in use" if used_at is None else f"idle {format_seconds(now - used_at)}"
        basis: Basis = {
            "priority": candidate.priority,
            "idle_seconds": None if used_at is None else now - used_at,
            "held_bytes": sum((candidate.located or {}).values()),
        }
        reason = f"{change.reason}; {idle}"
        order = Unload(
            key=change.key,
            name=change.name,
            reason=reason,
            comes_back=change.key in members,
            basis=basis,
        )
        return Choice(order=order, waits=tuple(waits))
    return Choice(waits=tuple(waits))
