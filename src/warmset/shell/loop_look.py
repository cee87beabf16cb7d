"""One look at a host as the loop needs it: with processes and places, and never an exception.

A server that does not answer is not empty, and it is no reason to end either: the look then says
what the trouble is, and nothing is decided on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from warmset.core.host.evidence import Sign
from warmset.core.host.observed import observe_by_device, observe_model
from warmset.core.host.picture import Picture
from warmset.core.host.runners import Phase, Runner
from warmset.core.model import (
    DeviceId,
    HostMemory,
    ModelKey,
    Observation,
    Quality,
    RunnerPhase,
    RunnerSeen,
    ServerProcess,
    unknown,
)
from warmset.core.settings import Settings
from warmset.errors import BackendError
from warmset.shell.installed import Installed
from warmset.shell.learn import observe_residents
from warmset.shell.observe import Seen, see
from warmset.shell.wiring import Connection

_PHASES: Final[Mapping[Phase, RunnerPhase]] = {
    Phase.LOADING: "loading",
    Phase.RESIDENT: "resident",
    Phase.STOPPING: "stopping",
    Phase.UNKNOWN: "unknown",
}
_AT_WORK: Final = (Sign.CPU_TIME, Sign.GPU_TIME)


def look_for_loop(
    connection: Connection,
    settings: Settings,
    before: Picture | None,
    *,
    installed: Installed | None = None,
    learns: bool = False,
    asks_who: bool = False,
) -> tuple[Observation, Picture | None]:
    """Returns what the host says now, and the picture that the next look needs.

    Args:
        connection: the host.
        settings: the operator's word.
        before: the picture of the look before this one.
        installed: what earlier looks were told of models and version.
        learns: keep what the loads seen now teach.
        asks_who: look who is connected to the server, which takes longer.
    """
    try:
        seen = see(connection, settings, before, installed)
    except BackendError as error:
        if installed is not None:
            installed.forget()
        return _no_answer(connection, error), None
    if learns:
        connection.lessons.keep(observe_residents(seen, connection.lessons.has))
    observation = with_processes(seen, has_before=before is not None)
    return replace(observation, clients=connection.clients() if asks_who else None), seen.picture


def with_processes(seen: Seen, *, has_before: bool) -> Observation:
    """Returns the look with the server's processes, and with the bytes that drivers counted.

    Args:
        seen: the look.
        has_before: whether it was joined with an earlier one; only then signs of work are known.
    """
    server = seen.survey.server
    return replace(
        seen.observation,
        server=None
        if server is None
        else ServerProcess(pid=server.pid, started_at=server.started_at),
        runners=_runners(seen, has_before=has_before),
        located=_located(seen),
    )


def _runners(seen: Seen, *, has_before: bool) -> tuple[RunnerSeen, ...] | None:
    ours = [runner for runner in seen.picture.runners if runner.is_ours]
    if seen.survey.server is None and not any(runner.resident for runner in ours):
        return None  # whose they are cannot be told, nor whether there are more
    at_work = {use.key for use in seen.picture.use if use.sign in _AT_WORK}
    return tuple(_runner(runner, at_work if has_before else None) for runner in ours)


def _runner(runner: Runner, at_work: set[ModelKey] | None) -> RunnerSeen:
    is_working = None if at_work is None or runner.key is None else runner.key in at_work
    return RunnerSeen(
        pid=runner.process.pid,
        started_at=runner.process.started_at,
        key=runner.key,
        phase=_PHASES[runner.phase],
        is_working=is_working,
    )


def _located(seen: Seen) -> Mapping[ModelKey, Mapping[DeviceId, int]]:
    """What drivers counted by process; Ollama's own word for it is not that."""
    found: dict[ModelKey, Mapping[DeviceId, int]] = {}
    for resident in seen.observation.residents or ():
        if resident.key is None:
            continue
        if observe_model(seen.picture, resident).quality in (Quality.ESTIMATE, Quality.UNKNOWN):
            continue
        place = observe_by_device(seen.picture, resident)
        counted = {device: count for device, count in place.items() if count is not None}
        if counted:
            found[resident.key] = counted
    return found


def _no_answer(connection: Connection, error: BackendError) -> Observation:
    reason = "Ollama did not answer"
    return Observation(
        at=connection.clock.now(),
        server_url=connection.server.url,
        is_local=connection.is_local,
        version=None,
        entries=(),
        residents=None,
        devices=(),
        memory=HostMemory(
            total_bytes=unknown("none", reason), available_bytes=unknown("none", reason)
        ),
        trouble=error.message,
    )
