"""What a runner found free when it was loaded, as far as looks can tell.

Ollama goes on counting with it as long as the runner lives (ollama-behaviour 4.3), so it decides
who is let in beside it. Looks are seconds apart: what lies between the least and the most that may
have been free is doubt, and both ends are asked (`room`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from warmset.core.control.state import State
from warmset.core.control.strangers import find_key, held_by
from warmset.core.host.budget import if_fresh
from warmset.core.model import DeviceId, Observation, Resident
from warmset.core.replacing import replace

Bytes = Mapping[DeviceId, int]


def sum_up(*parts: Bytes) -> dict[DeviceId, int]:
    """Returns device -> bytes of all parts together."""
    total: dict[DeviceId, int] = {}
    for part in parts:
        for device, count in part.items():
            total[device] = total.get(device, 0) + count
    return total


def find_free(
    row: Resident,
    came: Collection[Resident],
    observation: Observation,
    state: State,
    *,
    asked_at: float | None = None,
) -> tuple[Bytes, Bytes]:
    """Returns the least and the most that was free on each device before a model was loaded.

    Of one that was there before anything is remembered both are what would be free without it now.

    Args:
        row: the model.
        came: whoever came since the look before; those that started after it were not there yet.
        observation: the first look that shows it.
        state: of before that look, but for who left in the meantime.
        asked_at: since when our own preload of it was open; `None`: a client loaded it.
    """
    started = {runner.key: runner.started_at for runner in observation.runners or ()}
    own_start = started.get(row.key)
    others = [other for other in came if other != row]
    later = [o for o in others if own_start is not None and started.get(o.key, 0.0) > own_start]
    doubtful = [o for o in others if own_start is None or o.key not in started]
    low = _free_without((row, *later), observation)
    high = _free_without((row, *later, *doubtful), observation)
    low = _no_more_than_while_it_came(low, row, observation, state)
    low = _no_more_than_after_another(low, row, observation, state)
    low = _less_what_left(low, row, observation, state, asked_at)
    is_own = asked_at is not None
    return _no_more_than_it_took(low, row, observation, is_own=is_own), high


def note_nameless(
    row: Resident,
    came: Collection[Resident],
    observation: Observation,
    state: State,
    *,
    asked_at: float | None = None,
) -> State:
    """Keeps what a runner found whose name was gone before it was there.

    What is remembered of its weights is of an earlier runner. See `find_free` for the rest.
    """
    key = find_key(row, state)
    if key is None:
        return state
    named = replace(row, key=key)
    others = [other for other in came if other != row]
    low, high = find_free(named, others, observation, state, asked_at=asked_at)
    return state.note(key, free_low=low, free_high=high, held=held_by(named, observation))


def _no_more_than_while_it_came(
    free: Bytes, row: Resident, observation: Observation, state: State
) -> Bytes:
    """What was free while it was loading, and all that it took itself, is the most it found then.

    Another program may have held more for that while.
    """
    beside = {} if row.key is None else state.beside_loading.get(row.key, {})
    then = sum_up(beside, held_by(row, observation))
    return {d: min(n, then[d]) if d in beside else n for d, n in free.items()}


def _no_more_than_after_another(
    free: Bytes, row: Resident, observation: Observation, state: State
) -> Bytes:
    """Who came after one that was being loaded at the last look found no more than was free then.

    Ollama loads one after the other, and another program may have held more at that look. One that
    has come and gone since may have taken all of it, and its memory may not have been back.
    """
    others = state.loading.keys() - {row.key}
    if state.looked is None or not others:
        return free
    present = {other.key for other in observation.residents or ()}
    present |= {runner.key for runner in observation.runners or ()}
    if others - present:
        return dict.fromkeys(free, 0)
    then = state.looked.free
    return {device: min(count, then.get(device, count)) for device, count in free.items()}


def _no_more_than_it_took(
    free: Bytes, row: Resident, observation: Observation, *, is_own: bool
) -> Bytes:
    """One that spilled took what it found; whatever more a look showed, it may not have been there.

    Another program may have held the rest for a moment. Or a client wanted few layers on the GPU,
    or none: the list does not say so. The latter is believed of one that would have fitted wholly,
    but not of a load of ours, which leaves the layers to Ollama.
    """
    size, in_vram = row.size_bytes, row.size_vram_bytes
    if not size or in_vram is None or in_vram >= size:
        return free
    if not in_vram and not is_own and size <= sum(free.values()):
        return free
    held = held_by(row, observation)
    return {device: min(count, held.get(device, 0)) for device, count in free.items()}


def _free_without(rows: Collection[Resident], observation: Observation) -> Bytes:
    held = sum_up(*(held_by(row, observation) for row in rows))
    free = {device.id: if_fresh(device.free_bytes).value for device in observation.devices}
    return {
        device: count + held.get(device, 0) for device, count in free.items() if count is not None
    }


def _less_what_left(
    free: Bytes, row: Resident, observation: Observation, state: State, asked_at: float | None
) -> Bytes:
    """What left just before may not have shown as free yet; ours begin when all of that is back.

    0 where the driver did not say. Whose process is hidden may have been loading while all seemed
    at rest.
    """
    is_back = asked_at is not None and (state.freed_at is None or state.freed_at <= asked_at)
    freed = {} if is_back else state.freed
    is_seen = any(runner.key == row.key for runner in observation.runners or ())
    at_rest = state.at_rest if is_seen else {}
    lowest = {device.id: 0 for device in observation.devices}
    for device, count in free.items():
        lowest[device] = min(count - freed.get(device, 0), at_rest.get(device, count))
    return lowest
