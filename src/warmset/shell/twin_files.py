"""Twin hosts and demand from files: what `twin://FILE.toml` and `--demand TRACE` stand for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from warmset.core.catalogue import known_model
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.types import Gpu
from warmset.core.twin.demand import PATTERNS, Arrival, generate_demand
from warmset.core.twin.host import HostSpec
from warmset.core.twin.hosts import RELEASE_LAG_SECONDS, installed, named_host
from warmset.core.twin.library import InstalledModel
from warmset.shell.trace_files import read_trace


def find_host(name: str) -> HostSpec:
    """Returns a named host, or the one that a `.toml` file describes.

    Raises:
        ConfigError: there is no such host, or the file is wrong.
    """
    if not name.endswith(".toml"):
        return named_host(name)
    from warmset.adapters.config.hostfile import load_host_file

    said = load_host_file(Path(name).expanduser())
    gpus: list[Gpu] = []
    foreign: dict[str, int] = {}
    for kind in said.gpus:
        for _ in range(kind.count):
            index = sum(gpu.library == kind.library for gpu in gpus)
            gpu = Gpu(
                library=kind.library,
                id=str(index),
                total_bytes=kind.memory_bytes,
                free_bytes=kind.memory_bytes,
                integrated=kind.integrated,
                name=kind.name,
            )
            gpus.append(gpu)
            foreign[gpu.device] = kind.foreign_bytes
    return HostSpec(
        name=said.name,
        gpus=tuple(gpus),
        system_total_bytes=said.ram_bytes,
        models=tuple(_model(m.name, m.like, m.file_bytes) for m in said.models),
        env=ServerEnv.from_environ(said.env),
        foreign_bytes=foreign,
        release_lag_seconds=RELEASE_LAG_SECONDS if gpus else 0.0,
    )


def _model(name: str, like: str, file_bytes: int | None) -> InstalledModel:
    known = known_model(like)
    size = known.file_bytes if file_bytes is None else file_bytes
    return installed(replace(known, name=name, file_bytes=size))


def find_demand(
    name: str, models: tuple[str, ...], *, hours: float, seed: int
) -> tuple[Arrival, ...]:
    """Returns the demand of a pattern, or of a trace file (`.csv`, `.csv.gz`).

    Raises:
        ConfigError: there is no such pattern.
        TraceError: the trace is malformed.
    """
    if name in PATTERNS or not name.endswith((".csv", ".csv.gz")):
        return generate_demand(name, models, hours=hours, seed=seed)
    return deal_trace(Path(name).expanduser(), models)


def deal_trace(path: Path, models: tuple[str, ...]) -> tuple[Arrival, ...]:
    """Returns the requests of a trace for the models of a host.

    Names that the host does not have are dealt out to its models in the order of their first
    appearance, so that any trace can live on any host.

    Raises:
        TraceError: naming file, line and value of what is wrong.
    """
    arrivals: list[Arrival] = []
    dealt: dict[str, str] = {name: name for name in models}
    strangers = 0
    for row in read_trace(path).requests():
        if row.model not in dealt:
            dealt[row.model] = models[strangers % len(models)]
            strangers += 1
        arrivals.append(Arrival(at=row.at, model=dealt[row.model], seconds=row.seconds))
    return tuple(arrivals)
