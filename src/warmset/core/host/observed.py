"""What a resident model really holds, as the drivers count it.

Rule: zero is said only where every driver listed its processes and the model's runner is known
and in none of the lists. Everything else that is not counted is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from warmset.core.host.attribution import Attribution, Owner, Share
from warmset.core.host.picture import Picture
from warmset.core.host.runners import Runner
from warmset.core.model import DeviceId, Quality, Reading, Resident, unknown

_ORDER: Final = (Quality.EXACT, Quality.ESTIMATE, Quality.STALE)


def runner_of(picture: Picture, resident: Resident) -> Runner | None:
    """Returns the process that serves a row of `/api/ps`, `None` if it is not visible."""
    same = next((r for r in picture.runners if r.resident is resident), None)
    return same or next((r for r in picture.runners if r.resident == resident), None)


def observe_by_device(picture: Picture, resident: Resident) -> Mapping[DeviceId, int | None]:
    """Returns device -> bytes of a resident model; `None` where it is there and not counted."""
    found: dict[DeviceId, int | None] = {}
    pid = _pid_of(picture, resident)
    for device, attribution in picture.attributions.items():
        counts = [share.used_bytes for share in _shares(attribution, resident, pid)]
        if counts:
            known = [count for count in counts if count is not None]
            found[device] = sum(known) if len(known) == len(counts) else None
    return found


def observe_model(picture: Picture, resident: Resident) -> Reading[int]:
    """Returns the bytes of GPU memory that a resident model holds on all devices."""
    if not picture.attributions:
        return unknown("driver", "no GPU is read here")
    pid = _pid_of(picture, resident)
    found = [
        (share, attribution)
        for attribution in picture.attributions.values()
        for share in _shares(attribution, resident, pid)
    ]
    if not found:
        return _absent(picture, resident)
    if any(share.used_bytes is None for share, _ in found):
        return unknown("driver", "the driver counts no bytes for its process")
    qualities = [share.quality for share, _ in found]
    ages = [attribution.taken.age_seconds for _, attribution in found]
    is_reported = Quality.ESTIMATE in qualities
    return Reading(
        value=sum(share.used_bytes or 0 for share, _ in found),
        source="/api/ps" if is_reported else found[0][1].taken.source,
        quality=max(qualities, key=_ORDER.index),
        age_seconds=max(ages),
        reason="the driver counts no bytes by process; this is Ollama's word"
        if is_reported
        else "",
    )


def _pid_of(picture: Picture, resident: Resident) -> int | None:
    runner = runner_of(picture, resident)
    return runner.process.pid if runner else None


def _shares(attribution: Attribution, resident: Resident, pid: int | None) -> tuple[Share, ...]:
    return tuple(share for share in attribution.shares if _is_of(share, resident, pid))


def _is_of(share: Share, resident: Resident, pid: int | None) -> bool:
    """By process where both are known: a model that is being reloaded has two of one key."""
    if share.owner is not Owner.MODEL:
        return False
    if share.pid is not None and pid is not None:
        return share.pid == pid
    return share.key is not None and share.key == resident.key


def _absent(picture: Picture, resident: Resident) -> Reading[int]:
    runner = runner_of(picture, resident)
    if runner is None:
        return unknown("driver", "its process is not visible here")
    unread = [a for a in picture.attributions.values() if not a.is_listed]
    if unread:
        return unknown("driver", "a driver gave no list of processes")
    return Reading(value=0, source="driver")
