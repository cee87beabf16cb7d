"""What the doctor finds on the machine: drivers, device files, processes, memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from warmset.core.host.processes import PidSpace
from warmset.core.host.readings import (
    DeviceState,
    GpuReading,
    GpuSurvey,
    MemorySurvey,
    Severity,
    Trouble,
)
from warmset.core.host.survey import HostSurvey
from warmset.core.model import Quality
from warmset.core.units import format_bytes, format_count
from warmset.shell.doctor_probe import Health, Probe

DRIVER_NAMES: Final = {"nvml": "NVIDIA", "drm": "AMD and Intel", "sysctl": "Apple", "twin": "twin"}

_HEALTH_OF: Final = {
    Severity.INFO: Health.OK,
    Severity.WARNING: Health.WARN,
    Severity.ERROR: Health.FAIL,
}


def examine_machine(survey: HostSurvey) -> Iterator[Probe]:
    """Yields what drivers, process table and kernel say of the server's machine, if it is seen."""
    if not survey.is_own_address:
        return
    for driver in survey.gpus:
        yield from _driver(driver)
    if not survey.is_twin and survey.system == "linux":
        yield from _device_files()
    yield from _processes(survey)
    yield from _memory(survey.memory)
    if not survey.is_twin:
        yield _limit(survey.memory)


# -- drivers -----------------------------------------------------------------------------------


def _driver(driver: GpuSurvey) -> Iterator[Probe]:
    name = DRIVER_NAMES.get(driver.source, driver.source)
    if not driver.troubles:
        version = f"driver {driver.driver}, " if driver.driver else ""
        yield Probe(
            area="gpu",
            name=name,
            health=Health.OK,
            detail=f"{version}{format_count(len(driver.devices), 'device')}",
        )
    for trouble in driver.troubles:
        yield _of_trouble("gpu", name, trouble)
    for reading in driver.devices:
        yield _device(reading)


def _device(reading: GpuReading) -> Probe:
    device = reading.device
    total, free = device.total_bytes, device.free_bytes
    detail = f"{format_bytes(free.value)} free of {format_bytes(total.value)}"
    if free.quality is not Quality.EXACT:
        detail += f" ({free.quality.value}: {free.reason or free.source})"
    if reading.processes.value is None:
        detail += f"; no process list: {reading.processes.reason}"
    is_read = free.value is not None and reading.state is DeviceState.OK
    return Probe(
        area="gpu",
        name=f"{device.name} ({device.id})",
        health=Health.OK if is_read else Health.UNKNOWN,
        detail=detail,
    )


def _device_files() -> Iterator[Probe]:
    from warmset.adapters.permissions import find_closed, find_device_files

    files, closed = find_device_files(), find_closed()
    for device in closed:
        yield Probe(
            area="gpu",
            name=device.path,
            health=Health.WARN,
            detail=f"may not be opened by this user (group {device.group})",
            hint="its mode shuts out its own group"
            if device.is_member
            else f"sudo usermod -aG {device.group} $USER, then log in again",
        )
    if not closed:
        yield Probe(
            area="gpu",
            name="device files",
            health=Health.OK,
            detail=f"{len(files)} found, all may be opened" if files else "none found",
        )


def _of_trouble(area: str, name: str, trouble: Trouble) -> Probe:
    return Probe(
        area=area,
        name=name,
        health=_HEALTH_OF[trouble.severity],
        detail=trouble.message,
        hint=trouble.hint,
    )


# -- processes and memory ------------------------------------------------------------------------


def _processes(survey: HostSurvey) -> Iterator[Probe]:
    view = survey.processes
    for trouble in view.troubles:
        yield _of_trouble("processes", "process table", trouble)
    server = survey.server
    yield Probe(
        area="processes",
        name="ollama serve",
        health=Health.UNKNOWN if server is None else Health.OK,
        detail="not seen here" if server is None else f"PID {server.pid}",
        hint="" if server else "another container, another machine, or another user's with hidepid",
    )
    is_host = view.pid_space is PidSpace.HOST
    yield Probe(
        area="processes",
        name="PID namespace",
        health=Health.OK if is_host else Health.WARN,
        detail="the host's: PIDs are the driver's"
        if is_host
        else f"{view.pid_space.value}: the driver's PIDs cannot be named from here",
        hint="" if is_host else "run on the host, or with --pid=host",
    )


def _memory(memory: MemorySurvey) -> Iterator[Probe]:
    total, available = memory.memory.total_bytes, memory.memory.available_bytes
    yield Probe(
        area="memory",
        name="RAM",
        health=Health.OK if available.value is not None else Health.FAIL,
        detail=f"{format_bytes(available.value)} available of {format_bytes(total.value)}"
        + (f" ({available.reason})" if available.reason else ""),
    )
    for trouble in memory.troubles:
        if trouble.code != "limit-unknown":  # `_limit` says it
            yield _of_trouble("memory", "pressure", trouble)


def _limit(memory: MemorySurvey) -> Probe:
    if memory.is_limited is None:
        return Probe(
            area="memory",
            name="cgroup limit",
            health=Health.UNKNOWN,
            detail=f"{memory.limit_bytes.reason}; the host's numbers stand, as estimates",
        )
    limit = memory.limit_bytes.value
    detail = "none on the server" if limit is None else f"{format_bytes(limit)} on the server"
    return Probe(area="memory", name="cgroup limit", health=Health.OK, detail=detail)
