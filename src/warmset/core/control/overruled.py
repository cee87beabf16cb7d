"""What clients changed under our hands: models loaded anew, leases replaced."""

from __future__ import annotations

import math

from warmset.core.control.actions import Finding, Severity
from warmset.core.control.config import Config
from warmset.core.control.durations import LATE_SECONDS, Bounds, bounds_of_move
from warmset.core.control.found_free import find_free, note_nameless, sum_up
from warmset.core.control.leases import lease_seconds
from warmset.core.control.outcomes import note_race
from warmset.core.control.state import Looked, State
from warmset.core.control.strangers import find_key
from warmset.core.control.vanished import list_nameless, row_id
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import FOREVER, ModelKey, Observation, Resident
from warmset.core.replacing import replace
from warmset.core.units import format_seconds

Result = tuple[State, tuple[Finding, ...]]


def resident_pids(observation: Observation) -> dict[ModelKey, int]:
    """Returns the runner process of each resident, as far as seen."""
    return {
        runner.key: runner.pid
        for runner in observation.runners or ()
        if runner.key is not None and runner.phase == "resident"
    }


def notice_reloads(observation: Observation, config: Config, state: State, now: float) -> Result:
    """A runner with another PID, or another context, was loaded anew."""
    looked = state.looked
    if looked is None:
        return _notice_open_ping(observation, config, state, now)
    before = {row.key: row for row in looked.residents if row.key is not None}
    came = [row for row in observation.residents or () if row.key not in before]
    pids = resident_pids(observation)
    state, found = _notice_nameless(observation, looked, state, now)
    for row in observation.residents or ():
        if row.key is None or row.key not in before:
            continue
        pid, last = pids.get(row.key), looked.pids.get(row.key)
        # One that was listed without a process, beside others that have theirs, was dead.
        is_last_known = last is not None or (bool(looked.pids) and row.key not in state.loading)
        is_new = pid is not None and pid != last and is_last_known
        if not is_new and row.context == before[row.key].context:
            continue
        left = replace(state, freed=sum_up(state.freed, looked.held.get(row.key, {})), freed_at=now)
        low, high = find_free(row, (row, *came), observation, left)
        known = state.of(row.key)
        touched = -math.inf if known.touched_at is None else known.touched_at
        # A ping asks for what is there, and the runner that it loads has its lease.
        is_ours = touched >= looked.at and row.context == before[row.key].context
        state = state.note(
            row.key,
            row.name,
            resident_since=now,
            lease=known.lease if is_ours else None,
            leased_at=known.leased_at if is_ours else None,
            foreign=None,
            is_overruled=False,
            free_low=low,
            free_high=high,
        )
        if is_ours:
            if not any(at >= touched for at in state.races):  # else it was noticed at once
                state = note_race(state, config.loop, now)
            kind, text, severity = "ping_reloaded", "our ping loaded it anew", Severity.WARNING
        else:
            kind, text, severity = "model_reloaded", "a client loaded it anew", Severity.NOTE
        # Also for a race that was noticed at once: the load itself came later.
        state = replace(state, load_seen_at=now, load_why=f"{row.name} was loaded anew")
        found.append(Finding(kind=kind, key=row.key, name=row.name, text=text, severity=severity))
    return state, tuple(found)


def _notice_open_ping(observation: Observation, config: Config, state: State, now: float) -> Result:
    """Finds that a ping which is under way has loaded its model, where there is no look before.

    So it is after a clock was set; of all others it is not known who had them loaded anew.
    """
    running = state.orders.running
    if running is None or running.stage != "ping":
        return state, ()
    order = running.order
    pid, last = resident_pids(observation).get(order.key), state.of(order.key).pid
    if pid is None or last is None or pid == last or any(at >= running.since for at in state.races):
        return state, ()
    text = "our ping loaded it anew"
    found = Finding(
        kind="ping_reloaded", key=order.key, name=order.name, text=text, severity=Severity.WARNING
    )
    return note_race(state, config.loop, now), (found,)


def _notice_nameless(
    observation: Observation, looked: Looked, state: State, now: float
) -> tuple[State, list[Finding]]:
    """Finds loads of weights whose name is gone or means others now: their context tells."""
    before = {row_id(row): row.context for row in looked.residents}
    found = []
    for row in observation.residents or ():
        if row.key is not None or before.get(row_id(row), row.context) == row.context:
            continue
        key = find_key(row, state)
        held = {} if key is None else state.of(key).held
        left = replace(state, freed=sum_up(state.freed, held), freed_at=now)
        state = replace(state, models=note_nameless(row, (row,), observation, left).models)
        state = replace(state, load_seen_at=now, load_why=f"{row.name} was loaded anew")
        text = "a client loaded it anew, and its name means other weights now or none"
        found.append(Finding(kind="model_reloaded", key=None, name=row.name, text=text))
    return state, found


def notice_durations(observation: Observation, config: Config, state: State, now: float) -> Result:
    """Finds the leases that a client overwrote, and the values that clients use."""
    looked = state.looked
    rows = looked.residents if looked else ()
    before = {row.key: row for row in rows}
    nameless = list_nameless(rows)
    found = []
    for row in observation.residents or ():
        if row.key is None:
            continue
        bounds = bounds_of_move(  # a name that comes back is no request
            before.get(row.key) or nameless.get(row_id(row)),
            row,
            wall_before=looked.wall_at if looked else observation.at,
            wall_at=observation.at,
        )
        if bounds is None:
            continue
        known, ours = state.of(row.key, row.name), _own_lease(state, row.key)
        late = 0.0 if row.key not in before else LATE_SECONDS
        if ours is not None and bounds.allows(ours, late=late):
            if known.lease is None:  # forgotten, and it stands
                state = state.note(row.key, lease=ours)
            continue
        if looked is None and bounds.high < FOREVER:
            continue  # what is left of a deadline says little: it may be an own lease of before
        touched = -math.inf if known.touched_at is None else known.touched_at
        if known.lease is None and looked is not None and touched >= looked.at:
            continue  # nor does that of an own ping whose answer is not there, or was lost
        state = _overwritten(state, row, bounds, config.loop, now)
        if known.lease is not None:
            text = (
                f"a client set its keep-alive to about {format_seconds(bounds.high)}; "
                f"the lease was {format_seconds(known.lease)}"
            )
            found.append(
                Finding(
                    kind="lease_overwritten",
                    key=row.key,
                    name=row.name,
                    text=text,
                    basis={"lease": known.lease, "low": bounds.low, "high": bounds.high},
                )
            )
    return state, tuple(found)


def _own_lease(state: State, key: ModelKey) -> float | None:
    """Returns the lease in force; of one that was forgotten what its rank would give it now."""
    known = state.of(key)
    if known.lease is not None or known.is_overruled or known.slot is None:
        return known.lease
    return lease_seconds(known.slot, state.base)


def _overwritten(
    state: State, row: Resident, bounds: Bounds, loop: LoopSettings, now: float
) -> State:
    assert row.key is not None
    known = state.of(row.key, row.name)
    overwrites = tuple(at for at in known.overwrites if now - at < loop.fight_window)
    if known.lease is not None:
        overwrites = (*overwrites, now)
    return state.note(
        row.key,
        row.name,
        lease=None,
        leased_at=None,
        foreign=bounds.high,
        is_overruled=known.is_overruled or known.lease is not None,
        overwrites=overwrites,
    )
