"""What other programs hold to stay: nobody goes for what they took a moment ago.

A program that starts takes memory and may give it back at once, and what it takes moves the plan in
more than one way: more is held than may be, or Ollama believes less to be free, so that one model
has no place any more and another one gets it. All of that is one rule. Beside what is wanted now
stands what would be wanted if other programs held only what they have held for as long as
`LoopSettings.pressure`; whoever is unloaded would be unloaded by that as well. Retention that ends
is no matter of memory, and waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from warmset.core.control.actions import Unload, Wait
from warmset.core.control.idle import find_busy
from warmset.core.control.others import held_by_nameless
from warmset.core.control.question import GPU_GRAINS
from warmset.core.control.renewing import rank_leases
from warmset.core.control.scene import Scene
from warmset.core.control.state import Held, State
from warmset.core.control.turns import Choice
from warmset.core.control.wanted import Planned, make_wish
from warmset.core.host.budget import if_fresh
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import Device, DeviceId, Observation
from warmset.core.planner.locate import locate_residents, where_told
from warmset.core.replacing import replace


def note_others(observation: Observation, state: State, loop: LoopSettings, now: float) -> State:
    """Keeps what other programs hold on each GPU, and since when it is more than lasts.

    What was there at the first look may have come just then.
    """
    seen = _held_by_others(observation)
    others = {
        device.id: _take_in(state.others.get(device.id, Held()), seen.get(device.id), loop, now)
        for device in observation.devices
    }
    return replace(state, others=others)


def _take_in(known: Held, seen: int | None, loop: LoopSettings, now: float) -> Held:
    if seen is None:
        return known
    if seen <= known.lasting:
        return Held(lasting=seen)
    since = now if known.more_since is None else known.more_since
    least = seen if known.more_since is None else min(seen, known.more)
    if now - since < loop.pressure:
        return replace(known, more=least, more_since=since)
    if seen == least:
        return Held(lasting=least)
    return Held(lasting=least, more=seen, more_since=now)


def _held_by_others(observation: Observation) -> dict[DeviceId, int]:
    """Returns device -> bytes that are neither free nor of a resident, as far as known."""
    ours = locate_residents(observation, where_told(observation)).on_device
    nameless = held_by_nameless(observation)
    seen = {}
    for device in observation.devices:
        total, free = device.total_bytes.value, if_fresh(device.free_bytes).value
        if total is not None and free is not None:
            held = ours.get(device.id, 0) + nameless.get(device.id, 0)
            seen[device.id] = max(0, total - free - held)
    return seen


def plans_of_look(planned: tuple[Planned, ...]) -> tuple[Planned, ...]:
    """Returns those that the last look was answered with: with nobody in use, and as it is."""
    return planned[: 2 if planned and planned[0].question.busy else 1]


def without_newcomers(observation: Observation, state: State) -> Observation:
    """Returns the look as if other programs held only what lasts; the same if they do.

    Less than a grain changes no plan, and free memory is never quite still.
    """
    seen = _held_by_others(observation)
    devices = tuple(_without_newcomers(d, seen.get(d.id), state) for d in observation.devices)
    return observation if devices == observation.devices else replace(observation, devices=devices)


def _without_newcomers(device: Device, seen: int | None, state: State) -> Device:
    free, total = device.free_bytes, device.total_bytes.value
    if seen is None or total is None or free.value is None or device.id not in state.others:
        return device
    more = seen - state.others[device.id].lasting
    if more * GPU_GRAINS < total:
        return device
    return replace(device, free_bytes=replace(free, value=free.value + more))


def choose_for_good(choose: Callable[[Scene], Choice], scene: Scene) -> tuple[Choice, Scene]:
    """Returns what `choose` does, without an unload that only newcomers are the reason of.

    And the scene, which knows of the second plan if there was need of one.
    """
    choice = choose(scene)
    order = choice.order
    if not isinstance(order, Unload) or scene.wish.candidate(order.key).dismissed:
        return choice, scene
    before = without_newcomers(scene.observation, scene.state)
    if before is scene.observation:
        return choice, scene
    scene, lasting = _plan_without(before, scene)
    other = choose(lasting).order
    if isinstance(other, Unload) and other.key == order.key:
        return choice, scene
    reason = "other programs took memory a moment ago, and may give it back"
    waits = (*choice.waits, Wait(key=order.key, name=order.name, reason=reason))
    return replace(choice, order=None, waits=waits, is_room_coming=True), scene


def _plan_without(before: Observation, scene: Scene) -> tuple[Scene, Scene]:
    """Returns the scene that knows of both plans, those of its look first, and the other one.

    What newcomers changed was planned for before they came, so it is seldom planned for anew.
    """
    state, now = scene.state, scene.now
    used = plans_of_look(state.planned)
    planned = make_wish(
        before,
        scene.config,
        state.load_seconds,
        now,
        find_busy(state, scene.observation, now),
        unwanted=used[0].question.unwanted,
        planned=state.planned,
    )
    rest = (plan for plan in planned if not any(plan is one for one in used))
    state = replace(state, planned=(*used, *rest))
    ranked = rank_leases(scene.observation, scene.config, state, planned[0].wish)
    return replace(scene, state=state), replace(scene, wish=planned[0].wish, state=ranked)
