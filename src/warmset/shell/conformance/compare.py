"""Whether two answers are the same up to what cannot repeat: ids, instants, bytes, text.

Compared exactly: status, content type, the set of fields, reasons, names, contexts, flags, error
texts (up to digits and digests), which rows a list has and, up to ties, their order. An
`expires_at` may differ by `EXPIRY_TOLERANCE_SECONDS`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Final

from warmset.shell.conformance.recording import LOAD_PATHS, Json, Step, unix

EXPIRY_TOLERANCE_SECONDS: Final = 1.5
_BOUNDARY_SECONDS: Final = 0.05
"""Ollama sorts by whole seconds, and the twin's instants differ from the recorded ones by less."""

_INSTANTS: Final = frozenset(("created_at", "modified_at"))
_NUMBERS: Final = frozenset(
    (
        "size",
        "created",
        "total_duration",
        "load_duration",
        "prompt_eval_duration",
        "eval_duration",
        "prompt_eval_count",
        "eval_count",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
    )
)
_TEXTS: Final = frozenset(("digest", "id", "response", "content", "text", "thinking"))
_ARRAYS: Final = frozenset(("context", "embedding", "embeddings"))
_LEFT_OUT: Final = frozenset(("context",))
"""Recordings leave these away at times."""
_SHORTENED: Final = re.compile(r"^\.\.\.|shortened", re.IGNORECASE)
_NOTHING_SAID: Final = frozenset(("load", "unload"))


def compare_answer(step: Step, status: int, content_type: str, body: bytes) -> Iterator[str]:
    """Yields what differs between a recorded answer and another one."""
    if step.status != status:
        yield f"status {status}, recorded {step.status}: {body[:120]!r}"
        return
    if step.content_type != content_type:
        yield f"content type {content_type!r}, recorded {step.content_type!r}"
    try:
        if step.kind == "json":
            yield from differences("", step.value, json.loads(body))
        elif step.kind == "ndjson":
            lines = [json.loads(line) for line in body.splitlines() if line.strip()]
            yield from _compare_lines(step, lines)
        elif step.kind == "text":
            yield from _compare_text(str(step.value), body.decode("utf-8", "replace"))
    except ValueError:
        yield f"no JSON: {body[:120]!r}"


def _compare_lines(step: Step, lines: Sequence[Json]) -> Iterator[str]:
    recorded = step.value
    if step.path not in LOAD_PATHS:
        yield from differences("", recorded, lines)
        return
    if not lines:
        yield "no line at all"
    elif step.is_cut:
        for line in lines:
            yield from differences("", recorded[0], line)
    else:
        yield from differences(" first line", recorded[0], lines[0])
        yield from differences(" last line", recorded[-1], lines[-1])


def _compare_text(recorded: str, actual: str) -> Iterator[str]:
    if not recorded.startswith("data: "):
        if normalised(recorded) != normalised(actual):
            yield f"text {actual[:120]!r}, recorded {recorded[:120]!r}"
        return
    pair = [
        [part.removeprefix("data: ").strip() for part in text.split("\n\n") if part.strip()]
        for text in (recorded, actual)
    ]
    if not pair[1] or (pair[0][-1] == "[DONE]") != (pair[1][-1] == "[DONE]"):
        yield "the stream of events does not end as recorded"
        return
    events = [[json.loads(part) for part in parts if part != "[DONE]"] for parts in pair]
    if events[0] and events[1]:
        yield from differences(" first event", events[0][0], events[1][0])
        yield from differences(" last event", events[0][-1], events[1][-1])


def differences(where: str, recorded: Json, actual: Json, key: str = "") -> Iterator[str]:
    """Yields the places where two decoded values differ."""
    if isinstance(recorded, str) and _SHORTENED.search(recorded) and key not in ("error", "status"):
        return
    if isinstance(recorded, dict) and isinstance(actual, dict):
        yield from _compare_objects(where, recorded, actual)
    elif key in _ARRAYS and isinstance(recorded, list):
        if not isinstance(actual, list) or bool(recorded) != bool(actual):
            yield f"{where}: {str(actual)[:60]}, recorded {str(recorded)[:60]}"
    elif isinstance(recorded, list) and isinstance(actual, list):
        yield from _compare_lists(where, recorded, actual)
    elif not _is_same(key, recorded, actual):
        yield f"{where}: {actual!r}, recorded {recorded!r}"[:400]


def _compare_objects(where: str, recorded: Json, actual: Json) -> Iterator[str]:
    if "(shortened)" in recorded:
        yield from _compare_shortened(where, recorded, actual)
        return
    for key in sorted(recorded.keys() - actual.keys()):
        yield f"{where}.{key} is missing"
    for key in sorted(actual.keys() - recorded.keys() - _LEFT_OUT):
        yield f"{where}.{key} is not in the recording"
    is_silent = recorded.get("done_reason") in _NOTHING_SAID
    for key in recorded:
        if key not in actual:
            continue
        if is_silent and key == "response" and actual[key] != recorded[key]:
            yield f"{where}.{key}: {actual[key]!r}, recorded {recorded[key]!r}"
        yield from differences(f"{where}.{key}", recorded[key], actual[key], key)


def _compare_shortened(where: str, recorded: Json, actual: Json) -> Iterator[str]:
    """Compares the names of rows, where only these were kept."""
    for key, value in recorded.items():
        rows = actual.get(key)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            names = sorted(_row_name(row) for row in rows or () if isinstance(row, dict))
            if sorted(value) != names:
                yield f"{where}.{key}: rows {names}, recorded {sorted(value)}"


def _compare_lists(where: str, recorded: list[Json], actual: list[Json]) -> Iterator[str]:
    rows = [row for row in recorded if isinstance(row, dict)]
    if rows and all(_moment(row) is not None for row in rows):
        yield from _compare_rows(where, rows, actual, is_whole=len(rows) == len(recorded))
        return
    whole = [item for item in recorded if not (isinstance(item, str) and _SHORTENED.search(item))]
    if len(whole) == len(recorded) != len(actual):
        yield f"{where}: {len(actual)} items, recorded {len(recorded)}"
    for index, (one, other) in enumerate(zip(whole, actual, strict=False)):
        yield from differences(f"{where}[{index}]", one, other)


def _compare_rows(
    where: str, recorded: list[Json], actual: list[Json], *, is_whole: bool
) -> Iterator[str]:
    """Compares rows of models: which they are, each by name, and their order up to ties."""
    names = [_row_name(row) for row in recorded]
    others = [_row_name(row) for row in actual if isinstance(row, dict)]
    if is_whole and sorted(names) != sorted(others):
        yield f"{where}: rows {others}, recorded {names}"
        return
    for row, name in zip(recorded, names, strict=True):
        if name in others:
            yield from differences(f"{where}[{name}]", row, actual[others.index(name)])
    moments = {name: _moment(row) or 0.0 for row, name in zip(recorded, names, strict=True)}
    for before, name in enumerate(names):
        for later in names[before + 1 :]:
            if name not in others or later not in others:
                continue
            is_tie = _may_be_tied(moments[name], moments[later])
            if not is_tie and others.index(name) > others.index(later):
                yield f"{where}: order {others}, recorded {names}"
                return


def _may_be_tied(one: float, other: float) -> bool:
    first, last = sorted((one, other))
    return math.floor(last - _BOUNDARY_SECONDS) <= math.floor(first + _BOUNDARY_SECONDS)


def _row_name(row: Json) -> str:
    return str(row.get("name") or row.get("id"))


def _moment(row: Json) -> float | None:
    """Returns what Ollama sorts a row by; `None` when the row is of no sorted list."""
    try:
        if "expires_at" in row:
            return unix(row["expires_at"])
        if "modified_at" in row and "digest" in row:
            return unix(row["modified_at"])
    except (ValueError, TypeError):
        return None
    created = row.get("created")
    return float(created) if row.get("object") == "model" and created is not None else None


def _is_same(key: str, recorded: Json, actual: Json) -> bool:
    pair = (recorded, actual)
    if key == "expires_at":
        return _is_near(recorded, actual)
    if key in _NUMBERS:
        return all(type(value) in (int, float) for value in pair)
    if key == "size_vram":
        return bool(recorded) == bool(actual)
    if isinstance(recorded, str) and isinstance(actual, str):
        is_free = key in _INSTANTS or key in _TEXTS
        return is_free or normalised(recorded) == normalised(actual)
    if all(type(value) in (int, float) for value in pair):
        return bool(recorded == actual)
    return type(recorded) is type(actual) and recorded == actual


def _is_near(recorded: Json, actual: Json) -> bool:
    try:
        return abs(unix(recorded) - unix(actual)) <= EXPIRY_TOLERANCE_SECONDS
    except (ValueError, TypeError, AttributeError):
        return False


def normalised(text: str) -> str:
    """Returns a text without digests, byte counts, ports, and names of tensors."""
    text = re.sub(r"(sha256[:-])?[0-9a-f]{64}", "<digest>", text)
    text = re.sub(r'tensor "[^"]*"', 'tensor "<name>"', text)
    text = re.sub(r"(127\.0\.0\.1:)(\d+|<[\w-]+>)", r"\1<port>", text)
    return re.sub(r"\d{4,}(\.\d+)?", "<n>", text)
