"""One look at a host, everything asked at the same time: the slowest answer sets the wait.

What cannot be read is named in the notes and left unknown; only an Ollama that does not answer
at all is an error, since nothing can be said of a host without it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from warmset.core.host.commands import Role
from warmset.core.host.picture import Picture, draw_picture
from warmset.core.host.ram import available_after_models
from warmset.core.host.survey import HostSurvey
from warmset.core.host.vantage import Sight, Vantage
from warmset.core.host.visible import VARIABLE, visible_devices
from warmset.core.model import Device, DeviceId, Entry, Observation, Resident, unknown
from warmset.core.settings import Settings, merge_server
from warmset.errors import BackendError, BackendTimeout, Unreachable
from warmset.shell.installed import Installed
from warmset.shell.lessons import epoch_of
from warmset.shell.wiring import Connection, connect


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look at a host: what the decision needs, and all that stands behind it.

    Attributes:
        sight: From where the look was taken, and what it therefore may be used for.
        picture: Whose bytes are where, which runner is in which phase, who is at work.
    """

    observation: Observation
    survey: HostSurvey
    sight: Sight
    picture: Picture


def observe(connection: Connection, settings: Settings) -> Observation:
    """Returns what the host says now.

    Raises:
        Unreachable: nothing listens at the server's address.
        BackendError: the list of installed models cannot be had.
    """
    return see(connection, settings).observation


def see(
    connection: Connection,
    settings: Settings,
    before: Picture | None = None,
    installed: Installed | None = None,
) -> Seen:
    """Returns what the host says now, and the picture that follows from it.

    Args:
        connection: The host.
        settings: The operator's word.
        before: The picture of an earlier look, from which stopping runners, bytes on their way
            back and most signs of use follow.
        installed: What earlier looks of the same loop were told; `None`: the server is asked.

    Raises:
        Unreachable: nothing listens at the server's address.
        BackendError: the list of installed models cannot be had.
    """
    installed = installed or Installed()
    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="observe") as pool:
        surveyed = pool.submit(connection.survey)
        if installed.is_due:
            version = pool.submit(connection.server.version)
            entries = connection.server.entries()
            installed.learn(entries, _version(version))
        entries, told = installed.entries, installed.version
        survey = surveyed.result()
        residents, notes = _residents(connection, entries)  # after the processes, or they race
        installed.check(residents, survey.server)
        at = connection.clock.now()
        sight = survey.sight(is_server_seen=is_server_seen(survey, residents))
        picture = draw_picture(
            survey.gpus,
            survey.processes,
            residents,
            at=at,
            server_pid=survey.server.pid if survey.server else None,
            before=before,
            leaving=survey.leaving,
            is_same_machine=sight.vantage is not Vantage.UNCONFIRMED,
        )
        devices = _devices(connection, survey, residents)
        observation = Observation(
            at=at,
            server_url=connection.server.url,
            is_local=connection.is_local,
            version=told,
            entries=entries,
            residents=residents,
            devices=devices,
            memory=replace(
                survey.memory.memory,
                available_bytes=available_after_models(survey.memory.memory, picture),
            ),
            settings=merge_server(settings.server, survey.settings),
            notes=(
                *connection.notes,
                *notes,
                *_sight_notes(sight),
                *_device_notes(survey, devices),
                *connection.lessons.notes,
            ),
            learnt=connection.lessons.learnt(
                [d.id for d in devices],
                epoch_of(survey, told),
                counts_gaps=settings.loop.uses_gaps,
            ),
        )
    return Seen(observation=observation, survey=survey, sight=sight, picture=picture)


def _devices(
    connection: Connection, survey: HostSurvey, residents: tuple[Resident, ...] | None
) -> tuple[Device, ...]:
    """Returns the server's GPUs; one of unknown size where it has some that cannot be read here."""
    found = tuple(reading.device for reading in survey.readings)
    environment = survey.server.environment if survey.server else None
    devices = visible_devices(found, environment or {})
    broken = [t for each in survey.gpus if not each.devices for t in each.troubles]
    reasons = [trouble.message for trouble in broken if trouble.blocks_loads]
    uses_gpu = any(resident.size_vram_bytes for resident in residents or ())
    if not found and (uses_gpu or not connection.is_local):
        reasons.append("the server's GPUs cannot be read from here")
    return (*devices, *(_unseen(reason) for reason in reasons[:1]))


def _unseen(reason: str) -> Device:
    """Returns what stands for GPUs that nobody can count: without it a host would have none."""
    return Device(
        id=DeviceId("unseen"),
        name="GPUs of the server",
        library="unknown",
        total_bytes=unknown("none", reason),
        free_bytes=unknown("none", reason),
    )


def is_server_seen(survey: HostSurvey, residents: tuple[Resident, ...] | None) -> bool:
    """The server's own process is visible, or a runner of a model that the server lists."""
    keys = {resident.key for resident in residents or ()} - {None}
    runners = survey.processes.of_role(Role.RUNNER)
    return survey.server is not None or any(r.command.key in keys for r in runners)


def look(settings: Settings) -> Observation:
    """Returns what the host that the settings name says now.

    Raises:
        WarmsetError: the host cannot be reached, or its address is wrong.
    """
    return look_closely(settings).observation


def look_closely(settings: Settings, environ: Mapping[str, str] = os.environ) -> Seen:
    """Returns what the host says now, and whose bytes are where.

    Args:
        settings: they name the host.
        environ: names the folder of what earlier loads taught.

    Raises:
        WarmsetError: the host cannot be reached, or its address is wrong.
    """
    connection = connect(settings, environ=environ)
    try:
        return see(connection, settings)
    finally:
        connection.close()


def _residents(
    connection: Connection, entries: tuple[Entry, ...]
) -> tuple[tuple[Resident, ...] | None, tuple[str, ...]]:
    """A list that does not come is unknown, never empty."""
    try:
        return connection.server.residents(entries), ()
    except Unreachable:
        raise
    except BackendTimeout:
        return None, ("resident models unknown: /api/ps did not answer in time",)
    except BackendError as error:
        return None, (f"resident models unknown: {error.message}",)


def _version(answer: Future[str]) -> str | None:
    try:
        return answer.result()
    except BackendError:
        return None  # /api/tags answered, so the server is there; the version only tunes rules


def _sight_notes(sight: Sight) -> tuple[str, ...]:
    """From where one cannot see everything is said; a remote server has a note of its own."""
    if sight.vantage is Vantage.REMOTE or not sight.blind_spots:
        return ()
    return (sight.reason,)


def _device_notes(survey: HostSurvey, devices: Sequence[Device]) -> tuple[str, ...]:
    if not survey.is_own_address:
        return ("the server is another machine: its GPUs and RAM cannot be read from here",)
    kept = {device.id for device in devices}
    hidden = (r.device for r in survey.readings if r.device.id not in kept)
    notes = tuple(
        f"{d.name} ({d.id}) is hidden from Ollama by {VARIABLE}"
        for d in hidden
        if d.library == "CUDA"
    )
    if not devices:
        return (*notes, "no GPU found: models run on the CPU")
    unread = (d for d in devices if d.total_bytes.value is None or d.free_bytes.value is None)
    return (
        *notes,
        *(
            f"{d.name}: {d.free_bytes.reason or d.total_bytes.reason or 'memory unknown'}"
            for d in unread
        ),
    )
