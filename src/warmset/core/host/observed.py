"""What a resident model really holds, as the drivers count it.

Rule: zero is said only where every driver listed its processes and the model's runner is known
and in none of the lists. Everything else that is not counted is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from warmset.core.host.picture import Held, Picture
from warmset.core.host.runners import Runner
from warmset.core.model import DeviceId, Quality, Reading, Resident, unknown

_ORDER: Final = (Quality.EXACT, Quality.ESTIMATE, Quality.STALE)


def runner_of(picture: Picture, resident: Resident) -> Runner | None:
    """Returns the process that serves a row of `/api/ps`, `None` if it is not visible."""
    return picture.runner_of.get((resident.name, resident.manifest_digest))


def observe_by_device(picture: Picture, resident: Resident) -> Mapping[DeviceId, int | None]:
    """Returns device -> bytes of a resident model; `None` where it is there and not counted."""
    found: dict[DeviceId, int | None] = {}
    for device, share in _held(picture, resident):
        before, count = found.get(device, 0), share.used_bytes
        found[device] = None if before is None or count is None else before + count
    return found


def observe_model(picture: Picture, resident: Resident) -> Reading[int]:
    """Returns the bytes of GPU memory that a resident model holds on all devices."""
    if not picture.attributions:
        return unknown("driver", "no GPU is read here")
    found = _held(picture, resident)
    if not found:
        return _absent(picture, resident)
    if any(share.used_bytes is None for _, share in found):
        return unknown("driver", "the driver counts no bytes for its process")
    qualities = [share.quality for _, share in found]
    taken = [picture.attributions[device].taken for device, _ in found]
    is_reported = Quality.ESTIMATE in qualities
    return Reading(
        value=sum(share.used_bytes or 0 for _, share in found),
        source="/api/ps" if is_reported else taken[0].source,
        quality=max(qualities, key=_ORDER.index),
        age_seconds=max(reading.age_seconds for reading in taken),
        reason="the driver counts no bytes by process; this is Ollama's word"
        if is_reported
        else "",
    )


def _held(picture: Picture, resident: Resident) -> Held:
    """By process where both are known: a model that is being reloaded has two of one key."""
    runner = runner_of(picture, resident)
    named = () if resident.key is None else picture.held_by_key.get(resident.key, ())
    if runner is None:
        return named
    own = picture.held_by_pid.get(runner.process.pid, ())
    return (*own, *(held for held in named if held[1].pid is None))


def _absent(picture: Picture, resident: Resident) -> Reading[int]:
    runner = runner_of(picture, resident)
    if runner is None:
        return unknown("driver", "its process is not visible here")
    unread = [a for a in picture.attributions.values() if not a.is_listed]
    if unread:
        return unknown("driver", "a driver gave no list of processes")
    return Reading(value=0, source="driver")
