"""Residents whose name means other weights now, or nothing: what Ollama remembers of them.

A tag that is pulled anew or deleted leaves its runner resident until its time is up; nobody can
unload it by name. It goes on counting with what was free when it was loaded, and so decides who is
let in beside it. While its name still stood for its weights, that was seen.

Source: ollama-behaviour 3.1 and 4.3; trap 13.
"""

from __future__ import annotations

from collections.abc import Mapping

from warmset.core.control.state import State
from warmset.core.model import DeviceId, ModelKey, Observation, Resident
from warmset.core.planner import Candidate, HostCapacity
from warmset.core.planner.locate import locate_residents, where_told
from warmset.core.planner.worlds import Loaded, views_of


def note_names(observation: Observation, state: State) -> State:
    """Keeps under which manifest each model is listed, and what it holds where.

    The latter stands while the driver neither tells it nor shows the GPUs that the model lay on.
    """
    shown = {device.id for device in observation.devices}
    for row in observation.residents or ():
        if row.key is None:
            continue
        known = state.of(row.key, row.name)
        held = held_by(row, observation)
        if not held or not (observation.located.get(row.key) or known.held.keys() <= shown):
            held = known.held
        if (known.digest, known.held) != (row.manifest_digest, held):
            state = state.note(row.key, row.name, digest=row.manifest_digest, held=held)
    return state


def held_by(row: Resident, observation: Observation) -> Mapping[DeviceId, int]:
    """Returns device -> bytes; where the driver has no word, Ollama's own will do.

    With several GPUs it lies where the planner, too, infers that it lies.
    """
    told = None if row.key is None else observation.located.get(row.key)
    if told or not row.size_vram_bytes:
        return dict(told or {})
    if len(observation.devices) == 1:
        return {observation.devices[0].id: row.size_vram_bytes}
    inferred = locate_residents(observation, where_told(observation)).by_model
    return {} if row.key is None else dict(inferred.get(row.key, {}))


def find_key(row: Resident, state: State) -> ModelKey | None:
    """Returns whose weights a nameless row shows, if its manifest was seen under a name."""
    known = state.models.items()
    return next((key for key, m in known if m.digest == row.manifest_digest != ""), None)


def strangers_beside(state: State, host: HostCapacity) -> tuple[tuple[Loaded, ...], str]:
    """Returns the nameless runners of the last look, and the name of one nothing is known of.

    They hold nothing of what the host has for models, since their bytes count as foreign; what
    they add to a world is what Ollama believes.
    """
    found = []
    for row in state.looked.residents if state.looked else ():
        if row.key is not None:
            continue
        loaded = _loaded(row, state, host)
        if loaded is not None:
            found.append(loaded)
        elif row.size_vram_bytes != 0:
            return (), row.name
    return tuple(found), ""


def _loaded(row: Resident, state: State, host: HostCapacity) -> Loaded | None:
    """Returns a nameless runner as Ollama knows it, found again by its manifest.

    One that lies in RAM since it found too little free reports for all GPUs.
    """
    key = find_key(row, state)
    if key is None:
        return None
    known = state.of(key)
    in_ram = row.size_vram_bytes == 0
    gpus = [gpu for gpu in host.gpus if in_ram or gpu.id in known.held]
    if not gpus or any(gpu.id not in known.free_low for gpu in gpus):
        return None
    views = views_of(
        tuple(gpu.gpu for gpu in gpus),
        tuple(0 if in_ram else known.held[gpu.id] for gpu in gpus),
        tuple(max(0, known.free_low[gpu.id]) for gpu in gpus),
    )
    candidate = Candidate(key=key, name=row.name, names=(row.name,), on_one=None)
    return Loaded(candidate=candidate, upper={}, point={}, ram_bytes=0, views=views)
