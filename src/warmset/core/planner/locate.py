"""Where the residents are, as far as the host tells: bytes per GPU for each.

`/api/ps` names no GPU. On a host with one GPU there is nothing to find out; with several, and
without the driver's own word, the place is inferred from what is taken on each GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from warmset.core.footprint.shape import read_shape
from warmset.core.model import DeviceId, Entry, ModelKey, Observation, Resident
from warmset.core.ollama.types import WeightsFile
from warmset.core.planner.candidates import split_in_proportion
from warmset.errors import FactsError


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """The residents' bytes.

    Attributes:
        by_model: model -> device -> bytes; an empty inner mapping: in RAM.
        on_device: device -> bytes of models that the planner may move.
        strangers: residents that the planner cannot weigh, since no installed entry stands for
            them or its metadata cannot be read; they are left alone, their bytes are foreign.
    """

    by_model: Mapping[ModelKey, Mapping[DeviceId, int]]
    on_device: Mapping[DeviceId, int]
    strangers: int = 0
    notes: tuple[str, ...] = ()


def where_told(observation: Observation) -> dict[ModelKey, Mapping[DeviceId, int]]:
    """Returns model -> device -> bytes of those of whom it is known: by the driver, or as seen."""
    return {**observation.placed, **observation.located}


def guessed(observation: Observation) -> frozenset[ModelKey]:
    """Returns the residents of which nobody knows on which of several GPUs they lie."""
    if len(observation.devices) < 2:
        return frozenset()
    told = where_told(observation)
    rows = observation.residents or ()
    return frozenset(
        row.key
        for row in rows
        if row.key is not None and row.size_vram_bytes and row.key not in told
    )


def locate_residents(
    observation: Observation, told: Mapping[ModelKey, Mapping[DeviceId, int]]
) -> Located:
    """Returns where each resident is: as told, else inferred, the largest first.

    An inferred model goes to the GPU with the most bytes not yet explained; one that is larger than
    what is unexplained on any GPU lies over all of them.
    """
    entries = {entry.key: entry for entry in observation.entries}
    residents = observation.residents or ()
    unexplained = _taken(observation)
    by_model: dict[ModelKey, Mapping[DeviceId, int]] = {}
    notes = []
    if observation.residents is None:
        notes.append("what is resident is not known: the plan starts from nothing")
    ours = [(r, r.key) for r in residents if r.key is not None and r.key in entries]
    for resident, key in ours:
        if key in told:
            is_in_ram = resident.size_vram_bytes == 0 and not any(told[key].values())
            by_model[key] = {} if is_in_ram else dict(told[key])
            _explain(unexplained, told[key])
    for resident, key in sorted(ours, key=lambda pair: _largest_first(pair[0])):
        if key in by_model:
            continue
        by_model[key] = _infer(resident, unexplained)
        _explain(unexplained, by_model[key])
        if by_model[key] and len(unexplained) > 1:
            notes.append(f"the GPU of {resident.name} is inferred from what is taken on each")
    # What lies on one GPU can be weighed by the bytes it holds, the rest only by its metadata.
    by_model = {
        k: place for k, place in by_model.items() if len(place) == 1 or is_readable(entries[k])
    }
    on_device: dict[DeviceId, int] = {}
    for place in by_model.values():
        for device, count in place.items():
            on_device[device] = on_device.get(device, 0) + count
    return Located(
        by_model=by_model,
        on_device=on_device,
        strangers=len(residents) - len(by_model),
        notes=tuple(notes),
    )


def is_readable(entry: Entry) -> bool:
    """Returns whether an entry's metadata is enough to weigh it in any shape."""
    if WeightsFile.of_entry(entry) is None:
        return False
    try:
        read_shape(entry.facts)
    except FactsError:
        return False
    return True


def _explain(unexplained: dict[DeviceId, int], place: Mapping[DeviceId, int]) -> None:
    for device, count in place.items():
        unexplained[device] = unexplained.get(device, 0) - count


def _infer(resident: Resident, unexplained: Mapping[DeviceId, int]) -> dict[DeviceId, int]:
    size = resident.size_vram_bytes or 0
    if not unexplained or size == 0:
        return {}
    device = max(unexplained, key=lambda d: unexplained[d])
    if len(unexplained) == 1 or unexplained[device] >= size:
        return {device: size}
    parts = split_in_proportion(size, tuple(max(0, b) for b in unexplained.values()))
    return dict(zip(unexplained, parts, strict=True))


def _taken(observation: Observation) -> dict[DeviceId, int]:
    """Returns the bytes taken on each GPU; where that is not known, nothing is taken for sure."""
    taken = {}
    for device in observation.devices:
        total, free = device.total_bytes.value, device.free_bytes.value
        taken[device.id] = 0 if total is None or free is None else total - free
    return taken


def _largest_first(resident: Resident) -> tuple[int, str]:
    return (-(resident.size_vram_bytes or 0), resident.name)
