"""Which lever to pull now: from what differs to at most one load or unload.

The planner says what should change and in which order. What of it may be done at this moment is
decided here, the most wanted first; for everything else the reason to wait is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from warmset.core.control.actions import Basis, Unload, Wait
from warmset.core.control.making_room import who_leaves, who_leaves_before, why_keep, why_stay
from warmset.core.control.pending import calm_at
from warmset.core.control.restraint import PINNED
from warmset.core.control.scene import Scene
from warmset.core.control.turns import Choice, choose_load
from warmset.core.host.draining import PATIENCE_SECONDS
from warmset.core.host.readings import STALE_AFTER_SECONDS
from warmset.core.model import ModelKey, Quality
from warmset.core.planner import Action as Change
from warmset.core.planner import ActionKind
from warmset.core.replacing import replace
from warmset.core.units import format_seconds

SOON_GONE_SECONDS: Final = 30.0
"""So much left of a keep-alive is waited for. Our choice: about what loading the pins takes."""


def list_changes(scene: Scene) -> tuple[Change, ...]:
    """Returns what differs from what is wanted; what warmset never unloads is waited for.

    A plan counts a resident with what it holds, and may have no place for it once it is gone. So no
    pin goes by a plan, but at most for another pin that it keeps out (`room.stale_holders`).
    """
    changes = []
    for change in scene.wish.plan.changes:
        if change.kind is ActionKind.UNLOAD:
            candidate = scene.wish.candidate(change.key)
            reason, until = (PINNED, None) if candidate.pin else why_keep(candidate, scene)
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
        choice = choose_load(loads, leaves, scene)
    others = _other_waits(changes, scene)
    if scene.wish.is_pressed:
        leaves = _together(leaves, changes, scene)
    else:
        leaves = list(_who_leaves_for(choice, loads, leaves, scene))
    unload = _choose_unload(leaves, scene)
    if unload.order is not None:  # room first: a runner remembers what was there when it came
        choice = replace(choice, order=unload.order)
    is_room_coming = bool(others) or bool(unload.waits)
    waits = (*choice.waits, *others, *unload.waits)
    return replace(choice, waits=waits, is_room_coming=is_room_coming)


def _together(leaves: list[Change], changes: Sequence[Change], scene: Scene) -> list[Change]:
    """Returns who goes now where more is held than may be.

    Those who go only to be loaded elsewhere do so together, or would come back to where they were.
    """
    loaded = {c.key for c in changes if c.kind is ActionKind.PRELOAD}
    stays = {c.key for c in changes if c.kind is ActionKind.WAIT}
    stays |= {c.key for c in leaves if why_stay(c.key, scene)[0]}
    return [c for c in leaves if c.key not in loaded or not stays & loaded]


def _who_leaves_for(
    choice: Choice, loads: Sequence[Change], leaves: Sequence[Change], scene: Scene
) -> Sequence[Change]:
    """Returns who goes before the load at hand, or so that there is one."""
    if choice.order is not None:
        return who_leaves_before(choice.order.key, loads, leaves, scene)
    return who_leaves((*choice.blocked, *choice.queued), choice.soon, leaves, scene)


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


def _choose_unload(leaves: Sequence[Change], scene: Scene) -> Choice:
    """Returns the lowest rank that may go; the others are waited for.

    Who came a short while ago and would only be loaded anew goes first, and for good: it would come
    to the same place. So the plan ends that others would have gone for.
    """
    state, now = scene.state, scene.now
    members = {member.key for member in scene.wish.plan.members}
    in_vain = [c for c in leaves if c.key in members and _came_just_now(c.key, scene)]
    waits = []
    for change in (*in_vain, *(c for c in leaves if c not in in_vain)):
        candidate = scene.wish.candidate(change.key)
        reason, until = why_stay(change.key, scene)
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
            comes_back=change.key in members and change not in in_vain,
            basis=basis,
        )
        return Choice(order=order, waits=tuple(waits))
    return Choice(waits=tuple(waits))


def _came_just_now(key: ModelKey, scene: Scene) -> bool:
    """Whether warmset loaded a model within the window in which it may not flutter."""
    came_at = scene.state.of(key).preloaded_at
    return came_at is not None and scene.now - came_at < scene.loop.fight_window
