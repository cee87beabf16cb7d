"""From what residents hold to observed loads, and from those to a host's calibration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import warmset
from warmset.core.footprint import estimate_footprint
from warmset.core.footprint.calibrate import Calibration
from warmset.core.footprint.observed import ObservedLoad, load_key, observe_load
from warmset.core.host.observed import observe_by_device, observe_model
from warmset.core.model import Entry, Quality, Resident
from warmset.core.ollama.context import slots
from warmset.core.ollama.types import WeightsFile
from warmset.errors import FactsError
from warmset.shell.observe import Seen


def epoch_of(seen: Seen, engine: str) -> str:
    """Returns the combination that loads are learnt for: engine, drivers, and this estimator."""
    drivers = sorted({f"{s.source} {s.driver}" for s in seen.survey.gpus if s.driver})
    return "; ".join((engine, *drivers, f"warmset {warmset.__version__}"))


def engine_of(seen: Seen) -> str:
    """Returns the engine of a host as estimates take it."""
    version = seen.observation.version
    return f"ollama-{version}" if version else "ollama"


def observations_path(environ: Mapping[str, str], url: str) -> Path:
    """Returns where the observed loads of a host are kept.

    Raises:
        ConfigError: the state folder named in the environment cannot be used.
    """
    from warmset.adapters.journal import state_folder
    from warmset.adapters.observations import FILE_NAME

    return state_folder(environ, url) / FILE_NAME


def calibration_of(seen: Seen, engine: str, environ: Mapping[str, str]) -> Calibration:
    """Returns what the loads kept for a host teach about the next one; reads only."""
    from warmset.adapters.observations import read_loads

    loads = read_loads(observations_path(environ, seen.observation.server_url))
    return Calibration(loads, epoch_of(seen, engine))


def observe_residents(seen: Seen) -> tuple[ObservedLoad, ...]:
    """Returns what each resident model teaches; none for those partly in RAM or not counted."""
    entries = {entry.key: entry for entry in seen.observation.entries}
    found = []
    for resident in seen.observation.residents or ():
        entry = entries.get(resident.key) if resident.key else None
        load = None if entry is None else _observe(seen, resident, entry)
        if load is not None:
            found.append(load)
    return tuple(found)


def keep_residents(seen: Seen, environ: Mapping[str, str]) -> tuple[int, str]:
    """Keeps what the residents teach, each measurement once.

    Returns:
        How many were new, and why they will not be there next time; empty if they will.

    Raises:
        ConfigError: the state folder cannot be made.
    """
    from warmset.adapters.journal import make_folder
    from warmset.adapters.observations import Observations

    path = observations_path(environ, seen.observation.server_url)
    make_folder(path.parent)
    with Observations(path) as store:
        known = {_measurement(load) for load in store.loads()}
        fresh = [load for load in observe_residents(seen) if _measurement(load) not in known]
        for load in fresh:
            store.add(load)
        return len(fresh), store.trouble


def _measurement(load: ObservedLoad) -> tuple[object, ...]:
    return (load.epoch, load.key, load.driver_bytes, load.ps_bytes)


def _observe(seen: Seen, resident: Resident, entry: Entry) -> ObservedLoad | None:
    observation = seen.observation
    file, whole = WeightsFile.of_entry(entry), resident.size_bytes == resident.size_vram_bytes
    if file is None or resident.context is None or not whole:
        return None
    counts = observe_by_device(seen.picture, resident)
    is_counted = observe_model(seen.picture, resident).quality is Quality.EXACT
    order = [d.id for d in observation.devices if counts.get(d.id)] if is_counted else []
    settings = observation.settings
    try:
        footprint = estimate_footprint(
            entry.facts,
            num_ctx=resident.context,
            num_parallel=slots(file, settings.num_parallel or 1, completes=not entry.is_embedding),
            kv_type=settings.kv_cache_type or "f16",
            flash_attn=settings.flash_attention,
            gpus=max(1, len(order)),
            engine=engine_of(seen),
            tensors=entry.tensors,
            file_bytes=file.file_bytes,
            projector_bytes=entry.projector_bytes,
            adapter_bytes=entry.adapter_bytes,
        )
    except FactsError:
        return None
    architecture = str(entry.facts.get("general.architecture"))
    return observe_load(
        footprint,
        load_key(footprint, model=entry.key, architecture=architecture, devices=order),
        at=observation.at,
        epoch=epoch_of(seen, engine_of(seen)),
        driver_bytes=[counts[device] or 0 for device in order],
        ps_bytes=resident.size_vram_bytes,
    )
