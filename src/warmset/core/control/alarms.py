"""What the operator must hear: raised once, standing until the cause is gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from warmset.core.control.actions import Alarm, Severity, Unload
from warmset.core.control.config import Config
from warmset.core.control.drift import about_levers
from warmset.core.control.renewing import find_dead
from warmset.core.control.restarts import gpu_ids
from warmset.core.control.restraint import CYCLES, is_fought_over, name_client
from warmset.core.control.scene import Scene
from warmset.core.control.state import State
from warmset.core.control.stuck import about_stuck_loads
from warmset.core.control.turns import Choice
from warmset.core.control.wanted import Wish
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import FOREVER, ModelKey, Observation
from warmset.core.planner.worlds import headroom
from warmset.core.replacing import replace
from warmset.core.units import MINUTE, format_bytes, format_seconds

POSTPONED: Final = "pins_postponed"

MISSING_SECONDS: Final = 5 * MINUTE
"""A pin that is away for longer is told of. Our choice: loads and bursts of users take less."""


OVERFULL_SECONDS: Final = 2 * MINUTE
"""By then whoever may go has gone. Our choice: a model's shortest stay, and time to be idle."""


def raise_alarms(
    state: State, alarms: Sequence[Alarm], now: float
) -> tuple[State, tuple[Alarm, ...]]:
    """Returns the state in which exactly these alarms stand, and those that are new."""
    raised = {alarm.code: state.raised.get(alarm.code, now) for alarm in alarms}
    new = tuple(alarm for alarm in alarms if alarm.code not in state.raised)
    return replace(state, raised=raised), new


def raise_further(
    state: State, alarms: Sequence[Alarm], now: float
) -> tuple[State, tuple[Alarm, ...]]:
    """Returns the state in which these stand beside what stood before, and those that are new."""
    new = tuple(alarm for alarm in alarms if alarm.code not in state.raised)
    return replace(state, raised={**state.raised, **{alarm.code: now for alarm in new}}), new


def find_alarms(scene: Scene, *, is_silent: bool = False) -> tuple[Alarm, ...]:
    """Returns everything that is wrong now, in a fixed order.

    `is_silent`: a load may be under way, whose bytes are nobody's yet. Then what is free says
    little, and no alarm is raised for want of room.
    """
    return (
        *(a for a in _about_pins(scene.wish) if not is_silent or _is_known(a, scene.state)),
        *_about_fights(scene.state, scene.loop, scene.now),
        *_about_keep_alives(scene.observation, scene.state, scene.loop),
        *_about_the_gpus(scene.observation, scene.state),
        *_about_the_dead(scene.observation, scene.state),
        *about_stuck_loads(scene.state, scene.loop, scene.now),
        *about_levers(scene.state, scene.now),
        *_about_the_loop(scene.state, scene.loop, scene.now),
    )


def note_missing_pins(state: State, wish: Wish, now: float) -> State:
    """Keeps since when each pin has been away."""
    for candidate in wish.candidates:
        known = state.models.get(candidate.key)
        since = None if known is None else known.missing_since
        is_missing = candidate.pin and not candidate.is_resident
        if is_missing == (since is None):
            since = now if is_missing else None
            state = state.note(candidate.key, candidate.name, missing_since=since)
    return state


def about_missing_pins(choice: Choice, scene: Scene) -> Iterator[Alarm]:
    """Yields the pins that have been away for long, with what is waited for.

    Pins that can never fit are told of once, together.
    """
    if scene.wish.conflict is not None:
        return
    for candidate in scene.wish.candidates:
        if not candidate.pin:
            continue
        since = scene.state.of(candidate.key).missing_since
        if since is None or scene.now - since < MISSING_SECONDS:
            continue
        reasons = [w.reason for w in choice.waits if w.key in (candidate.key, None)]
        why = reasons[0] if reasons else "it is to be loaded"
        yield _about_missing(candidate.key, candidate.name, scene.now - since, why)


def watch_pins(
    observation: Observation, config: Config, state: State, why: str, now: float
) -> tuple[State, tuple[Alarm, ...]]:
    """Keeps since when each pin has been away, and tells of it, while nothing is decided."""
    listed = {row.key for row in observation.residents or ()}
    alarms = []
    for entry in observation.entries:
        if not config.is_pinned(entry.names, now):
            continue
        since = state.of(entry.key).missing_since
        if (entry.key in listed) != (since is None):
            since = None if entry.key in listed else now
            state = state.note(entry.key, entry.names[0], missing_since=since)
        if since is not None and now - since >= MISSING_SECONDS:
            alarms.append(_about_missing(entry.key, entry.names[0], now - since, why))
    return state, tuple(alarms)


def _about_missing(key: ModelKey, name: str, seconds: float, why: str) -> Alarm:
    return Alarm(
        code=f"pin_missing {key}",
        severity=Severity.ERROR,
        text=f"{name} is pinned and not resident for {format_seconds(seconds)}: {why}",
        keys=(key,),
    )


def about_overfull(choice: Choice, scene: Scene) -> Iterator[Alarm]:
    """Yields that more is held than may be, once that lasts.

    Clients load what they like, pins do not give way, and other programs take what they need. Who
    is to go may be there still at the next look: nobody sends it away for one who only looks on.
    """
    since = scene.state.pressure_since
    if since is None or scene.now - since < OVERFULL_SECONDS:
        return
    host, world = scene.wish.host, scene.wish.world or ()
    over = {gpu.name or gpu.id: -headroom(world, gpu) for gpu in host.gpus}
    where = ", ".join(f"{format_bytes(n)} on {name}" for name, n in over.items() if n > 0)
    reasons = [wait.reason for wait in choice.waits]
    why = reasons[0] if reasons else "nobody who is idle may be unloaded"
    if isinstance(choice.order, Unload):
        why = f"{choice.order.name} is to go"
    text = f"models hold more than may be used{': ' + where if where else ''}; {why}"
    yield Alarm(code="over_budget", severity=Severity.WARNING, text=text)


def about_blocked_pins(choice: Choice, scene: Scene) -> Iterator[Alarm]:
    """Yields the pins that Ollama's rule keeps out while nobody may be sent away for them.

    A runner remembers what was free when it came. If that of a pin keeps another pin out, only the
    operator can help, unless pins may be loaded anew: else they are not unloaded.
    """
    if choice.order is not None or choice.is_room_coming:
        return
    are_there = any(c.pin and c.is_resident for c in scene.wish.candidates)
    or_else = ", or [policy] may_reload_pins = true"
    for candidate in choice.blocked:
        if candidate.pin:
            why = next((w.reason for w in choice.waits if w.key == candidate.key), "")
            text = (
                f"{candidate.name} is pinned and cannot be loaded: {why}. "
                "To unload one of the others once would help"
                f"{or_else if are_there and not scene.loop.may_reload_pins else ''}"
            )
            code = f"pin_blocked {candidate.key}"
            keys = (candidate.key,)
            yield Alarm(code=code, severity=Severity.ERROR, text=text, keys=keys)


def _is_known(alarm: Alarm, state: State) -> bool:
    return alarm.code != POSTPONED or alarm.code in state.raised


def _about_pins(wish: Wish) -> Iterator[Alarm]:
    if wish.conflict is not None:
        yield Alarm(
            code="pins_conflict",
            severity=Severity.ERROR,
            text=f"pins that never fit together, nothing is moved: {wish.conflict.reason}",
            keys=wish.conflict.keys,
        )
    if wish.postponed is not None:
        yield Alarm(
            code=POSTPONED,
            severity=Severity.WARNING,
            text=f"not all pins fit beside what else is there now: {wish.postponed.reason}",
            keys=wish.postponed.keys,
        )
    for text in wish.impossible:
        name = text.partition(": ")[0]
        yield Alarm(code=f"pin_impossible {name}", severity=Severity.ERROR, text=f"pinned {text}")
    for name in wish.absent:
        text = f"{name} is pinned and not installed: nothing is fetched for it"
        yield Alarm(code=f"pin_absent {name}", severity=Severity.ERROR, text=text)


def _about_fights(state: State, loop: LoopSettings, now: float) -> Iterator[Alarm]:
    for key, known in sorted(state.models.items()):
        is_paused = known.quiet_until is not None and now < known.quiet_until
        if is_paused and known.quiet_until is not None:
            text = f"{known.name} is left alone until {format_seconds(known.quiet_until - now)} "
            yield Alarm(
                code=f"paused {key}",
                severity=Severity.ERROR if known.restores or known.pause else Severity.WARNING,
                text=f"{text}from now: {known.quiet_reason}",
                keys=(key,),
            )
        if is_fought_over(key, state, loop):
            text = (
                f"a client of {known.name} replaced its lease {len(known.overwrites)} times in "
                f"{format_seconds(loop.fight_window)}, last with about "
                f"{format_seconds(known.foreign)}: its value is left standing for a while; "
                f"{name_client(known)}"
            )
            yield Alarm(
                code=f"overwritten {key}", severity=Severity.WARNING, text=text, keys=(key,)
            )
        if len(known.cycles) >= CYCLES:
            text = (
                f"{known.name} was loaded and unloaded {len(known.cycles)} times in a short while"
            )
            yield Alarm(code=f"flutter {key}", severity=Severity.WARNING, text=text, keys=(key,))


def _about_keep_alives(
    observation: Observation, state: State, loop: LoopSettings
) -> Iterator[Alarm]:
    endless = [row for row in observation.residents or () if row.expires_at == FOREVER and row.key]
    if endless and not loop.may_overwrite_infinite:
        names = ", ".join(sorted(row.name for row in endless))
        yield Alarm(
            code="infinite_keep_alive",
            severity=Severity.WARNING,
            text=f"kept for ever by a client, so ranks do not reach them: {names}",
            keys=tuple(row.key for row in endless if row.key is not None),
        )
    if state.base > loop.lease_base:
        yield Alarm(
            code=f"base_raised {state.base:.0f}",
            severity=Severity.NOTE,
            text=(
                f"leases start at {format_seconds(state.base)}, since clients or the server use "
                "long keep-alives: after warmset's end models stay so much longer"
            ),
        )


def _about_the_gpus(observation: Observation, state: State) -> Iterator[Alarm]:
    present = gpu_ids(observation)
    if state.gpus is not None and present != state.gpus:
        text = (
            f"Ollama was started with {len(state.gpus)} GPUs and the driver shows {len(present)}, "
            "not all the same: restart Ollama so that it sees them"
        )
        yield Alarm(code="gpus_changed", severity=Severity.ERROR, text=text)


def _about_the_dead(observation: Observation, state: State) -> Iterator[Alarm]:
    for key in sorted(find_dead(observation, state)):
        name = next(row.name for row in observation.residents or () if row.key == key)
        text = f"{name} is listed and its process is gone: its next request has to load it anew"
        yield Alarm(code=f"runner_gone {key}", severity=Severity.WARNING, text=text, keys=(key,))


def _about_the_loop(state: State, loop: LoopSettings, now: float) -> Iterator[Alarm]:
    is_anybody_lost = any(
        m.lost_at is not None and m.resident_since is None for m in state.models.values()
    )
    if len(state.reloads) >= loop.reloads_per_window and is_anybody_lost:
        window = format_seconds(loop.fight_window)
        text = f"{len(state.reloads)} reloads in {window}: nothing is reloaded for a while"
        yield Alarm(code="reload_budget", severity=Severity.ERROR, text=text)
    if state.pings_quiet_until is not None and now < state.pings_quiet_until:
        text = f"{len(state.races)} pings met a load: no pings for a while, ranks may be off"
        yield Alarm(code="ping_races", severity=Severity.WARNING, text=text)
