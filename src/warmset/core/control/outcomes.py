"""What an order's end means for what is remembered.

Success gives a model its lease; a failure gives it a pause; lack of memory takes every lease, since
Ollama then sets all keep-alives to nothing (ollama-behaviour 3.8).
"""

from __future__ import annotations

from typing import Final

from warmset.core.control.actions import Finding, Preload, Renew, Severity, Unload
from warmset.core.control.config import Config
from warmset.core.control.drift import judge_ping
from warmset.core.control.orders import Aborted, Done, Failed, Order, TimedOut
from warmset.core.control.pinging import SLOW_PING_SECONDS
from warmset.core.control.state import Leaving, Remembered, Running, State
from warmset.core.control.stuck import note_stuck
from warmset.core.control.vanished import EARLY_SECONDS, early_leavers
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import ModelKey
from warmset.core.ollama.victim import is_out_of_memory
from warmset.core.replacing import replace
from warmset.core.units import format_seconds

Result = tuple[State, tuple[Finding, ...]]

AT_ONCE_SECONDS: Final = 0.1
"""A preload that is answered sooner has started no process. Our choice: to start one and to map
the smallest file takes longer even from the page cache, and to ask in a local network does not."""


def finding(
    kind: str, order: Order, text: str, severity: Severity = Severity.NOTE, **basis: float | str
) -> Finding:
    """Returns what was seen of one order."""
    return Finding(
        kind=kind, key=order.key, name=order.name, text=text, severity=severity, basis=basis
    )


def before_preload(state: State, order: Order, now: float) -> State:
    """Counts a load that is about to be asked for: it may be one too many the next time."""
    known = state.of(order.key, order.name)
    if known.lost_at is not None:
        state = state.note(order.key, order.name, restores=(*known.restores, now))
    if known.resident_since is not None or known.lost_at is not None or known.unloaded_at:
        state = replace(state, reloads=(*state.reloads, now))
    return state


def after_preload(
    state: State, order: Preload, seconds: float, loop: LoopSettings, now: float
) -> Result:
    """A model is loaded and has its lease; the next look verifies it.

    An answer at once means that it was there already, so that somebody else has loaded it since the
    look, or that nothing was done: the next look tells.
    """
    was_there = seconds < AT_ONCE_SECONDS
    state, mishaps = _pause_victims(state, order, now - seconds, loop, now)
    state = state.note(
        order.key,
        order.name,
        lease=order.keep_alive,
        leased_at=now,
        foreign=None,
        is_overruled=False,
        touched_at=now,
        preloaded_at=now,
        resident_since=now,
        lost_at=None,
        lost_to="",
        failures=0,
        load_seconds=state.of(order.key).load_seconds if was_there else seconds,
        was_there=was_there,
        quiet_until=None,
        quiet_reason="",
    )
    text = f"loaded in {format_seconds(seconds)}"
    return state, (*mishaps, finding("preloaded", order, text, seconds=seconds))


def _pause_victims(
    state: State, order: Order, since: float, loop: LoopSettings, now: float
) -> Result:
    """Those who had to go for a preload of ours do not come back at once: it would go for them."""
    found = []
    for key, victim in _victims(state, order, since):
        why = f"pushed out by our own preload of {order.name}"
        state = pause(state, key, loop, now, why)
        told = finding("preload_evicted", order, why, Severity.WARNING)
        found.append(replace(told, key=key, name=victim.name))
    return state, tuple(found)


def _victims(state: State, order: Order, since: float) -> list[tuple[ModelKey, Remembered]]:
    return [
        (key, known)
        for key, known in state.models.items()
        if known.lost_to == order.name
        and known.lost_at is not None
        and known.lost_at >= since
        and known.resident_since is None
        and key != order.key
    ]


def after_unload(state: State, order: Unload, now: float) -> Result:
    """A model is on its way out; its memory is charged until the driver shows it free.

    What a client said of it counts until it is gone: an unload may have no effect.
    """
    known = state.of(order.key, order.name)
    looked = state.looked
    cycles = known.cycles if known.preloaded_at is None else (*known.cycles, now)
    state = state.note(
        order.key,
        order.name,
        lease=None,
        leased_at=None,
        touched_at=now,
        unloaded_at=now,
        comes_back=order.comes_back,
        preloaded_at=None,
        cycles=cycles,
    )
    leaving = Leaving(
        key=order.key,
        name=order.name,
        held={} if looked is None else looked.held.get(order.key, {}),
        free_before={} if looked is None else looked.free,
        since=now,
        preloaded_at=known.preloaded_at,
    )
    state = replace(state, leaving=(*state.leaving, leaving))
    return state, (finding("unload_sent", order, order.reason),)


def after_ping(state: State, order: Renew, event: Done, config: Config, now: float) -> Result:
    """A lease is renewed, if the list read after the ping does not tell of an accident."""
    seconds = state.orders.ping_seconds
    state = state.note(
        order.key,
        order.name,
        lease=order.keep_alive,
        leased_at=now,
        foreign=None,
        is_overruled=False,
        touched_at=now,
        unmoved=_unmoved(state, order, event),
    )
    rows = event.residents
    accident = ""
    if seconds > SLOW_PING_SECONDS:
        accident = f"the ping took {seconds:.1f} s: it found no runner and loaded one"
        state = state.note(order.key, resident_since=now)
    elif rows is not None and all(row.key != order.key for row in rows):
        accident = "the model left while it was pinged"
    elif _is_dismissed(order, event):
        accident = "somebody let the model go while it was pinged, and now it stays"
    elif rows is not None and state.looked is not None and event.wall_at is not None:
        gone = early_leavers(state.looked.residents, rows, wall_at=event.wall_at)
        if gone:
            accident = f"{gone[0].name} left while {order.name} was pinged"
    if not accident:
        text = f"lease of {format_seconds(order.keep_alive)}: {order.reason}"
        state, drift = judge_ping(state, order, event, config.loop, now)
        told = (finding("renewed", order, text, seconds=seconds), *_doubts(state, order, event))
        return state, (*told, *drift)
    state = note_race(state, config.loop, now)
    state = replace(state, load_seen_at=now, load_why=accident)
    return state, (finding("ping_raced", order, accident, Severity.WARNING, seconds=seconds),)


def _unmoved(state: State, order: Renew, event: Done) -> float | None:
    """Returns the deadline that a ping left as it was, `None` if it moved.

    A deadline is written when the last request ends (ollama-behaviour 2.5), so one that our ping
    did not move belongs to a model that serves somebody. Where the list after it is missing, the
    next look compares.
    """
    before = {row.key: row.expires_at for row in state.looked.residents} if state.looked else {}
    old = before.get(order.key)
    if event.residents is None:
        return old
    after = {row.key: row.expires_at for row in event.residents}
    return old if old is not None and after.get(order.key) == old else None


def _is_dismissed(order: Renew, event: Done) -> bool:
    """Whether the deadline after a ping is now, which only an unload does (ollama-behaviour 2.5).

    It was sent to a model that serves somebody, and the ping has given that a new keep-alive.
    """
    row = next((row for row in event.residents or () if row.key == order.key), None)
    if row is None or row.expires_at is None or event.wall_at is None:
        return False
    return row.expires_at < event.wall_at + EARLY_SECONDS


def _doubts(state: State, order: Renew, event: Done) -> tuple[Finding, ...]:
    """Returns what a ping may have done that no list shows.

    A victim that is in use keeps its deadline too until it goes: nobody can tell it from another
    model, and a ping keeps it (ollama-behaviour 3.5).
    """
    if event.residents is None:
        text = "the ping was answered, and what is resident after it is not known"
        return (finding("ping_unchecked", order, text),)
    if state.of(order.key).unmoved is None:
        return ()
    text = "its deadline did not move: it serves somebody. If it was to leave then, it stays now"
    return (finding("ping_met_request", order, text),)


def note_race(state: State, loop: LoopSettings, now: float) -> State:
    """Counts a ping that did harm; after the second there is no third within the fight window."""
    races = (*(at for at in state.races if now - at < loop.fight_window), now)
    quiet = state.pings_quiet_until
    if len(races) > 1:
        quiet = max(now + loop.back_off, races[-2] + loop.fight_window)
    return replace(state, races=races, pings_quiet_until=quiet)


def after_failure(
    state: State,
    running: Running,
    event: Failed | TimedOut | Aborted,
    config: Config,
    now: float,
) -> Result:
    """Something did not happen, or nobody knows whether it did."""
    order, seconds = running.order, now - running.since
    if isinstance(event, Aborted):
        return _after_abort(state, running, config, now)
    if running.stage in ("read", "check"):
        return _after_no_list(state, running, config, now)
    error = "no answer in time" if isinstance(event, TimedOut) else event.error
    text = f"{running.stage} failed after {format_seconds(seconds)}: {error}"
    failed = finding(
        f"{running.stage}_failed", order, text, Severity.WARNING, seconds=seconds, error=error
    )
    state = state.note(order.key, order.name, lease=None)
    found: tuple[Finding, ...] = (failed,)
    if running.stage == "preload":
        state, mishaps = _pause_victims(state, order, running.since, config.loop, now)
        found = (failed, *mishaps)
    if running.stage == "ping" and isinstance(event, Failed) and _is_of_a_load(event):
        state = note_race(state, config.loop, now)
        why = f"the ping found no runner, and its load failed: {error}"
        found = (failed, finding("ping_raced", order, why, Severity.WARNING, seconds=seconds))
    if isinstance(event, Failed) and event.is_final:
        until = now + config.loop.back_off_limit
        return state.note(order.key, order.name, quiet_until=until, quiet_reason=error), found
    if isinstance(event, Failed) and event.status == 503:
        return replace(state, load_seen_at=now, load_why="Ollama's queue is full"), found
    if isinstance(event, Failed) and event.status is None:
        return state, found  # the server went away: no fault of the model
    if isinstance(event, TimedOut) or is_out_of_memory(error):
        state = forget_leases(state)
        state = replace(state, load_seen_at=now, load_why=text)
    return pause(state, order.key, config.loop, now, text), found


def _after_no_list(state: State, running: Running, config: Config, now: float) -> Result:
    """The list before a ping is missing, so it is not sent; or that after it, so nobody knows."""
    order = running.order
    if isinstance(order, Renew) and running.stage == "check":
        return after_ping(state, order, Done(number=running.number, at=now), config, now)
    return state, (finding("ping_left_out", order, "what is resident is not known"),)


def _is_of_a_load(event: Failed) -> bool:
    """Whether only a load can have failed so: a ping asks a runner for nothing."""
    return event.status is not None and event.status >= 500 and event.status != 503


def _after_abort(state: State, running: Running, config: Config, now: float) -> Result:
    order, seconds, why = running.order, now - running.since, running.called_off
    text = f"{running.stage} called off after {format_seconds(seconds)}"
    text += f": {why.reason}" if why is not None else ""
    kind = "load_aborted" if running.stage == "preload" else "order_aborted"
    if why is not None and why.kind == "overtaken":  # it was for somebody else that they left
        for key, known in _victims(state, order, running.since):
            state = state.note(key, known.name, lost_to="")
        state = replace(state, load_seen_at=now, load_why=why.reason)
    elif why is not None and why.kind == "stuck":
        state = note_stuck(state, config.loop, now)
    elif why is not None and why.kind == "slow":
        # It waited behind others, or the disk is slow: so would the next one.
        state = pause(state, order.key, config.loop, now, text)
        state = replace(state, load_seen_at=now, load_why=f"{order.name} was not there in time")
    elif why is not None and why.kind == "raced":
        state = note_race(state.note(order.key, order.name, lease=None), config.loop, now)
        state = replace(state, load_seen_at=now, load_why=text)
        return state, (finding("ping_raced", order, text, Severity.WARNING, seconds=seconds),)
    return state, (finding(kind, order, text, seconds=seconds),)


def pause(state: State, key: ModelKey, loop: LoopSettings, now: float, reason: str) -> State:
    """Gives a model a pause, twice as long as the last one."""
    known = state.of(key)
    seconds = min(max(loop.cool_down, 2 * known.pause), loop.back_off_limit)
    return state.note(
        key,
        failures=known.failures + 1,
        pause=seconds,
        quiet_until=now + seconds,
        quiet_reason=reason,
    )


def forget_leases(state: State) -> State:
    """Returns the state in which no keep-alive is known any more: all are asserted anew."""
    models = {key: replace(known, lease=None) for key, known in state.models.items()}
    return replace(state, models=models)
