"""What a warmset beside a pretended Ollama can see of it, and not more.

The list of residents, the installed models, the driver's bytes, the process table. No queue, no
request counts, no keep-alive durations: Ollama shows none of these.
"""

from __future__ import annotations

from dataclasses import replace

from warmset.core.loads import Learnt
from warmset.core.model import (
    FOREVER,
    Device,
    DeviceId,
    Entry,
    HostMemory,
    ModelKey,
    Observation,
    Reading,
    Resident,
    RunnerPhase,
    RunnerSeen,
    ServerProcess,
)
from warmset.core.ollama.admission import max_loaded
from warmset.core.ollama.types import Gpu
from warmset.core.twin.host import TwinHost
from warmset.core.twin.library import InstalledModel

CENTURY_SECONDS = 100 * 365 * 86400.0
"""Later deadlines mean "for ever". Source: ollama-behaviour 2.5."""


def observe_twin(
    host: TwinHost,
    *,
    clock_ahead: float = 0.0,
    sees_processes: bool = True,
    answers_ps: bool = True,
    entries: tuple[Entry, ...] | None = None,
    learnt: Learnt | None = None,
) -> Observation:
    """Returns one look at a twin.

    Args:
        host: the twin.
        clock_ahead: how far the wall clock was set ahead of the twin's steady time.
        sees_processes: whether process table and driver can be read; else a remote look.
        answers_ps: whether `/api/ps` answers in time.
        entries: what is installed, from an earlier look at the same library; `None`: look again.
        learnt: what earlier looks at the host taught.
    """
    at = host.timeline.now + clock_ahead
    memory = host.system_memory()
    if entries is None:
        entries = list_entries(host)
    return Observation(
        at=at,
        server_url=f"twin://{host.spec.name}",
        is_local=sees_processes,
        version=host.spec.version if host.is_up else None,
        entries=entries if host.is_up else (),
        residents=list_residents(host, clock_ahead) if host.is_up and answers_ps else None,
        devices=tuple(_device(host, gpu) for gpu in host.spec.gpus),
        memory=HostMemory(
            total_bytes=_exact(memory.total_bytes), available_bytes=_exact(memory.free_bytes)
        ),
        settings=replace(
            host.env.to_settings(),
            max_loaded_models=max_loaded(host.env.max_loaded_models, len(host.spec.gpus)),
        ),
        server=ServerProcess(pid=1, started_at=float(host.starts)) if sees_processes else None,
        runners=_runners(host) if sees_processes else None,
        located=_located(host) if sees_processes else {},
        trouble="" if host.is_up else "connection refused",
        learnt=learnt or Learnt(),
    )


def list_entries(host: TwinHost) -> tuple[Entry, ...]:
    """Returns the installed models, one entry per weights."""
    by_key: dict[str, list[InstalledModel]] = {}
    for model in host.library.models():
        if not model.remote_host:
            by_key.setdefault(model.key, []).append(model)
    return tuple(_entry(models) for models in by_key.values())


def _entry(models: list[InstalledModel]) -> Entry:
    first = models[0]
    contexts = {m.name: m.parameters.get("num_ctx") for m in models}
    gpus = {m.name: m.parameters.get("main_gpu") for m in models}
    return Entry(
        key=ModelKey(first.key),
        names=tuple(sorted(m.name for m in models)),
        manifest_digests={m.name: m.digest for m in models},
        file_bytes=first.weights.size_bytes,
        size_bytes=first.size_bytes,
        format=first.format,
        family=first.family,
        parameter_size=first.parameter_size,
        quantization=first.quantization,
        capabilities=frozenset(first.capabilities),
        facts=first.weights.facts,
        tensors=first.weights.tensors or None,
        modelfile_num_ctx={n: c for n, c in contexts.items() if isinstance(c, int)},
        modelfile_main_gpu={n: g for n, g in gpus.items() if isinstance(g, int)},
        basis="twin",
    )


def list_residents(host: TwinHost, clock_ahead: float = 0.0) -> tuple[Resident, ...]:
    """Returns the rows of `/api/ps`, matched with what is installed now."""
    known = {model.digest: model.key for model in host.library.models()}
    rows = []
    for row in host.residents():
        is_endless = row.expires_at - host.timeline.now > CENTURY_SECONDS
        key = known.get(row.model.digest)
        rows.append(
            Resident(
                name=row.model.name,
                manifest_digest=row.model.digest,
                key=None if key is None else ModelKey(key),
                size_bytes=row.runner.total_bytes,
                size_vram_bytes=row.runner.vram_bytes,
                context=row.runner.shape.options.num_ctx,
                expires_at=FOREVER if is_endless else row.expires_at + clock_ahead,
            )
        )
    return tuple(rows)


def _device(host: TwinHost, gpu: Gpu) -> Device:
    return Device(
        id=DeviceId(gpu.device),
        name=gpu.name,
        library=gpu.library,
        total_bytes=_exact(gpu.total_bytes),
        free_bytes=_exact(host.free_bytes(gpu)),
        index=int(gpu.id) if gpu.id.isdigit() else None,
        integrated=gpu.integrated,
        compute=f"{gpu.compute_major}.{gpu.compute_minor}",
    )


def _runners(host: TwinHost) -> tuple[RunnerSeen, ...]:
    loaded = {r.pid: r for r in host.scheduler.loaded.values() if r.is_alive}
    order = host.scheduler.loading
    seen = []
    for pid in sorted({*loaded, *host.cards.holders}):
        runner = loaded.get(pid)
        phase: RunnerPhase = "resident" if runner is not None else "loading"
        model = runner.model if runner is not None else order.model if order else None
        seen.append(
            RunnerSeen(
                pid=pid,
                started_at=float(pid),
                key=None if model is None else ModelKey(model.key),
                phase=phase,
                is_working=runner is not None and runner.refs > 0,
            )
        )
    return tuple(seen)


def _located(host: TwinHost) -> dict[ModelKey, dict[DeviceId, int]]:
    return {
        ModelKey(runner.model.key): {
            DeviceId(device): count for device, count in host.cards.held_by(runner.pid).items()
        }
        for runner in host.scheduler.loaded.values()
    }


def _exact(count: int) -> Reading[int]:
    return Reading(value=count, source="twin")
