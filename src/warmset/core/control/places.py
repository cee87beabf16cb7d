"""On which GPU a resident lies where the driver does not say whose bytes are whose.

`/api/ps` names no GPU, and what is taken on several of them can be explained in more than one way
(`planner.locate`): a guess, which turns over as models come and go. But a runner never moves, and
when it came, more was taken where it went than before. That is seen once, and remembered as long as
it is listed. Whose place was not seen is guessed, and nobody is sent away on a guess.

Source: ollama-behaviour 4.2: a model goes to one GPU as a whole, or over all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from warmset.core.control.placing import Bytes, by_word, find_places, weighed_key
from warmset.core.control.question import GPU_GRAINS
from warmset.core.control.state import Held, State
from warmset.core.footprint.overhead import CONTEXT_UPPER_BYTES
from warmset.core.host.budget import if_fresh
from warmset.core.model import DeviceId, ModelKey, Observation, Resident
from warmset.core.replacing import replace
from warmset.core.units import MINUTE

NOISE_SHARE: Final = 50
"""Where less than this part of a GPU is taken beyond what was, nobody has come. Our choice: the
driver's context and the smallest model take more together."""

LOAD_SECONDS: Final = MINUTE
"""What is taken for longer is no load under way. Our choice: most loads take less."""


def note_places(observation: Observation, state: State, now: float) -> State:
    """Returns the state that knows where those lie who are listed, as far as that was seen.

    Args:
        observation: with residents that are known.
        state: after `restarts.notice`, and before the look is taken in.
        now: the step's time.
    """
    if len(observation.devices) < 2 or _is_told(observation):
        return state
    rows = _rows(observation)
    known: dict[ModelKey, Bytes] = {}
    for key, row in rows.items():
        if key in observation.located:
            known[key] = by_word(row, observation.located[key])
        elif place := _remembered(row, observation, state):
            known[key] = place
    noise = {d.id: (d.total_bytes.value or 0) // NOISE_SHARE for d in observation.devices}
    rest = _unexplained(observation, known)
    if rest is not None and any(count < -noise[device] for device, count in rest.items()):
        known = {key: place for key, place in known.items() if key in observation.located}
        rest = _unexplained(observation, known)  # who was remembered there must have moved
    if rest is None:
        return _keep(known, rows, observation, state)
    before = state.unexplained
    if rest.keys() <= before.keys():
        more = {device: count - before[device].lasting for device, count in rest.items()}
        free = {device.id: device.free_bytes.value or 0 for device in observation.devices}
        found = find_places(_comers(rows, known, state), more, free, noise)
        known |= found
        rest = {d: n - sum(p.get(d, 0) for p in found.values()) for d, n in rest.items()}
        state = _note_contexts(found, rest, state)
    return _keep(known, rows, observation, _note_unexplained(rest, state, now))


def with_places(observation: Observation, state: State) -> Observation:
    """Returns the look with the places that are remembered where the driver has no word."""
    if len(observation.devices) < 2 or _is_told(observation):
        return observation
    rows = _rows(observation).items()
    hidden = ((key, row) for key, row in rows if key not in observation.located)
    placed = {key: place for key, row in hidden if (place := _remembered(row, observation, state))}
    return replace(observation, placed=placed) if placed else observation


def _is_told(observation: Observation) -> bool:
    """Whether the driver says of all residents where they lie."""
    rows = {row.key for row in observation.residents or ()}
    return bool(rows) and rows <= observation.located.keys()


def _rows(observation: Observation) -> dict[ModelKey, Resident]:
    """Returns those that hold something on GPUs, as far as their weights have a name."""
    named = ((row.key, row) for row in observation.residents or ())
    return {key: row for key, row in named if key is not None and row.size_vram_bytes}


def _remembered(row: Resident, observation: Observation, state: State) -> Bytes:
    """Returns where it was seen to go; nothing if that was another load of it."""
    place = state.of(weighed_key(row)).place
    sizes = {device.id: device.total_bytes.value or 0 for device in observation.devices}
    if not place or not place.keys() <= sizes.keys():
        return {}
    grain = min(sizes.values()) // GPU_GRAINS
    is_same = abs(sum(place.values()) - (row.size_vram_bytes or 0)) <= grain
    return by_word(row, place) if is_same else {}


def _unexplained(
    observation: Observation, known: Mapping[ModelKey, Bytes]
) -> dict[DeviceId, int] | None:
    """Returns what is taken on each GPU beside those whose place is known; `None`: not readable."""
    rest = {}
    for device in observation.devices:
        total, free = device.total_bytes.value, if_fresh(device.free_bytes).value
        if total is None or free is None or device.free_bytes.age_seconds > 0:
            return None
        held = (observation.located.get(key, place) for key, place in known.items())
        rest[device.id] = total - free - sum(place.get(device.id, 0) for place in held)
    return rest


def _comers(
    rows: Mapping[ModelKey, Resident], known: Mapping[ModelKey, Bytes], state: State
) -> list[Resident]:
    """Returns who came since more is taken than was, as far as it is not known where."""
    rises = (held.more_since for held in state.unexplained.values())
    since = min((at for at in rises if at is not None), default=math.inf)
    return [
        row
        for key, row in rows.items()
        if key not in known
        and (state.of(key).place or (state.of(key).resident_since or math.inf) >= since)
    ]


def _note_contexts(found: Mapping[ModelKey, Bytes], rest: Bytes, state: State) -> State:
    """What comers hold beyond Ollama's word, the driver's context, is there as long as they are."""
    unexplained = dict(state.unexplained)
    for device, count in rest.items():
        comers = sum(device in place for place in found.values())
        held = unexplained[device]
        beyond = max(0, min(count - held.lasting, CONTEXT_UPPER_BYTES * comers))
        if comers:
            unexplained[device] = Held(lasting=held.lasting + beyond)
    return replace(state, unexplained=unexplained)


def _note_unexplained(rest: Bytes, state: State, now: float) -> State:
    """Keeps what was taken before the load that may be under way now."""
    running = state.orders.running
    is_loading = running is not None and running.stage == "preload"
    unexplained = {}
    for device, count in rest.items():
        known = state.unexplained.get(device)
        if known is None or count <= known.lasting:
            known = Held(lasting=count)
        elif known.more_since is None:
            known = replace(known, more=count, more_since=now)
        elif now - known.more_since < LOAD_SECONDS or is_loading:
            known = replace(known, more=min(count, known.more))
        else:
            known = Held(lasting=min(count, known.more))
        unexplained[device] = known
    return replace(state, unexplained=unexplained)


def _keep(
    known: Mapping[ModelKey, Bytes],
    rows: Mapping[ModelKey, Resident],
    observation: Observation,
    state: State,
) -> State:
    """Returns the state with these places and no others, but for GPUs that are not shown now."""
    here = {device.id for device in observation.devices}
    for key in {*state.models, *known}:
        was = state.of(key).place
        place = known.get(key, {})
        if key in rows and not place and not was.keys() <= here:
            continue
        if place != was:
            state = state.note(key, rows[key].name if key in rows else "", place=place)
    return state
