"""What residents should hold by their metadata, beside what the driver shows."""

from __future__ import annotations

from warmset.core.footprint import Footprint
from warmset.core.host.attribution import Share
from warmset.core.host.observed import observe_by_device, runner_of
from warmset.core.host.picture import Picture
from warmset.core.host.runners import Phase, Runner
from warmset.core.model import Entry, ModelKey, Observation, Resident
from warmset.shell.observe import Seen
from warmset.shell.started import estimate_as_started, shape_as_started, usual_shape


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


def footprint_of(
    resident: Resident, entry: Entry | None, observation: Observation, picture: Picture
) -> Footprint | None:
    """Returns the footprint of a resident in its present shape, as this host has taught it.

    `None` where the facts for it are missing.
    """
    if entry is None or not entry.facts:
        return None
    runner, settings = runner_of(picture, resident), observation.settings
    command = None if runner is None else runner.process.command
    shape = shape_as_started(settings, resident, command) or usual_shape(settings)
    counts = observe_by_device(picture, resident)
    devices = [device.id for device in observation.devices if device.id in counts]
    gpus = 0 if resident.size_vram_bytes == 0 else max(1, len(devices))
    found = estimate_as_started(observation, resident, entry, shape, gpus=gpus)
    if found is None or not observation.learnt.loads:
        return found
    from warmset.core.footprint.calibrate import calibration_of
    from warmset.core.footprint.observed import load_key

    architecture = str(entry.facts.get("general.architecture"))
    key = load_key(found, model=entry.key, architecture=architecture, devices=devices)
    return calibration_of(observation.learnt).apply(found, key)
