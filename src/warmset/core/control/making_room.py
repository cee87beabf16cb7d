"""Who goes so that another may come, and only if it helps.

The planner counts bytes. Whether Ollama lets a model in once those bytes are free depends on what
its other runners remember; nobody is sent away for room that is of no use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from warmset.core.control.drift import why_not_use
from warmset.core.control.idle import was_told_to_go, why_not_idle
from warmset.core.control.restraint import why_not_unload
from warmset.core.control.room import (
    come_in_turn,
    is_harmless,
    leave,
    may_go_for,
    stale_holders,
    why_not_admitted,
)
from warmset.core.control.scene import Scene
from warmset.core.model import ModelKey
from warmset.core.planner import Action as Change
from warmset.core.planner import ActionKind, Candidate
from warmset.core.replacing import replace

ROOM_FOR: Final = 4
"""So many blocked models are asked whether room can be made for them at one look. Our choice: each
answer costs some simulated loads per resident, and one is acted on at a time."""


def why_keep(candidate: Candidate, scene: Scene) -> tuple[str, float | None]:
    """Returns why a resident must not be unloaded yet and until when; empty if it may."""
    where = sorted(scene.wish.candidate(key).name for key in scene.wish.guessed)
    if where and not candidate.dismissed:
        return f"on which GPU {where[0]} lies is only guessed", None
    is_managed = candidate.key in scene.wish.managed or bool(candidate.dismissed)
    return why_not_unload(candidate, scene.state, scene.loop, scene.now, is_managed=is_managed)


def why_stay(key: ModelKey, scene: Scene) -> tuple[str, float | None]:
    """Returns why a resident is not unloaded at this moment and until when; empty if it may be."""
    reason, until = why_not_use(scene.state, "unload", scene.now)
    if not reason:
        reason, until = why_keep(scene.wish.candidate(key), scene)
    if not reason and was_told_to_go(key, scene.observation):
        reason, until = "it was told to go already: in use, or on its way out", None
    if not reason:
        reason, until = why_not_idle(key, scene.state, scene.loop, scene.now), None
    return reason, until


def who_leaves(
    blocked: Sequence[Candidate],
    soon: Sequence[Candidate],
    leaves: Sequence[Change],
    scene: Scene,
) -> Sequence[Change]:
    """Returns who goes now: those who are wanted no more, and others only if that lets one in.

    Who is merely not chosen may stay until its room is of use, to one that ranks higher: once gone
    it is wanted again, maybe in a smaller shape, and would come before who ranks lower.

    Args:
        blocked, soon: who could come, and who is paused, but not for long.
        leaves: who goes by the plan.
        scene: what is decided on.
    """
    asked = blocked[:ROOM_FOR]
    for candidate in asked:
        room = who_makes_room(candidate, leaves, scene)
        if (
            room
            and _is_worth_it(candidate, room, scene)
            and _is_its_turn(candidate, (*soon, *asked), room, scene)
            and not _waits_for_a_goer(candidate, room, scene)
        ):
            return _if_of_use_now(candidate, room, scene)
    return _dismissed(leaves, scene)


def _if_of_use_now(candidate: Candidate, room: Sequence[Change], scene: Scene) -> Sequence[Change]:
    """Returns who makes room; without those who could go already, if that would be in vain yet.

    They would go in vain while somebody has to stay who keeps the candidate out as well.
    """
    staying = [change for change in room if why_stay(change.key, scene)[0]]
    ready = [change for change in room if change not in staying]
    if not staying or not ready:
        return room
    without = leave(scene.wish, [change.key for change in ready])
    if not why_not_admitted(without, candidate, scene.state):
        return room
    return [*_dismissed(ready, scene), *staying]


def who_leaves_before(
    first: ModelKey, loads: Sequence[Change], leaves: Sequence[Change], scene: Scene
) -> Sequence[Change]:
    """Returns who goes before a load that is let in as it is.

    Room is made first, for what the plan loads later too: a runner remembers what was free when it
    came. But one that comes before its turn, since an earlier one has to wait, may be the end of
    the plan, by itself or with those who rank higher than who waits and come then: another one is
    made, and nobody goes for what will not come.
    """
    if not leaves or loads[0].key == first:
        return leaves
    without = leave(scene.wish, [change.key for change in leaves])
    at = [change.key for change in loads].index(first)
    comers = [scene.wish.candidate(change.key) for change in loads]
    comer, paused = comers[at], comers[:at]
    holds = is_harmless(without, comer, [*paused, *comers[at + 1 :]])
    higher = [c for c in comers[at + 1 :] if all(c.rank > one.rank for one in paused)]
    holds = holds and come_in_turn(without, [comer, *higher, *paused], scene.state)
    return leaves if holds else _dismissed(leaves, scene)


def _dismissed(leaves: Sequence[Change], scene: Scene) -> Sequence[Change]:
    """Returns those who go whether their room is of use or not: they are wanted no more."""
    return [change for change in leaves if scene.wish.candidate(change.key).dismissed]


def _is_worth_it(candidate: Candidate, room: Sequence[Change], scene: Scene) -> bool:
    """Whether all who would go for a candidate may, whatever they are to it."""
    return all(may_go_for(scene.wish.candidate(change.key), candidate) for change in room)


def _is_its_turn(
    candidate: Candidate, others: Sequence[Candidate], room: Sequence[Change], scene: Scene
) -> bool:
    """Whether room made for one is taken by it: who ranks higher and stays blocked would forbid."""
    without = leave(scene.wish, [change.key for change in room])
    still = [
        other
        for other in others
        if other.rank > candidate.rank and why_not_admitted(without, other, scene.state)
    ]
    return not still or is_harmless(without, candidate, still)


def _waits_for_a_goer(candidate: Candidate, room: Sequence[Change], scene: Scene) -> bool:
    """Whether the room would stay empty until one of those who make it has come back.

    One that goes for what it remembers is loaded anew, maybe before the candidate; if a third one
    keeps it out then, who has to stay for now, all three wait for that one's leaving.
    """
    members = {member.key for member in scene.wish.plan.members}
    without = replace(scene, wish=leave(scene.wish, [change.key for change in room]))
    for back in (without.wish.candidate(c.key) for c in room if c.key in members):
        if not why_not_admitted(without.wish, back, scene.state):
            continue
        goers = who_makes_room(back, (), without)
        has_to_wait = any(why_stay(change.key, without)[0] for change in goers)
        if has_to_wait and not is_harmless(without.wish, candidate, [back]):
            return True
    return False


def who_makes_room(
    candidate: Candidate, leaves: Sequence[Change], scene: Scene
) -> Sequence[Change]:
    """Returns whose leaving lets a blocked model in; empty if that of all who may go does not.

    What keeps it out may be what Ollama remembers of the loading of another; then that one goes
    too, if it can be spared.
    """
    wish, state = scene.wish, scene.state
    without = leave(wish, [c.key for c in leaves])
    if leaves and not why_not_admitted(without, candidate, state):
        return leaves
    kept = {c.key for c in wish.candidates if c.is_resident and _is_kept(c, scene)}
    holders = stale_holders(without, candidate, state, kept)
    return [*leaves, *(_outdated(holder, candidate) for holder in holders)] if holders else ()


def _outdated(holder: Candidate, kept_out: Candidate) -> Change:
    reason = (
        f"Ollama still counts with what was free when {holder.name} was loaded, and would not let "
        f"{kept_out.name} in"
    )
    return Change(kind=ActionKind.UNLOAD, key=holder.key, name=holder.name, reason=reason)


def _is_kept(candidate: Candidate, scene: Scene) -> bool:
    """Whether a resident is not to be unloaded now, nor at any moment that can be named."""
    reason, until = why_keep(candidate, scene)
    return bool(reason) and until is None
