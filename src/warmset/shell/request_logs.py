"""Requests from logs that others write: JSON lines of a client or gateway, Ollama's access log.

What each can tell:

- JSON lines name the model and the moment of every request: the best source there is.
- Ollama's access log (`[GIN] …`) has moments and durations but no model, so it can only be read
  for a model that somebody names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Final

from warmset.bounded import read_bounded
from warmset.core.ollama.keepalive import DurationError, parse_go_duration
from warmset.errors import TraceError

MAX_LOG_BYTES: Final = 1 << 30

MOMENT_KEYS: Final = ("at", "time", "timestamp", "ts")
SECONDS_KEYS: Final = ("duration_s", "duration_seconds", "seconds")

INFERENCE: Final = (
    "/api/generate", "/api/chat", "/api/embed", "/api/embeddings", "/v1/completions",
    "/v1/chat/completions", "/v1/embeddings", "/v1/responses", "/v1/messages",
)  # fmt: skip
"""Requests that are a use. Source: ollama-behaviour 1.8."""

_GIN: Final = re.compile(
    r"\[GIN\] (?P<date>\d{4}/\d\d/\d\d) - (?P<clock>\d\d:\d\d:\d\d) \|\s*(?P<status>\d{3}) \|"
    r"\s*(?P<took>[^|]+?)\s*\|[^|]*\|\s*(?P<method>[A-Z]+)\s+\"(?P<path>[^\"]*)\""
)
"""Source: gin v1.10 `logger.go: defaultLogFormatter`, as ollama-behaviour 6.2 shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One request. Units: Unix seconds of its begin, seconds it took."""

    at: float
    model: str
    seconds: float | None


def read_log(path: Path, *, model: str = "") -> list[Logged]:
    """Returns the requests of a log, by their moments.

    Args:
        path: JSON lines, or what `ollama serve` prints.
        model: whose requests an access log has.

    Raises:
        TraceError: naming file, line and value of what is wrong, or what is missing.
    """
    try:
        content = read_bounded(path, limit_bytes=MAX_LOG_BYTES)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_LOG_BYTES:
        raise TraceError(f"{path}: longer than {MAX_LOG_BYTES >> 20} MiB", hint="split it")
    lines = content.decode("utf-8", "replace").splitlines()
    is_access_log = any("[GIN]" in line for line in lines)
    if is_access_log and not model:
        raise TraceError(
            f"{path}: an access log of Ollama names no models",
            hint="--model NAME says whose requests these are; a gateway's log names them",
        )
    rows = _access_log(lines, model) if is_access_log else _json_lines(path, lines)
    found = sorted(rows, key=lambda row: row.at)
    if not found:
        raise TraceError(
            f"{path}: there is no request in it",
            hint='one JSON object per line: {"at": "2026-01-05T09:00:00Z", "model": "llama3.2:3b"}',
        )
    return found


def _json_lines(path: Path, lines: list[str]) -> Iterator[Logged]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise TraceError(f"{path}:{number}: is no JSON: {line[:60]!r}") from error
        if not isinstance(row, dict):
            raise TraceError(f"{path}:{number}: a JSON object expected, found {line[:60]!r}")
        model = row.get("model")
        if not isinstance(model, str) or not model:
            raise TraceError(f"{path}:{number}: model = {model!r}: a name expected")
        seconds = next((row[key] for key in SECONDS_KEYS if row.get(key) is not None), None)
        if seconds is not None and not _is_seconds(seconds):
            raise TraceError(f"{path}:{number}: duration = {seconds!r}: seconds expected")
        yield Logged(at=_moment(row, f"{path}:{number}"), model=model, seconds=seconds)


def _moment(row: Mapping[str, object], where: str) -> float:
    value = next((row[key] for key in MOMENT_KEYS if row.get(key) is not None), None)
    if _is_seconds(value):
        return float(str(value))
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise TraceError(
            f"{where}: at = {value!r}: Unix seconds or a moment such as 2026-01-05T09:00:00Z",
            hint=f"the moment stands in one of {', '.join(MOMENT_KEYS)}",
        )
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _is_seconds(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isfinite(value) and value >= 0


def _access_log(lines: list[str], model: str) -> Iterator[Logged]:
    """The log is written when a request has ended, in the server's local time."""
    for line in lines:
        found = _GIN.search(line)
        if found is None or found["method"] != "POST" or found["status"] != "200":
            continue
        if found["path"] not in INFERENCE:
            continue
        try:
            took = parse_go_duration(found["took"])
            text = f"{found['date']} {found['clock']}"
            ended = datetime.strptime(text, "%Y/%m/%d %H:%M:%S").astimezone().timestamp()
        except (DurationError, ValueError):
            continue  # a line that another program cut or joined
        yield Logged(at=ended - took, model=model, seconds=took)
