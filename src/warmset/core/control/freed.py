"""Memory of those who left, until it is back.

The driver gives it back late, and who is loaded before that finds less than is free once it is
seen.

Source: ollama-behaviour 4.3.
"""

from __future__ import annotations

from collections.abc import Sequence

from warmset.core.control.config import Config
from warmset.core.control.found_free import Bytes, sum_up
from warmset.core.control.state import Looked, State
from warmset.core.host.draining import RETURNED_SHARE
from warmset.core.model import ModelKey, Observation, Resident
from warmset.core.replacing import replace


def forget_freed(observation: Observation, config: Config, state: State, now: float) -> State:
    """Forgets what left once it is back, or long ago.

    Whose load began before that counts without it, also when it is there by now.
    """
    freed_at = state.freed_at
    if freed_at is None or is_loading(observation) or state.loading:
        return state
    if now - freed_at > config.loop.settle:
        return replace(state, freed={}, freed_at=None)
    free = {device.id: device.free_bytes.value or 0 for device in observation.devices}
    awaited = state.awaited
    is_back = all(d in awaited and free.get(d, 0) >= awaited[d] for d in state.freed)
    return replace(state, freed={}) if is_back else state


def note_passers(observation: Observation, state: State, now: float) -> State:
    """Whose process was loading at the look before and is gone has come and left unseen.

    What it held is told by its last time; of one that is new here, the whole GPU may have been its.
    """
    if observation.runners is None:
        return state
    alive = {runner.pid for runner in observation.runners}
    totals = {device.id: device.total_bytes.value for device in observation.devices}
    whole = {device: count for device, count in totals.items() if count is not None}
    for key, pid in state.loading.items():
        if pid not in alive:
            freed = sum_up(state.freed, state.of(key).held or whole)
            state = replace(state, freed=freed, freed_at=now, awaited={})  # nobody knows how much
    return state


def held_by_leaver(key: ModelKey, looked: Looked, state: State, *, for_ours: bool) -> Bytes:
    """Returns what a model held at the look before it was gone, as the driver told.

    Of one that left while our own preload was open Ollama's word will do: ours began right then,
    and what it found decides who is let in beside it. Of one on a GPU that the driver did not show
    what is known from before will.
    """
    known = state.of(key).held
    is_hidden = not known.keys() <= looked.free.keys()
    return known if for_ours or is_hidden else looked.held.get(key, {})


def await_memory(left: Sequence[Resident], before: Looked, state: State) -> Bytes:
    """Returns what is free at least once the memory of those who left is back.

    Of those who left before them, too, as long as that is waited for.
    """
    held = sum_up(*(state.of(row.key).held for row in left if row.key is not None))
    back = {device: round(RETURNED_SHARE * count) for device, count in held.items()}
    earlier = state.awaited if state.freed else {}
    return {
        d: max(count, earlier.get(d, 0)) + back.get(d, 0)
        for d, count in before.free.items()
        if d in back or d in earlier
    }


def is_loading(observation: Observation) -> bool:
    """Whether a process was seen that is loading; where processes are hidden none is."""
    return any(runner.phase == "loading" for runner in observation.runners or ())
