"""From what residents hold to observed loads.

Rule: a guess teaches nothing. A load counts where its process is the only one of its model, sits
wholly on GPUs, was counted by the driver in this very look, and was started in a shape that its
command line or the server's own settings tell. Where no driver counts, Ollama's own sum does, as
far as it is a measurement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from warmset.core.footprint.observed import load_key, observe_load
from warmset.core.host.observed import observe_by_device, observe_model, runner_of
from warmset.core.host.runners import Runner
from warmset.core.loads import ObservedLoad
from warmset.core.model import DeviceId, Entry, Observation, Quality, Resident
from warmset.core.ollama.generation import generation_of
from warmset.core.settings import Settings
from warmset.shell.lessons import epoch_of
from warmset.shell.observe import Seen, see
from warmset.shell.started import estimate_as_started, has_extras, shape_as_started
from warmset.shell.wiring import Connection, connect


def learn_from_residents(settings: Settings, environ: Mapping[str, str]) -> str:
    """Looks at the host once, keeps what its residents teach, and returns what to say of it.

    Raises:
        WarmsetError: the host cannot be looked at.
    """
    connection = connect(settings, environ=environ)
    try:
        return keep_lessons(connection, see(connection, settings))
    finally:
        connection.close()


def keep_lessons(connection: Connection, seen: Seen) -> str:
    """Keeps what the residents of a look teach, and returns what to say of it."""
    count = connection.lessons.keep(observe_residents(seen))
    said = f"learnt from {count} load{'' if count == 1 else 's'}"
    trouble = connection.lessons.trouble
    return f"{said}, but not for the next time: {trouble}" if trouble else said


def observe_residents(
    seen: Seen, is_told: Callable[[str, int], bool] = lambda _runner, _bytes: False
) -> Iterator[ObservedLoad]:
    """Yields what each resident model teaches.

    Args:
        seen: one look.
        is_told: whether a runner with so many bytes on its GPUs has nothing more to teach.
    """
    observation = seen.observation
    entries = {entry.key: entry for entry in observation.entries}
    if observation.version is None:
        return
    for resident in observation.residents or ():
        entry = entries.get(resident.key) if resident.key else None
        is_whole = resident.size_bytes == resident.size_vram_bytes
        if entry is None or not is_whole or not resident.size_vram_bytes:
            continue
        runners = [r for r in seen.picture.runners if r.key == entry.key]
        if len(runners) > 1:
            continue  # one may be on its way out or in
        load = _observe(seen, resident, entry, is_told)
        if load is not None:
            yield load


def _observe(
    seen: Seen, resident: Resident, entry: Entry, is_told: Callable[[str, int], bool]
) -> ObservedLoad | None:
    observation, runner = seen.observation, runner_of(seen.picture, resident)
    counts = observe_by_device(seen.picture, resident)
    order = _counted_on(seen, resident)
    if order:
        driver = [counts[device] or 0 for device in order]
    elif _is_told_by_ollama(observation):
        driver = []
    else:
        return None
    name = _name(runner) if runner is not None and driver else ""
    if name and is_told(name, sum(driver)):
        return None
    command = None if runner is None else runner.process.command
    shape = shape_as_started(observation.settings, resident, command)
    if shape is None or (command is not None and has_extras(command, entry)):
        return None
    found = estimate_as_started(observation, resident, entry, shape, gpus=max(1, len(order)))
    if found is None:
        return None
    architecture = str(entry.facts.get("general.architecture"))
    return observe_load(
        found,
        load_key(found, model=entry.key, architecture=architecture, devices=order),
        at=observation.at,
        epoch=epoch_of(seen.survey, observation.version),
        driver_bytes=driver,
        ps_bytes=resident.size_vram_bytes,
        runner=name,
    )


def _is_told_by_ollama(observation: Observation) -> bool:
    """Whether `size_vram` is a measurement of a known GPU: older servers show an estimate there."""
    sizes = [device.total_bytes.value for device in observation.devices]
    is_measured = generation_of(observation.version).runs_llama_server
    return is_measured and len(sizes) == 1 and sizes[0] is not None


def _counted_on(seen: Seen, resident: Resident) -> Sequence[DeviceId]:
    """Returns the GPUs on which the driver counted a resident's process just now."""
    counts = observe_by_device(seen.picture, resident)
    if observe_model(seen.picture, resident).quality is not Quality.EXACT:
        return ()
    return [device.id for device in seen.observation.devices if counts.get(device.id)]


def _name(runner: Runner) -> str:
    return f"{runner.process.pid} {runner.process.started_at:.2f}"
