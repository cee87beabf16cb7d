"""Twin hosts and demand from files: what `twin://FILE.toml` and `--demand TRACE` stand for."""

from __future__ import annotations

import csv
import gzip
import io
import math
import zlib
from dataclasses import replace
from pathlib import Path

from warmset.core.catalogue import known_model
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.types import Gpu
from warmset.core.twin.demand import PATTERNS, Arrival, generate_demand
from warmset.core.twin.host import HostSpec
from warmset.core.twin.hosts import RELEASE_LAG_SECONDS, installed, named_host
from warmset.core.twin.library import InstalledModel
from warmset.errors import TraceError

MAX_TRACE_BYTES = 256 << 20


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
    return read_trace(Path(name).expanduser(), models)


def read_trace(path: Path, models: tuple[str, ...]) -> tuple[Arrival, ...]:
    """Returns the requests of a trace: columns `t`, `model`, `duration_s`, `t` ascending.

    Names that the host does not have are dealt out to the host's models in the order of their
    first appearance, so that any trace can live on any host.

    Raises:
        TraceError: naming file, line and value of what is wrong.
    """
    arrivals: list[Arrival] = []
    dealt: dict[str, str] = {name: name for name in models}
    strangers = 0
    before = 0.0
    for number, row in enumerate(csv.DictReader(io.StringIO(_trace_text(path))), start=2):
        at, seconds = _number(row, "t", path, number), _number(row, "duration_s", path, number)
        name = row.get("model") or ""
        if not name:
            raise TraceError(f"{path}:{number}: model is missing")
        if at < before:
            raise TraceError(f"{path}:{number}: t = {at} comes after {before}; sort the trace")
        before = at
        if name not in dealt:
            dealt[name] = models[strangers % len(models)]
            strangers += 1
        arrivals.append(Arrival(at=at, model=dealt[name], seconds=seconds))
    return tuple(arrivals)


def _trace_text(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(MAX_TRACE_BYTES + 1)
        if len(raw) > MAX_TRACE_BYTES:
            raise TraceError(f"{path}: longer than {MAX_TRACE_BYTES >> 20} MiB")
        text = raw.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: cannot be read as a trace: {error}") from error
    header = text.partition("\n")[0].strip()
    if not {"t", "model", "duration_s"} <= set(header.split(",")):
        raise TraceError(
            f'{path}:1: columns "{header[:80]}"; a trace has t,model,duration_s',
            hint="See the README on traces.",
        )
    return text


def _number(row: dict[str, str], key: str, path: Path, line: int) -> float:
    try:
        value = float(row[key])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise TraceError(f"{path}:{line}: {key} = {row.get(key)!r}: seconds of 0 or more expected")
    return value
