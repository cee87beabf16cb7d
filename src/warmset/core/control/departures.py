"""Models on their way out: unloaded by warmset, not confirmed yet.

An unload is done when `/api/ps` no longer lists the model *and* the driver shows its memory, or
has had time enough. Until then nobody else is sent away for want of room, and nothing is loaded.

Source: ollama-behaviour 3.7.
"""

from __future__ import annotations

from typing import Final

from warmset.core.control.actions import Finding, Severity
from warmset.core.control.state import Leaving, State
from warmset.core.control.strangers import find_key
from warmset.core.host.draining import (
    OS_MANAGED_PATIENCE_SECONDS,
    PATIENCE_SECONDS,
    RETURNED_SHARE,
)
from warmset.core.model import ModelKey, Observation, Resident
from warmset.core.replacing import replace
from warmset.core.units import MINUTE, format_seconds

UNLOAD_SECONDS: Final = 2 * MINUTE
"""An unload that has not happened by then is not waited for. Our choice: Ollama unloads one after
the other, up to 5 s each, and a busy model only after its last request."""


def confirm_departures(
    observation: Observation, state: State, now: float
) -> tuple[State, tuple[Finding, ...]]:
    """Returns the state without the departures that are complete, or that never were."""
    listed = _list_all(observation, state)
    slow = any(device.integrated for device in observation.devices)
    patience = OS_MANAGED_PATIENCE_SECONDS if slow else PATIENCE_SECONDS
    waiting: list[Leaving] = []
    found = []
    for leaving in state.leaving:
        if leaving.key in listed and leaving.gone_at is not None:
            text = "gone, and somebody has loaded it again"
            found.append(_finding("unloaded", leaving, text, Severity.NOTE))
            continue
        if leaving.key in listed:
            is_ignored = _is_ignored(observation, listed[leaving.key])
            if now - leaving.since <= UNLOAD_SECONDS:
                waiting.append(replace(leaving, is_ignored=is_ignored))
                continue
            state = _note_stayed(state, leaving) if is_ignored else state
            text = f"still resident {format_seconds(now - leaving.since)} after its unload"
            found.append(_finding("unload_without_effect", leaving, text, Severity.WARNING))
            continue
        gone_at = leaving.gone_at
        if gone_at is None:  # who serves somebody unseen goes long after its unload
            gone_at = now
            note = _note_taken if leaving.is_ignored else _note_gone
            state = note(state, leaving, now)
        if now - gone_at < patience and not _is_back(observation, leaving):
            waiting.append(replace(leaving, gone_at=gone_at))
            continue
        text = f"gone, its memory is back after {format_seconds(now - leaving.since)}"
        if not _is_back(observation, leaving):
            text = f"gone; its memory is not back after {format_seconds(now - leaving.since)}"
        found.append(_finding("unloaded", leaving, text, Severity.NOTE))
    return replace(state, leaving=tuple(waiting)), tuple(found)


def _note_gone(state: State, leaving: Leaving, now: float) -> State:
    """Its time away begins now, and so does that of what it counts for as flutter."""
    cycles = state.of(leaving.key).cycles
    moved = tuple(now if at == leaving.since else at for at in cycles)
    return state.note(leaving.key, leaving.name, unloaded_at=now, cycles=moved)


def _note_taken(state: State, leaving: Leaving, now: float) -> State:
    """Its unload did nothing, and then somebody else took it away."""
    state = _note_stayed(state, leaving)
    return state.note(leaving.key, leaving.name, lost_at=now, lost_to="", comes_back=False)


def _note_stayed(state: State, leaving: Leaving) -> State:
    """An unload that did nothing is no flutter; the next one may be."""
    cycles = tuple(at for at in state.of(leaving.key).cycles if at != leaving.since)
    return state.note(leaving.key, leaving.name, cycles=cycles, preloaded_at=leaving.preloaded_at)


def _list_all(observation: Observation, state: State) -> dict[ModelKey, Resident]:
    """Returns whose weights are resident, those included whose name was deleted since."""
    rows = ((row.key or find_key(row, state), row) for row in observation.residents or ())
    return {key: row for key, row in rows if key is not None}


def _is_ignored(observation: Observation, row: Resident) -> bool:
    """Whether an unload did nothing so far.

    The deadline of one that is to go, once it is idle, is over (ollama-behaviour 2.5).
    """
    return row.expires_at is None or row.expires_at > observation.at


def _is_back(observation: Observation, leaving: Leaving) -> bool:
    """Whether every device shows most of the bytes as free; what is not known is not back."""
    free = {device.id: device.free_bytes.value for device in observation.devices}
    if not leaving.held:
        return False
    for device, count in leaving.held.items():
        now_free, before = free.get(device), leaving.free_before.get(device)
        if now_free is None or before is None or now_free - before < RETURNED_SHARE * count:
            return False
    return True


def _finding(kind: str, leaving: Leaving, text: str, severity: Severity) -> Finding:
    return Finding(kind=kind, key=leaving.key, name=leaving.name, text=text, severity=severity)
