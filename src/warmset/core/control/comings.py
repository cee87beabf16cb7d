"""Who left since the last look and why, and who came: users' loads told from our own."""

from __future__ import annotations

from collections.abc import Sequence

from warmset.core.control.actions import Finding, Preload, Severity
from warmset.core.control.config import Config
from warmset.core.control.found_free import find_free, note_nameless, sum_up
from warmset.core.control.freed import (
    await_memory,
    forget_freed,
    held_by_leaver,
    is_loading,
    note_passers,
)
from warmset.core.control.overruled import resident_pids
from warmset.core.control.state import State
from warmset.core.control.strangers import find_key
from warmset.core.control.stuck import ANSWER_SECONDS
from warmset.core.control.vanished import early_leavers, list_gone, list_nameless, row_id
from warmset.core.model import ModelKey, Observation, Resident
from warmset.core.replacing import replace
from warmset.core.units import format_bytes

Result = tuple[State, tuple[Finding, ...]]


def notice_leavers(observation: Observation, config: Config, state: State, now: float) -> Result:
    """Sorts those who left into ours, expired and pushed out."""
    rows = observation.residents or ()
    looked, state = state.looked, note_passers(observation, state, now)
    if looked is None:
        return _forget_unseen(rows, state), ()
    state = forget_freed(observation, config, state, now)
    before = looked.residents
    ours = frozenset(leaving.key for leaving in state.leaving)
    early = early_leavers(before, rows, wall_at=observation.at, ours=ours)
    found = []
    departed = list_gone(before, rows)
    if departed:
        state = replace(state, awaited=await_memory(departed, looked, state))
    for row in departed:
        if row.key is None:
            continue
        name, own = row.name, _open_preload(state)
        freed = sum_up(
            state.freed, held_by_leaver(row.key, looked, state, for_ours=own is not None)
        )
        state = _forget_runner(replace(state, freed=freed, freed_at=now), row.key, name)
        if row.key in ours:
            continue
        if row in early and own is not None:
            cause, rival = "own_preload", own.name
            why = f"pushed out while our own preload of {own.name} is open"
        elif row in early:
            cause, rival = "displaced", _rival(row.key, observation, state)
            why = f"pushed out{' for ' + rival if rival else ''}, or unloaded by somebody"
            state = replace(state, load_seen_at=now, load_why=f"{name} left before its time")
        else:
            cause, rival, why = "expired", "its keep-alive", "its keep-alive ran out"
        state = state.note(row.key, name, lost_at=now, lost_to=rival)
        left = Finding(kind="model_left", key=row.key, name=name, text=why, basis={"cause": cause})
        found.append(left)
    return state, tuple(found)


def _forget_runner(state: State, key: ModelKey, name: str) -> State:
    """What was known of a runner that is gone says nothing of the next one."""
    return state.note(
        key,
        name,
        pid=None,
        resident_since=None,
        lease=None,
        leased_at=None,
        foreign=None,
        is_overruled=False,
    )


def _forget_unseen(rows: Sequence[Resident], state: State) -> State:
    """Those who left while nobody looked, or could compare, were lost after the last look."""
    listed = {row.key for row in rows}
    for key, known in state.models.items():
        if known.resident_since is not None and key not in listed:
            state = _forget_runner(state, key, known.name).note(key, lost_at=state.at, lost_to="")
    return state


def notice_rivals(observation: Observation, config: Config, state: State, now: float) -> Result:
    """Names what came for the room of those that left when nobody could be seen yet."""
    if state.looked is None:
        return state, ()
    found = []
    for key, known in state.models.items():
        is_recent = known.lost_at is not None and now - known.lost_at < config.loop.calm
        if not is_recent or known.lost_to or known.resident_since is not None:
            continue
        rival = _rival(key, observation, state)
        if rival:
            state = state.note(key, lost_to=rival)
            text = f"it had to make room for {rival}"
            found.append(Finding(kind="pushed_out", key=key, name=known.name, text=text))
    return state, tuple(found)


def _open_preload(state: State) -> Preload | None:
    """Returns our own preload that may have pushed somebody out since the last look.

    One whose model was listed by then had all its room, though its answer is still to come.
    """
    running, looked = state.orders.running, state.looked
    order = None if running is None else running.order
    if not isinstance(order, Preload):
        return None
    listed = {row.key for row in looked.residents} if looked else set()
    return None if order.key in listed else order


def _rival(key: ModelKey, observation: Observation, state: State) -> str:
    """Returns the name of what was loaded or is being loaded since the last look, if anything.

    Who is loaded again itself, with another context for one, made room for nobody else. Nor did it
    for a preload of ours that began once it had left.
    """
    before = {row_id(row) for row in state.looked.residents} if state.looked else set()
    running, lost_at = state.orders.running, state.of(key).lost_at
    others = {key}
    if running is not None and lost_at is not None and running.since >= lost_at:
        others.add(running.order.key)
    rows = (row for row in observation.residents or () if row.key not in others)
    new = [row.name for row in rows if row_id(row) not in before]
    loading = [
        observation.name_of(runner.key) or runner.key
        for runner in observation.runners or ()
        if runner.phase == "loading" and runner.key is not None and runner.key not in others
    ]
    return ", ".join((*loading, *new))


def notice_comers(observation: Observation, config: Config, state: State, now: float) -> Result:
    """Tells models that users loaded from our own preloads, and checks the latter."""
    earlier = state.looked.residents if state.looked else ()
    before, nameless = {row_id(row) for row in earlier}, list_nameless(earlier)
    is_first = state.looked is None
    pids, shown = resident_pids(observation), {r.key for r in observation.runners or ()}
    came = [
        row
        for row in observation.residents or ()
        if row_id(row) not in before or _is_late_known(row, state)
    ]
    found: list[Finding] = []
    at_first = state
    for row in came:
        if row.key is None:  # deleted or pulled anew while it was loaded
            if not is_first:
                state, told = _came_nameless(row, came, observation, state, now)
                found += told
            continue
        known = state.of(row.key, row.name)
        is_dead = observation.runners is not None and row.key not in shown  # a new one would show
        is_same = is_dead or known.pid in (None, pids.get(row.key))
        if is_first and known.resident_since is not None and is_same:
            continue  # a break in the story, not a new runner: what it remembers stands
        if row_id(row) in nameless and known.free_low:  # its name is back: the same runner
            state = state.note(row.key, row.name, resident_since=now)
            continue
        is_another = is_first and known.resident_since is not None  # than the one that was there
        is_ours = _is_own_load(state, row.key) and not (known.was_there or is_another)
        asked_at = _asked_at(state, row.key) if is_ours else None
        low, high = find_free(row, came, observation, at_first, asked_at=asked_at)
        since = known.resident_since if is_ours and known.resident_since is not None else now
        state = state.note(
            row.key,
            row.name,
            resident_since=since,
            free_low=low,
            free_high=high,
            lost_at=None if not is_ours else known.lost_at,
            comes_back=False,
            preloaded_at=known.preloaded_at if is_ours else None,
            leased_at=None if known.lease is None else known.leased_at,
        )
        if is_ours:
            found.append(_verified(row, observation))
        elif not is_first:
            state, news = _came(state, row, observation, now)
            found.append(news)
    return _missing_preloads(observation, state, found, now, patience=2 * config.loop.tick)


def _is_late_known(row: Resident, state: State) -> bool:
    """Whether it is known only now whose weights a row has: the list of models is read rarely."""
    return row.key is not None and state.of(row.key).resident_since is None


def _came(
    state: State, row: Resident, observation: Observation, now: float
) -> tuple[State, Finding]:
    """Somebody loaded a model: more loads may follow."""
    why = f"somebody loaded {row.name}"
    state = replace(state, load_seen_at=now, load_why=why)
    if not is_loading(observation):
        state = replace(state, freed={}, freed_at=None)
    text = "loaded by a client"
    return state, Finding(kind="model_came", key=row.key, name=row.name, text=text)


def _came_nameless(
    row: Resident, came: Sequence[Resident], observation: Observation, state: State, now: float
) -> Result:
    """Whether it is our own load, whose name got other weights meanwhile, the next look tells."""
    running, own = state.orders.running, _open_preload(state)
    known = find_key(row, state)
    is_ours = own is not None and own.name == row.name and known in (None, own.key)
    asked_at = running.since if running is not None and is_ours else None
    state = note_nameless(row, came, observation, state, asked_at=asked_at)
    if is_ours and running is not None:
        running = replace(running, listed_since=now)
        return replace(state, orders=replace(state.orders, running=running)), ()
    state, news = _came(state, row, observation, now)
    return state, (news,)


def _is_own_load(state: State, key: ModelKey) -> bool:
    own = _open_preload(state)
    if own is not None and own.key == key:
        return True
    looked_at = state.looked.at if state.looked else state.at
    preloaded = state.of(key).preloaded_at
    return preloaded is not None and preloaded >= looked_at - ANSWER_SECONDS


def _asked_at(state: State, key: ModelKey) -> float | None:
    """Returns when our preload that loaded a model was sent."""
    running = state.orders.running
    if running is not None and running.order.key == key:
        return running.since
    known = state.of(key)
    return None if known.preloaded_at is None else known.preloaded_at - (known.load_seconds or 0.0)


def _missing_preloads(
    observation: Observation,
    state: State,
    found: list[Finding],
    now: float,
    *,
    patience: float,
) -> Result:
    """A preload that was answered with success and is not there had no effect.

    If that was a while ago, it was pushed out before anybody looked.
    """
    listed = {row.key for row in observation.residents or ()}
    for key, known in state.models.items():
        since = known.preloaded_at
        if since is None or key in listed or state.looked is None or since < state.looked.at:
            continue
        if now - since > patience:
            state = _forget_runner(state, key, known.name).note(key, preloaded_at=None, lost_at=now)
            why = f"{known.name} left before anybody saw it"
            state = replace(state, load_seen_at=now, load_why=why)
            left = Finding(kind="model_left", key=key, name=known.name, text=why)
            found.append(replace(left, basis={"cause": "displaced"}))
            continue
        text = "the server said loaded, and it is not resident"
        state = state.note(key, resident_since=None, lease=None, preloaded_at=None, lost_at=now)
        found.append(
            Finding(
                kind="preload_without_effect",
                key=key,
                name=known.name,
                text=text,
                severity=Severity.WARNING,
            )
        )
    return state, tuple(found)


def _verified(row: Resident, observation: Observation) -> Finding:
    held = observation.located.get(row.key) if row.key else None
    count = sum(held.values()) if held else row.size_vram_bytes
    spilled = (row.size_bytes or 0) - (row.size_vram_bytes or 0)
    is_spilled = row.size_bytes is not None and spilled > 0 and bool(observation.devices)
    text = f"resident with {format_bytes(count)} on GPUs"
    return Finding(
        kind="preload_spilled" if is_spilled else "preload_verified",
        key=row.key,
        name=row.name,
        text=text + (f", {format_bytes(spilled)} in RAM" if is_spilled else ""),
        severity=Severity.WARNING if is_spilled else Severity.NOTE,
        basis={"vram_bytes": count, "spilled_bytes": spilled if is_spilled else 0},
    )
