"""Trace files: CSV or CSV.GZ with the columns `t,model,duration_s`, `t` ascending.

`NAME.models.json` beside `NAME.csv.gz` gives each model's `bytes` and `load_s`; without it the
names have to mean something to the host that the trace is replayed on.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from warmset.bounded import read_bounded
from warmset.core.demand.trace import Request, Trace
from warmset.core.policy import ModelCost
from warmset.errors import TraceError

MAX_TRACE_BYTES: Final = 256 << 20
MAX_MODELS_BYTES: Final = 16 << 20
COLUMNS: Final = ("t", "model", "duration_s")


def is_trace_file(name: str) -> bool:
    """Whether a word means a trace file and not the name of a pattern."""
    return name.endswith((".csv", ".csv.gz"))


def read_trace(path: Path) -> Trace:
    """Returns a trace; a missing duration counts as no time at all.

    Raises:
        TraceError: naming file, line and value of what is wrong.
    """
    requests: list[Request] = []
    before = 0.0
    for number, row in enumerate(csv.DictReader(io.StringIO(_text(path))), start=2):
        at, seconds = _number(row, "t", path, number), _number(row, "duration_s", path, number)
        name = row.get("model") or ""
        if not name:
            raise TraceError(f"{path}:{number}: model is missing")
        if at < before:
            raise TraceError(f"{path}:{number}: t = {at} comes after {before}; sort the trace")
        before = at
        requests.append(Request(at, name, seconds))
    return Trace.of(requests)


def write_trace(path: Path, trace: Trace) -> None:
    """Writes a trace, compressed if the name ends in `.gz`, whole or not at all.

    Times are written to the millisecond; equal traces make equal files.

    Raises:
        TraceError: the file cannot be written, or its name is no trace's.
    """
    if not is_trace_file(path.name):
        raise TraceError(f"{path}: a trace is a .csv or .csv.gz file", hint=f"{path}.csv.gz")
    rows = trace_lines(trace).encode("utf-8")
    body = gzip.compress(rows, mtime=0) if path.suffix == ".gz" else rows
    write_whole(path, body)


def trace_lines(trace: Trace) -> str:
    """Returns a trace as CSV text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for at, model, seconds in zip(trace.times, trace.models, trace.seconds, strict=True):
        writer.writerow((f"{at:.3f}", model, f"{seconds:.3f}"))
    return out.getvalue()


def models_path(path: Path) -> Path:
    """Returns where the sizes of a trace's models stand."""
    stem = path.name.removesuffix(".gz").removesuffix(".csv")
    return path.with_name(f"{stem}.models.json")


def read_models(path: Path) -> dict[str, ModelCost] | None:
    """Returns the sizes and load times beside a trace, `None` if there is no such file.

    Raises:
        TraceError: it is there and makes no sense.
    """
    beside = models_path(path)
    if not beside.exists():
        return None
    try:
        content = read_bounded(beside, limit_bytes=MAX_MODELS_BYTES)
        if len(content) > MAX_MODELS_BYTES:
            raise ValueError(f"larger than {MAX_MODELS_BYTES >> 20} MiB")  # noqa: TRY301 - told below
        rows = json.loads(content)["models"]
        return {name: _cost(beside, name, row) for name, row in rows.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise TraceError(
            f"{beside}: cannot be read: {error}",
            hint='it holds {"models": {"NAME": {"bytes": 5000000000, "load_s": 4.0}}}',
        ) from error


def write_models(path: Path, models: Mapping[str, ModelCost]) -> None:
    """Writes the sizes and load times beside a trace.

    Raises:
        TraceError: the file cannot be written.
    """
    rows = {k: {"bytes": m.bytes, "load_s": round(m.load_seconds, 3)} for k, m in models.items()}
    body = json.dumps({"models": dict(sorted(rows.items()))}, indent=1, ensure_ascii=False)
    write_whole(models_path(path), f"{body}\n".encode())


def write_whole(path: Path, body: bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
        TraceError: it cannot be written.
    """
    handle = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as file:
            handle = Path(file.name)
            file.write(body)
        handle.chmod(0o644)
        handle.replace(path)
    except OSError as error:
        if handle is not None:
            handle.unlink(missing_ok=True)
        raise TraceError(f"{path}: cannot be written: {error.strerror or error}") from error


def _cost(path: Path, name: str, row: Mapping[str, object]) -> ModelCost:
    count, seconds = row.get("bytes"), row.get("load_s")
    if not isinstance(count, int) or isinstance(count, bool) or count <= 0:
        raise TraceError(f"{path}: {name}: bytes = {count!r}: a whole number above 0 expected")
    if not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        raise TraceError(f"{path}: {name}: load_s = {seconds!r}: seconds above 0 expected")
    return ModelCost(id=name, bytes=count, load_seconds=float(seconds))


def _text(path: Path) -> str:
    try:
        raw = read_bounded(path, limit_bytes=MAX_TRACE_BYTES)
        if path.suffix == ".gz":
            with gzip.open(io.BytesIO(raw)) as file:
                raw = file.read(MAX_TRACE_BYTES + 1)
        if len(raw) > MAX_TRACE_BYTES:
            raise TraceError(f"{path}: longer than {MAX_TRACE_BYTES >> 20} MiB")
        text = raw.decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise TraceError(f"{path}: cannot be read as a trace: {why}") from error
    header = text.partition("\n")[0].strip()
    if not text.strip():
        raise TraceError(f"{path}: is empty; a trace has the columns t,model,duration_s")
    if not set(COLUMNS) <= set(header.split(",")):
        raise TraceError(
            f'{path}:1: columns "{header[:80]}"; a trace has t,model,duration_s',
            hint="See the README on traces.",
        )
    return text


def _number(row: Mapping[str, str], key: str, path: Path, line: int) -> float:
    try:
        value = float(row[key])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise TraceError(f"{path}:{line}: {key} = {row.get(key)!r}: seconds of 0 or more expected")
    return value
