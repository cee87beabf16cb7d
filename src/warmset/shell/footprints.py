"""What residents should hold by their metadata, beside what the driver shows."""

from __future__ import annotations

from warmset.core.footprint import Footprint, estimate_footprint
from warmset.core.host.attribution import Share
from warmset.core.host.observed import observe_by_device
from warmset.core.host.picture import Picture
from warmset.core.host.runners import Phase, Runner
from warmset.core.model import Entry, ModelKey, Observation, Resident
from warmset.errors import FactsError
from warmset.shell.observe import Seen


def entry_of(resident: Resident, seen: Seen) -> Entry | None:
    """Returns the installed model of a row of `/api/ps`, `None` if it is gone or pulled anew."""
    entries = seen.observation.entries
    return next((e for e in entries if resident.key and e.key == resident.key), None)


def name_runner(runner: Runner, seen: Seen) -> str | None:
    """Returns the model that a runner serves, by the name people know; `None` if none is known."""
    if runner.resident is not None:
        return runner.resident.name
    return _name_key(runner.key, seen) or runner.process.command.model_name or runner.key


def name_share(share: Share, seen: Seen) -> str:
    """Returns the owner of bytes by the name people know: a model's, where it is installed."""
    is_resident = share.phase is Phase.RESIDENT  # then it bears the name of the tag that was asked
    return share.name if is_resident else _name_key(share.key, seen) or share.name


def _name_key(key: ModelKey | None, seen: Seen) -> str | None:
    return next((e.name for e in seen.observation.entries if key and e.key == key), None)


def estimate_resident(resident: Resident, entry: Entry | None, seen: Seen) -> int | None:
    """Returns the estimated VRAM of a resident in its present shape, if it can be told."""
    found = footprint_of(resident, entry, seen.observation, seen.picture)
    return None if found is None else found.vram_bytes


def footprint_of(
    resident: Resident, entry: Entry | None, observation: Observation, picture: Picture
) -> Footprint | None:
    """Returns the estimated footprint of a resident in its present shape, if it can be told."""
    if entry is None or resident.context is None or not entry.facts:
        return None
    settings = observation.settings
    gpus = max(1, len(observe_by_device(picture, resident)))
    try:
        return estimate_footprint(
            entry.facts,
            num_ctx=resident.context,
            num_parallel=1 if entry.is_embedding else settings.num_parallel or 1,
            kv_type=settings.kv_cache_type or "f16",
            gpus=0 if resident.size_vram_bytes == 0 else gpus,
            tensors=entry.tensors,
            file_bytes=entry.file_bytes,
            projector_bytes=entry.projector_bytes,
            adapter_bytes=entry.adapter_bytes,
        )
    except FactsError:
        return None
