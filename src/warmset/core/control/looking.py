"""What a look tells beside the look before it: who came, who left and why, who was used.

All that the loop learns of the world is learnt here. Nothing is decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from warmset.core.control.actions import Finding
from warmset.core.control.clients import notice_clients
from warmset.core.control.comings import (
    notice_comers,
    notice_leavers,
    notice_rivals,
)
from warmset.core.control.config import Config
from warmset.core.control.freed import is_loading
from warmset.core.control.overruled import notice_durations, notice_reloads, resident_pids
from warmset.core.control.state import Looked, State
from warmset.core.control.strangers import note_names
from warmset.core.host.budget import if_fresh
from warmset.core.host.evidence import Look, find_use
from warmset.core.model import DeviceId, ModelKey, Observation
from warmset.core.replacing import replace

Result = tuple[State, tuple[Finding, ...]]

UNMOVED_SECONDS: Final = 300.0
"""So long a model counts as in use whose deadline a ping did not move, though its process is calm.
Our choice: longer than a client that reads slowly lets its model wait."""


def take_in(observation: Observation, config: Config, state: State, now: float) -> Result:
    """Returns the state that knows of this look, and what was seen to have happened.

    Args:
        observation: with residents that are known.
        config: for the spans of time that count.
        state: after `restarts.notice`: it knows that this is the same server and clock.
        now: the step's time.
    """
    assert observation.residents is not None
    found: list[Finding] = []
    parts = (
        notice_clients,
        notice_leavers,
        notice_rivals,
        notice_comers,
        notice_reloads,
        notice_durations,
        _notice_use,
    )
    for part in parts:
        state, news = part(observation, config, state, now)
        found += news
    for key, pid in resident_pids(observation).items():
        if state.of(key).pid != pid:
            state = state.note(key, pid=pid)
    state = note_names(observation, note_rest(observation, state))
    return replace(state, looked=_looked(observation, state.looked, now), at=now), tuple(found)


def note_unlisted(observation: Observation, state: State) -> State:
    """Keeps what the driver shows while nobody says what is resident.

    Who comes in the meantime may find no more free, and its process was there: should it be gone
    once the model is listed, it is dead.
    """
    for runner in observation.runners or ():
        key = runner.key
        if key is not None and state.of(key).pid is None:
            state = state.note(key, observation.name_of(key), pid=runner.pid)
    return note_rest(observation, state)


def note_rest(observation: Observation, state: State) -> State:
    """Keeps what is free while nothing is being loaded, as far as that can be seen.

    0 where the driver does not say: whoever comes next may have found nothing. A load of our own is
    under way however early it is looked at, and its process may not be there yet; while it waits in
    Ollama's queue others are loaded, which find no more than the least that was free meanwhile. A
    look at which nothing could be read changes nothing.
    """
    if observation.runners is not None:
        beside = _beside_loading(observation, state)
        state = replace(state, loading=_loading(observation, state), beside_loading=beside)
    if not observation.devices:
        return state
    if observation.runners is None:
        return state if _is_preloading(state) else replace(state, at_rest={})
    if is_loading(observation):
        return state
    free = {device.id: 0 for device in observation.devices} | _free(observation)
    if _is_preloading(state):
        free = {device: min(n, state.at_rest.get(device, n)) for device, n in free.items()}
    return replace(state, at_rest=free)


def _is_preloading(state: State) -> bool:
    running = state.orders.running
    return running is not None and running.stage == "preload"


def _loading(observation: Observation, state: State) -> dict[ModelKey, int]:
    """Returns the process of each model that is being loaded.

    While nobody says who is resident, that may be the process of any that was not before.
    """
    found = {}
    for runner in observation.runners or ():
        key, phase = runner.key, runner.phase
        if key is None:
            continue
        if phase == "loading" or (phase == "unknown" and state.of(key).resident_since is None):
            found[key] = runner.pid
    return found


def _beside_loading(
    observation: Observation, state: State
) -> dict[ModelKey, Mapping[DeviceId, int]]:
    """Returns the least that was free so far while each model is being loaded.

    0 where another one was being loaded at the last look and is gone: what it took meanwhile may
    not have been back when this one began.
    """
    free = _free(observation)
    present = {runner.key for runner in observation.runners or ()}
    found: dict[ModelKey, Mapping[DeviceId, int]] = {}
    for runner in observation.runners or ():
        if runner.key is None or runner.phase != "loading":
            continue
        if state.loading.get(runner.key) == runner.pid:
            before = state.beside_loading.get(runner.key, {})
        else:
            before = dict.fromkeys(free, 0) if state.loading.keys() - present else {}
        found[runner.key] = {d: min(count, before.get(d, count)) for d, count in free.items()}
    return found


def _free(observation: Observation) -> dict[DeviceId, int]:
    free = {d.id: if_fresh(d.free_bytes).value for d in observation.devices}
    return {device: count for device, count in free.items() if count is not None}


def _looked(observation: Observation, before: Looked | None, now: float) -> Looked:
    """Returns what the next look is compared with.

    A process that is gone is remembered as long as its model is listed: whoever is there for it
    later was loaded anew.
    """
    listed = {row.key for row in observation.residents or ()}
    last = {} if before is None else before.pids
    gone = {key: pid for key, pid in last.items() if key in listed}
    return Looked(
        at=now,
        wall_at=observation.at,
        residents=observation.residents or (),
        is_first=before is None,
        free=_free(observation),
        pids=gone | resident_pids(observation),
        held=observation.located,
    )


def _notice_use(observation: Observation, config: Config, state: State, now: float) -> Result:
    """Keeps when each model was last used, our own touches left out."""
    del config
    looked = state.looked
    touched = frozenset(
        key
        for key, known in state.models.items()
        if looked is not None and known.touched_at is not None and known.touched_at >= looked.at
    )
    earlier = Look(at=looked.wall_at, residents=looked.residents) if looked else None
    present = Look(at=observation.at, residents=observation.residents)
    for use in find_use(earlier, present, renewed=touched):
        state = state.note(use.key, used_at=now)
        if use.is_busy:
            state = state.note(use.key, busy_at=now)
    for row in observation.residents or ():
        if row.key is None or state.of(row.key).unmoved is None:
            continue
        is_unmoved = state.of(row.key).unmoved == row.expires_at
        if is_unmoved and not _is_seen_idle(row.key, observation, state, now):
            state = state.note(row.key, used_at=now, busy_at=now)
        else:
            state = state.note(row.key, unmoved=None)
    for runner in observation.runners or ():
        if runner.key is not None and runner.is_working and runner.phase == "resident":
            state = state.note(runner.key, used_at=now, busy_at=now)
    return state, ()


def _is_seen_idle(key: ModelKey, observation: Observation, state: State, now: float) -> bool:
    """Whether a ping without effect, and no request, is why a deadline has not moved for long.

    Who answers somebody is at work at most looks: its process shows that, where it can be seen.
    """
    pinged_at = state.of(key).touched_at
    is_calm = any(
        runner.key == key and runner.phase == "resident" and runner.is_working is False
        for runner in observation.runners or ()
    )
    return is_calm and pinged_at is not None and now - pinged_at > UNMOVED_SECONDS
