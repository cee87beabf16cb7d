"""The form of a recorded transcript: steps with requests and answers, events, the server.

Units:
    `t` is seconds since the scenario began; `started_at` is Unix seconds of that moment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from warmset.errors import TraceError

Json = Any
"""A decoded JSON value."""

LOAD_PATHS: Final = frozenset(
    (
        "/api/generate",
        "/api/chat",
        "/api/embed",
        "/api/embeddings",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
    )
)

_ROUNDING_SECONDS: Final = 0.0015
"""Two times in rounded milliseconds agree this well."""
_BEFORE_SECONDS: Final = 0.0002


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One recorded request with its answer.

    Attributes:
        body: decoded where it is JSON, for looking at; `content` is what is sent.
        kind: `json`, `ndjson` or `text`; empty where the recording keeps no body.
        value: the body in that form.
        client_error: how the client saw it end, if without an answer.
        server_ends_t: when the server had its answer ready, a little before the client had it all.
        is_cut: the client closed the connection in mid-answer.
        head_t: when the head of a streamed answer came.
    """

    index: int
    t: float
    ends_t: float
    method: str
    path: str
    content: bytes
    body: Json
    status: int | None
    content_type: str
    kind: str
    value: Json
    server_ends_t: float
    client_error: str
    is_cut: bool
    head_t: float | None
    note: str

    @property
    def model(self) -> str:
        """The model that the request names; empty when none."""
        if not isinstance(self.body, dict):
            return ""
        name = self.body.get("model") or self.body.get("name") or ""
        return name if isinstance(name, str) else ""

    @property
    def last(self) -> Mapping[str, Json]:
        """The answer, or its last line; empty when it is no object."""
        value = self.value[-1] if isinstance(self.value, list) and self.value else self.value
        return value if isinstance(value, dict) else {}

    @property
    def uses_runner(self) -> bool:
        """Whether the request was served by a runner, or waited for one in vain."""
        if self.path not in LOAD_PATHS or self.last.get("done_reason") == "unload":
            return False
        return self.status in (None, 200) or self.client_error != ""

    @property
    def load_ends_t(self) -> float | None:
        """When the request had its runner; `None` when the recording does not tell."""
        duration = self.last.get("load_duration")
        if isinstance(duration, int):
            return self.t + duration / 1e9
        return self.server_ends_t if self.is_preload else None

    @property
    def is_preload(self) -> bool:
        """Whether the answer is that of a request for a load alone."""
        is_empty = any(self.last.get(key) == [] for key in ("embeddings", "embedding"))
        return self.status == 200 and (is_empty or self.last.get("done_reason") == "load")

    @property
    def load_seconds(self) -> float | None:
        """How long the request waited for its runner, queue and load together."""
        return None if self.load_ends_t is None else self.load_ends_t - self.t


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """An event that the recorder wrote down."""

    index: int
    t: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One transcript."""

    name: str
    started_at: float
    version: str
    environment: Mapping[str, str]
    machine: str
    steps: tuple[Step, ...]
    happenings: tuple[Happening, ...] = field(default=())

    @property
    def length(self) -> int:
        """Recorded steps and events together."""
        return len(self.steps) + len(self.happenings)


def read_recording(path: Path) -> Recording:
    """Reads a transcript.

    Raises:
        TraceError: it cannot be read or does not have the form.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return _recording(path.name, document)
    except (OSError, ValueError) as problem:
        raise TraceError(f"{path}: not readable as JSON: {problem}") from problem
    except (KeyError, TypeError, AttributeError, IndexError) as problem:
        raise TraceError(
            f"{path}: not a transcript: {type(problem).__name__} {problem}",
            hint="expected `server` and `steps` with `t_s`, `at`, and `request` or `event`",
        ) from problem


def unix(text: str) -> float:
    """Returns Unix seconds of an instant with up to 9 digits of fraction."""
    head, tail = re.fullmatch(r"([^.Z+]*)(.*)", text).groups()  # type: ignore[union-attr]  # fits all
    fraction = re.match(r"\.\d+", tail)
    zone = tail[fraction.end() :] if fraction else tail
    moment = datetime.fromisoformat(head + (zone or "Z"))
    seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    return seconds + (float(fraction.group()) if fraction else 0.0)


def _recording(name: str, document: Json) -> Recording:
    server, rows = document["server"], document["steps"]
    steps = [_step(i, row) for i, row in enumerate(rows) if "request" in row]
    happenings = [
        Happening(index=i, t=float(row["t_s"]), text=str(row["event"]))
        for i, row in enumerate(rows)
        if "event" in row
    ]
    first = rows[0]
    started_at = unix(first["at"]) - float(first["t_s"])
    return Recording(
        name=name,
        started_at=started_at,
        version=str(server.get("ollama_version", "0.33.0")),
        environment={str(k): str(v) for k, v in server.get("environment", {}).items()},
        machine=str(server.get("machine", "")),
        steps=tuple(_with_server_ends(steps, started_at)),
        happenings=tuple(happenings),
    )


def _with_server_ends(steps: Sequence[Step], started_at: float) -> Iterator[Step]:
    """Sets when each answer was ready: by its own instant, and before the client went on.

    A client that goes on within `_ROUNDING_SECONDS` of an answer has waited for it.
    """
    for step in steps:
        end = step.ends_t - _ROUNDING_SECONDS
        created = step.last.get("created_at")
        if isinstance(created, str):
            end = min(unix(created) - started_at, step.ends_t)
        for later in steps:
            if later.t > step.t and abs(later.t - step.ends_t) <= _ROUNDING_SECONDS:
                end = min(end, later.t - _BEFORE_SECONDS)
        yield replace(step, server_ends_t=max(end, step.t))


def _step(index: int, row: Json) -> Step:
    request, response = row["request"], row.get("response", {})
    t = float(row["t_s"])
    raw = request.get("body_raw")
    body: Json = request.get("body")
    content = b"" if body is None else json.dumps(body).encode()
    if isinstance(raw, str):
        content = raw.encode()
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
    kind = next((k for k in ("json", "ndjson", "text") if k in response), "")
    head_after = response.get("headers_after_s")
    return Step(
        index=index,
        t=t,
        ends_t=t + float(response.get("wall_s", 0.0)),
        method=request["method"],
        path=request["path"],
        content=content,
        body=body,
        status=response.get("status"),
        content_type=response.get("content_type") or "",
        kind=kind,
        value=response.get(kind),
        server_ends_t=0.0,
        client_error=str(response.get("client_error") or row.get("client_error") or ""),
        is_cut="closed by the client" in str(response.get("then", "")),
        head_t=None if head_after is None else t + float(head_after),
        note=str(row.get("note", "")),
    )
