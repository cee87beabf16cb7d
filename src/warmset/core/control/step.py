"""The decision: one look, the operator's words, what is remembered; what to do and when to look.

`plan`, `apply`, `serve` and the twin all call this one function. It is pure: the same arguments
give the same result, so that a decision seen in production can be made again from a file.

What must hold at every step, whatever was seen:

- What is unknown leads to nothing that changes the host.
- A pinned or busy model is not unloaded, nor one that nobody configured unless that is allowed.
- At most one load is in flight, and nothing is sent while somebody else's may be.
"""

from __future__ import annotations

from typing import Final

from warmset.core.control.actions import (
    Action,
    Alarm,
    Decision,
    Finding,
    Severity,
    Unload,
    Wait,
)
from warmset.core.control.alarms import (
    about_blocked_pins,
    about_missing_pins,
    about_overfull,
    find_alarms,
    note_missing_pins,
    raise_alarms,
    raise_further,
    watch_pins,
)
from warmset.core.control.config import Config
from warmset.core.control.departures import confirm_departures
from warmset.core.control.drift import Judged, judge_levers
from warmset.core.control.idle import find_busy
from warmset.core.control.lasting import choose_for_good, note_others
from warmset.core.control.levers import choose_lever, list_changes
from warmset.core.control.looking import note_unlisted, take_in
from warmset.core.control.pending import find_foreign_load, why_silent
from warmset.core.control.places import note_places, with_places
from warmset.core.control.ranking import rank_by_worth
from warmset.core.control.renewing import find_renewals, rank_leases
from warmset.core.control.restarts import gpu_ids, notice
from warmset.core.control.restraint import forget_old, step_back
from warmset.core.control.retention import find_unwanted
from warmset.core.control.scene import Scene
from warmset.core.control.state import State
from warmset.core.control.stuck import (
    RESCUES,
    about_slow_load,
    find_rescue,
    notice_moves,
    why_call_off,
    why_give_up,
)
from warmset.core.control.turns import Choice
from warmset.core.control.wanted import Wish, make_wish
from warmset.core.model import Observation
from warmset.core.replacing import replace

SLOWEST_LOOK_TICKS: Final = 6
"""An unreachable server is asked at least so often. Our choice: half a minute at the usual tick."""

SOON_SECONDS: Final = 1.0
"""Between two looks while something is on its way."""


def step(
    observation: Observation, config: Config, state: State, now: float
) -> tuple[State, Decision, float]:
    """Returns what is remembered now, what to do, and when to look again.

    Args:
        observation: one look at the host.
        config: what the operator wants, and how much the loop may do.
        state: what the step before returned, with all events since taken in (`executor.hear`).
        now: Unix seconds that run steadily; never smaller than before.

    Invariants:
        `wake_at` > `now`. See `Decision` for what its actions never do.
    """
    if observation.residents is None or observation.trouble:
        return _unknown(observation, config, state, now)
    is_first = state.at == 0.0
    state, breaks = notice(observation, config, state, now)
    state, moves = notice_moves(observation, state, now)
    state = note_places(observation, state, now)
    observation, before = with_places(observation, state), state
    state, news = take_in(observation, config, replace(state, unreachable=0), now)
    state, gone = confirm_departures(observation, state, now)
    look = Judged(observation=observation, before=before, state=state, now=now)
    state, drift = judge_levers(look, (*news, *gone), config.loop)
    foreign = find_foreign_load(observation, state)
    if foreign:
        state = replace(state, load_seen_at=now, load_why=foreign)
    state = step_back(forget_old(state, config.loop, now), config.loop, now)
    found = (*breaks, *moves, *news, *gone, *drift)
    silent = why_silent(state, config.loop, now)
    if silent and not is_first:
        state, away = watch_pins(observation, config, state, silent, now)
        state, told = raise_further(state, (*about_slow_load(state, now), *away), now)
        decision = _hold_still(state, (*told, Wait(key=None, name="", reason=silent)), found, now)
        calls_off = why_call_off(observation, state, news, config.loop, now)
        soon = SOON_SECONDS if state.leaving else config.loop.tick
        return state, replace(decision, calls_off=calls_off), now + soon
    busy = find_busy(state, observation, now)
    unwanted, state = find_unwanted(observation, config, state, now)
    state = note_others(observation, state, config.loop, now)
    planned = make_wish(
        observation,
        config,
        state.load_seconds,
        now,
        busy,
        unwanted=unwanted,
        planned=state.planned,
    )
    wish, state = planned[0].wish, replace(state, planned=planned)
    if config.loop.name == "worth":
        wish = replace(wish, ranked=rank_by_worth(observation, state, wish, now))
    state = rank_leases(observation, config, state, wish)
    state = note_missing_pins(_note_pressure(state, wish, now), wish, now)
    scene = Scene(observation=observation, config=config, state=state, wish=wish, now=now)
    return _decide(scene, silent, found)


def _hold_still(
    state: State, actions: tuple[Action, ...], findings: tuple[Finding, ...], now: float
) -> Decision:
    """Decides nothing while a load may be under way: what is seen then is not what will be."""
    return Decision(
        at=now,
        actions=actions,
        findings=findings,
        standing=tuple(state.raised),
        is_provisional=True,
    )


def _decide(
    scene: Scene, silent: str, findings: tuple[Finding, ...]
) -> tuple[State, Decision, float]:
    wish = scene.wish
    changes = list_changes(scene)  # none while the pins conflict: then nothing is planned
    if silent:
        choice = Choice(waits=(Wait(key=None, name="", reason=silent),))
    elif wish.is_blind:
        reason = "the memory of a GPU is not known: nothing is moved"
        choice = Choice(waits=(Wait(key=None, name="", reason=reason),))
    elif scene.state.gpus != gpu_ids(scene.observation):
        reason = "these are not the GPUs that Ollama was started with: nothing is moved"
        choice = Choice(waits=(Wait(key=None, name="", reason=reason),))
    elif scene.state.stuck_since is not None and scene.now < (scene.state.probe_at or 0.0):
        choice, scene = _wait_or_rescue(scene)
    else:
        choice, scene = choose_for_good(lambda one: choose_lever(list_changes(one), one), scene)
    alarms = (
        *find_alarms(scene, is_silent=bool(silent)),
        *about_overfull(choice, scene),
        *about_blocked_pins(choice, scene),
        *about_missing_pins(choice, scene),
    )
    state, new = raise_alarms(scene.state, alarms, scene.now)
    order = () if choice.order is None else (choice.order,)
    going = {one.key for one in order if isinstance(one, Unload)}
    renewals = () if silent else find_renewals(scene, going)
    decision = Decision(
        at=scene.now,
        actions=(*new, *renewals, *order, *choice.waits),
        changes=changes,
        members=wish.plan.members,
        left_out=wish.plan.left_out,
        conflict=wish.conflict,
        postponed=wish.postponed,
        findings=findings,
        standing=tuple(state.raised),
        notes=wish.host.notes,
    )
    return state, decision, _wake_at(scene, choice)


def _wait_or_rescue(scene: Scene) -> tuple[Choice, Scene]:
    """Wakes a queue that stands still, if that is allowed; else leaves it alone for a while."""
    rescue = find_rescue(scene)
    if rescue is None:
        reason = "Ollama loads nothing at present"
        return Choice(
            waits=(Wait(key=None, name="", reason=reason, until=scene.state.probe_at),)
        ), scene
    state = replace(scene.state, rescues=(*scene.state.rescues, scene.now)[-RESCUES:])
    return Choice(order=rescue), replace(scene, state=state)


def _note_pressure(state: State, wish: Wish, now: float) -> State:
    """Keeps since when the residents hold more than they may."""
    if not wish.is_pressed:
        return replace(state, pressure_since=None)
    return state if state.pressure_since is not None else replace(state, pressure_since=now)


def _wake_at(scene: Scene, choice: Choice) -> float:
    now = scene.now
    tick = now + scene.loop.tick
    if scene.state.leaving or choice.order is not None:
        return min(tick, now + SOON_SECONDS)
    untils = [wait.until for wait in choice.waits if wait.until is not None and wait.until > now]
    return min(tick, *untils) if untils else tick


def _unknown(
    observation: Observation, config: Config, state: State, now: float
) -> tuple[State, Decision, float]:
    """Nothing is known, so nothing is begun; the server is asked ever more rarely."""
    misses = state.unreachable + 1
    reason = observation.trouble or "what is resident is not known: /api/ps did not answer"
    alarm = Alarm(code="unreachable", severity=Severity.ERROR, text=reason)
    state, alarms = raise_alarms(state, (alarm,), now)
    state = replace(note_unlisted(observation, state), unreachable=misses, at=max(state.at, now))
    decision = Decision(
        at=now,
        actions=(*alarms, Wait(key=None, name="", reason=reason)),
        standing=tuple(state.raised),
        notes=observation.notes,
        trouble=reason,
        calls_off=why_give_up(state, config.loop, now),
    )
    ticks = min(2 ** min(misses - 1, 10), SLOWEST_LOOK_TICKS)
    return state, decision, now + config.loop.tick * ticks
