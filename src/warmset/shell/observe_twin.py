"""What the drivers and the process table of a pretended host would say, told by the twin itself.

The same values go through the same judgement as a real host's: a twin's runner is a process with
a runner's command line, and other programs are one process that nobody named.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from warmset.core.host.commands import Command, Role, parse_blob
from warmset.core.host.draining import Leaving
from warmset.core.host.processes import PidSpace, ProcessFacts, ProcessView
from warmset.core.host.readings import GpuProcess, GpuReading, GpuSurvey, MemoryKind
from warmset.core.host.survey import HostSurvey, plain_memory
from warmset.core.model import Device, DeviceId, Reading, ServerSettings, unknown
from warmset.core.ollama.admission import max_loaded
from warmset.core.ollama.types import Gpu
from warmset.core.twin.host import HostSpec, TwinHost
from warmset.core.twin.runner import TwinModel

SOURCE: Final = "twin"
SERVER_PID: Final = 1
FOREIGN_PID: Final = 2
"""Runners of a twin are numbered from 1000."""


def survey_twin(host: TwinHost) -> HostSurvey:
    """Returns all that a twin's machine tells at this moment of its clock."""
    system = host.system_memory()
    processes = _processes(host)
    return HostSurvey(
        memory=plain_memory(
            _exact(system.total_bytes),
            _exact(system.free_bytes),
            reason="a twin has none",
            source=SOURCE,
        ),
        gpus=(GpuSurvey(source=SOURCE, devices=tuple(_read(host, gpu) for gpu in host.spec.gpus)),),
        processes=processes,
        server=processes.processes.get(SERVER_PID),
        settings=settings_of(host.spec),
        system="linux",
        is_twin=True,
        leaving=tuple(_leaving(host)),
    )


def settings_of(spec: HostSpec) -> ServerSettings:
    """Returns how the pretended server was started, as its environment says."""
    known = spec.env.to_settings()
    limit = max_loaded(spec.env.max_loaded_models, len(spec.gpus))
    return replace(known, max_loaded_models=limit)


def _read(host: TwinHost, gpu: Gpu) -> GpuReading:
    free = host.free_bytes(gpu)
    rows = [(pid, host.cards.held_by(pid).get(gpu.device, 0)) for pid in host.cards.holders]
    rows.append((FOREIGN_PID, host.cards.foreign(gpu.device)))
    nothing = "a twin has none"
    return GpuReading(
        device=Device(
            id=DeviceId(gpu.device),
            name=gpu.name,
            library=gpu.library,
            total_bytes=_exact(gpu.total_bytes),
            free_bytes=_exact(free),
            index=int(gpu.id) if gpu.id.isdigit() else None,
            integrated=gpu.integrated,
            compute=f"{gpu.compute_major}.{gpu.compute_minor}",
        ),
        memory_kind=MemoryKind.UNIFIED if gpu.integrated else MemoryKind.DEDICATED,
        used_bytes=_exact(gpu.total_bytes - host.cards.free(gpu.device)),
        reserved_bytes=unknown(SOURCE, nothing),
        processes=Reading(
            value=tuple(
                GpuProcess(pid=pid, used_bytes=count, kinds=frozenset({"compute"}))
                for pid, count in sorted(rows)
                if count
            ),
            source=SOURCE,
        ),
        utilization=unknown(SOURCE, nothing),
    )


def _processes(host: TwinHost) -> ProcessView:
    if not host.is_up:
        return ProcessView(pid_space=PidSpace.HOST)
    models = {runner.pid: runner.model for runner in host.scheduler.loaded.values()}
    outside = {r.pid: r.total_bytes - r.vram_bytes for r in host.scheduler.loaded.values()}
    loading = host.scheduler.loading
    since = {runner.pid: runner.started_at for runner in host.scheduler.loaded.values()}
    found = [
        _process(SERVER_PID, "ollama", Command(role=Role.SERVER, program="ollama"), parent_pid=0),
        _process(FOREIGN_PID, "other programs", Command(role=Role.FOREIGN, program="")),
    ]
    for pid in {*models, *host.cards.holders}:
        model = models.get(pid, loading.model if loading is not None else None)
        began = since.get(pid, host.scheduler.loading_since)
        found.append(
            _process(
                pid,
                "llama-server",
                _command(model),
                started_at=began,
                ram_bytes=outside.get(pid),
            )
        )
    return ProcessView(processes={one.pid: one for one in found}, pid_space=PidSpace.HOST)


def _command(model: TwinModel | None) -> Command:
    is_mlx = model is not None and model.is_mlx
    return Command(
        role=Role.MLX_RUNNER if is_mlx else Role.RUNNER,
        program="llama-server",
        key=None if model is None or is_mlx else parse_blob(model.key),
        model_name=model.name if model is not None and is_mlx else None,
    )


def _process(
    pid: int,
    name: str,
    command: Command,
    *,
    parent_pid: int = SERVER_PID,
    started_at: float | None = None,
    ram_bytes: int | None = None,
) -> ProcessFacts:
    """A twin's RAM is taken for good: it has no page cache."""
    held = None if ram_bytes is None else max(0, ram_bytes)
    return ProcessFacts(
        pid=pid,
        parent_pid=parent_pid,
        name=name,
        command=command,
        started_at=float(pid) if started_at is None else started_at,
        resident_bytes=held,
        anonymous_bytes=held,
    )


def _leaving(host: TwinHost) -> list[Leaving]:
    return [
        Leaving(
            device=DeviceId(gpu.device),
            pid=0,
            name="a model that was unloaded",
            used_bytes=host.cards.draining(gpu.device),
            unattributed_before_bytes=0,
            since=host.timeline.now,
        )
        for gpu in host.spec.gpus
        if host.cards.draining(gpu.device)
    ]


def _exact(count: int) -> Reading[int]:
    return Reading(value=count, source=SOURCE)
