"""Where models went that came to several GPUs, read off what is taken on each beyond what was.

A model lies on one GPU as a whole, or over all of them; the driver's context of its process is
there as well. What can be read in one way only is known.

Source: ollama-behaviour 4.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Final

from warmset.core.footprint.overhead import CONTEXT_BYTES, CONTEXT_UPPER_BYTES
from warmset.core.model import DeviceId, ModelKey, Resident
from warmset.core.planner.candidates import split_in_proportion

MOST_COMERS: Final = 3
"""So many are found at once. Our choice: of more it is seldom known which came first."""

Bytes = Mapping[DeviceId, int]


def find_places(
    came: Sequence[Resident], more: Bytes, free: Bytes, noise: Bytes
) -> dict[ModelKey, dict[DeviceId, int]]:
    """Returns where models went; nothing if that has more than one reading, or none.

    More is taken than they hold while another load is under way: they are found when that is over.

    Args:
        came: those that came since.
        more: what is taken on each GPU beyond what was before any of them.
        free: what is free there now.
        noise: how much of that may be something else.
    """
    grown = [device for device, count in more.items() if count > noise[device]]
    if len(came) == 1 and len(grown) == 1:
        size = came[0].size_vram_bytes or 0
        is_there = more[grown[0]] >= size - noise[grown[0]]
        return {weighed_key(came[0]): {grown[0]: size}} if is_there else {}
    if not 1 <= len(came) <= MOST_COMERS:
        return {}
    choices = product((*more, None), repeat=len(came))
    readings = (_read(came, places, more, free, noise) for places in choices)
    fitting = [reading for reading in readings if reading]
    return fitting[0] if len(fitting) == 1 else {}


def _read(
    came: Sequence[Resident],
    places: Sequence[DeviceId | None],
    more: Bytes,
    free: Bytes,
    noise: Bytes,
) -> dict[ModelKey, dict[DeviceId, int]]:
    """Returns what lies where if each went there, `None`: over all; nothing if that cannot be.

    What would have had room on one GPU twice over is not split.
    """
    rest, split = dict(more), [row for row, place in zip(came, places, strict=True) if not place]
    found: dict[ModelKey, dict[DeviceId, int]] = {}
    for row, place in zip(came, places, strict=True):
        if place:
            found[weighed_key(row)] = {place: row.size_vram_bytes or 0}
            rest[place] -= row.size_vram_bytes or 0
    count = {d: sum(place in (d, None) for place in places) for d in rest}
    if len(split) > 1 or any(n < -noise[d] for d, n in rest.items()):
        return {}
    most = {device: CONTEXT_UPPER_BYTES * n + noise[device] for device, n in count.items()}
    if not split:
        return found if all(n <= most[d] for d, n in rest.items()) else {}
    size, together = split[0].size_vram_bytes or 0, sum(rest.values())
    parts = {device: n - CONTEXT_BYTES * count[device] for device, n in rest.items()}
    if max(free[device] + n for device, n in rest.items()) > 2 * size:
        return {}
    if min(parts.values()) <= 0 or not 0 <= together - size <= sum(most.values()):
        return {}
    return found | {weighed_key(split[0]): by_word(split[0], parts)}


def by_word(row: Resident, place: Bytes) -> dict[DeviceId, int]:
    """Returns what Ollama says that a model holds, over the GPUs that it lies on."""
    if not place:
        return {}
    parts = split_in_proportion(row.size_vram_bytes or 0, tuple(place.values()))
    return {device: part for device, part in zip(place, parts, strict=True) if part}


def weighed_key(row: Resident) -> ModelKey:
    """Returns the weights of a row that has some, as all have that are asked about here."""
    assert row.key is not None, "rows without weights are left out"
    return row.key
