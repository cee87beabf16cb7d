"""Breaks in the story: another server, another clock, a state from long ago.

After a break the look before proves nothing about the look now. What was learnt from differences
is forgotten; what was learnt of fights and load times stays.
"""

from __future__ import annotations

from typing import Final

from warmset.core.control.actions import Finding
from warmset.core.control.config import Config
from warmset.core.control.outcomes import forget_leases
from warmset.core.control.state import Held, State
from warmset.core.model import DeviceId, Observation
from warmset.core.replacing import replace
from warmset.core.units import format_seconds

Result = tuple[State, tuple[Finding, ...]]

STEP_SECONDS: Final = 2.0
"""A clock that moved further against the steady one was set. Our choice: NTP slews far less."""

GAP_TICKS: Final = 12
"""After a pause of so many ticks the look before is too old to compare with. Our choice."""


def notice(observation: Observation, config: Config, state: State, now: float) -> Result:
    """Returns the state that fits this server and this moment, and the breaks that were found."""
    found: list[Finding] = []
    for part in (_notice_time, _notice_clock, _notice_server, _notice_gpus):
        state, news = part(observation, config, state, now)
        found += news
    return state, tuple(found)


def _notice_time(observation: Observation, config: Config, state: State, now: float) -> Result:
    del observation
    if not state.at:
        return state, ()
    if now < state.at:
        kept = {
            key: replace(
                type(known)(name=known.name), slot=known.slot, load_seconds=known.load_seconds
            )
            for key, known in state.models.items()
        }
        state = replace(State(orders=state.orders, base=state.base, models=kept, raised={}), at=0.0)
        text = "the saved state is from the future: only ranks and load times are kept of it"
        return state, (_about("state_from_future", text),)
    if now - state.at > GAP_TICKS * config.loop.tick:
        text = f"no look for {format_seconds(now - state.at)}: nothing is inferred from the last"
        others = {device: Held(lasting=held.lasting) for device, held in state.others.items()}
        state = replace(
            forget_leases(state), looked=None, leaving=(), others=others, unexplained={}
        )
        state = _count_residency_anew(state, now)
        return state, (_about("look_gap", text),)
    return state, ()


def _count_residency_anew(state: State, now: float) -> State:
    """Whose process is hidden may have left and come again while nobody looked: no longer ago."""
    for key, known in state.models.items():
        if known.resident_since is not None and known.pid is None:
            state = state.note(key, resident_since=now, leased_at=None)
    return state


def _notice_clock(observation: Observation, config: Config, state: State, now: float) -> Result:
    del config
    offset, last = observation.at - now, state.clock_offset
    state = replace(state, clock_offset=offset)
    if last is None or abs(offset - last) <= STEP_SECONDS:
        return state, ()
    text = f"the clock was set by {format_seconds(offset - last)}: deadlines are learnt anew"
    state = _keep_unmoved(observation, state, offset - last)
    state = replace(forget_leases(state), looked=None)
    return state, (_about("clock_stepped", text, seconds=offset - last),)


def _keep_unmoved(observation: Observation, state: State, jump: float) -> State:
    """Goes on knowing whose deadline our last ping did not move: they serve somebody still.

    A deadline may be told by the old clock or by the new one.
    """
    for row in observation.residents or ():
        unmoved = None if row.key is None else state.of(row.key).unmoved
        if row.key is None or unmoved is None or row.expires_at is None:
            continue
        moved = row.expires_at - unmoved
        is_same = min(abs(moved), abs(moved - jump)) < STEP_SECONDS
        state = state.note(row.key, unmoved=row.expires_at if is_same else None)
    return state


def _notice_server(observation: Observation, config: Config, state: State, now: float) -> Result:
    del config
    seen, last = observation.server, state.server
    version, last_version = observation.version, state.server_version
    found = []
    if seen is not None and last is not None and seen != last:
        state = _begin_anew(observation, state, now)
        text = f"Ollama was started anew: PID {seen.pid} after {last.pid}"
        found.append(_about("server_restarted", text, pid=seen.pid))
    if version and last_version and version != last_version:
        state = _begin_anew(observation, state, now)
        text = f"Ollama is {version} now, it was {last_version}"
        found.append(_about("server_changed", text, version=version))
    state = replace(state, server=seen or last, server_version=version or last_version)
    return state, tuple(found)


def _begin_anew(observation: Observation, state: State, now: float) -> State:
    """Whoever is resident on a server that is new was loaded by somebody, and more may follow."""
    state = forget_runners(state, now)
    if not observation.residents:
        return state
    names = ", ".join(row.name for row in observation.residents)
    return replace(state, load_seen_at=now, load_why=f"{names} came on a server that is new")


def _notice_gpus(observation: Observation, config: Config, state: State, now: float) -> Result:
    """A server counts with the GPUs that it found at its start, whatever the driver shows now.

    One whose process is hidden is the same as long as somebody is resident who was before; but that
    the driver showed us no GPU at first says nothing of what the server found.
    """
    del config, now
    is_hidden = observation.server is None
    rows = observation.residents or ()
    stays = any(r.key is not None and state.of(r.key).resident_since is not None for r in rows)
    if state.gpus is None or (is_hidden and not (stays and state.gpus)):
        return replace(state, gpus=gpu_ids(observation)), ()
    return state, ()


def gpu_ids(observation: Observation) -> tuple[DeviceId, ...]:
    """Returns the identities of the GPUs of a look, in a fixed order."""
    return tuple(sorted(device.id for device in observation.devices))


def _about(kind: str, text: str, **basis: float | str) -> Finding:
    return Finding(kind=kind, key=None, name="", text=text, basis=basis)


def forget_runners(state: State, now: float) -> State:
    """Returns the state after every runner is known to be gone: of another server, all is new.

    What they held may be on its way back still.
    """
    state = forget_leases(state)
    models = {
        key: replace(
            known,
            leased_at=None,
            pid=None,
            resident_since=None,
            foreign=None,
            busy_at=None,
            lost_at=None,
            preloaded_at=None,
            place={},
        )
        for key, known in state.models.items()
    }
    return replace(
        state,
        models=models,
        looked=None,
        leaving=(),
        load_seen_at=None,
        load_why="",
        freed_at=now,
        loading={},
        stuck_since=None,
        moved_at=None,
        gpus=None,
        unexplained={},
    )
