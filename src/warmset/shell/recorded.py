"""Recorded decisions: from a journal, and from and to files that hold a few of them as a test.

What cannot be read of a journal is left out and counted, never guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from warmset.adapters.journal import DecisionRow, open_file_for_reading
from warmset.adapters.journal.reading import Pages
from warmset.adapters.journal.schema import JOURNAL
from warmset.core.control.actions import Decision
from warmset.core.control.config import Config
from warmset.core.control.plain import PlainError, from_plain, to_plain
from warmset.core.control.redecide import Recorded
from warmset.core.control.remembered import PlannedOn
from warmset.core.control.state import VERSION, State
from warmset.core.model import Observation
from warmset.errors import ConfigError, TraceError

KIND: Final = "warmset-replay"
FILE_VERSION: Final = 1
MAX_FILE_BYTES: Final = 256 << 20

PARTS: Final = ("entries", "config", "learnt")
"""What rarely changes; each is stored once for many decisions."""


@dataclass(slots=True)
class Span:
    """A part of a recorded history, read one decision at a time.

    Attributes:
        unreadable: what could not be read so far, in sentences.
    """

    path: Path
    numbers: tuple[int, ...]
    rows: Iterator[DecisionRow | str]
    unreadable: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Recorded]:
        for row in self.rows:
            if isinstance(row, str):
                self.unreadable.append(row)
                continue
            try:
                yield recorded_of(row)
            except PlainError as error:
                self.unreadable.append(f"decision {row.id}: {error}")


def open_span(
    path: Path, *, since: float = 0.0, until: float = float("inf"), number: int | None = None
) -> Span:
    """Returns the decisions of a journal, a state folder or a file that `save_span` wrote.

    Args:
        path: where.
        since, until: Unix seconds; decisions that held within this time.
        number: only this one.

    Raises:
        TraceError: nothing of it can be read, or the number is not there.
        ConfigError: the time ends before it begins.
    """
    if until < since:
        raise ConfigError(
            "--until is before --since: no decision held then",
            hint="a duration is counted back from now: --since 3h --until 2h",
        )
    file = path / JOURNAL.file_name if path.is_dir() else path
    if not file.is_file():
        raise TraceError(f"{file}: no journal there", hint=_HINT)
    if _is_case(file):
        rows = [row for row in _load(file) if row.until is not None and row.until >= since]
        kept = [row for row in rows if row.at <= until and number in (None, row.id)]
        span = Span(file, tuple(row.id or 0 for row in kept), iter(kept))
    else:
        pages = open_file_for_reading(file)
        if pages is None:
            raise TraceError(f"{file}: no journal there", hint=_HINT)
        numbers, trouble = pages.numbers(since=since, until=until)
        numbers = tuple(n for n in numbers if number in (None, n))
        span = Span(file, numbers, _rows(pages, numbers))
        if trouble:
            span.unreadable.append(f"the file is damaged: {trouble}")
    if number is not None and not span.numbers:
        raise TraceError(
            f"{file}: decision {number} is not in it (any more)",
            hint="`warmset history -o wide` shows the numbers",
        )
    return span


_HINT: Final = "name a journal.sqlite3, the folder it is in, or a file of `replay --test`"


def _rows(pages: Pages, numbers: Sequence[int]) -> Iterator[DecisionRow | str]:
    try:
        for number in numbers:
            try:
                row = pages.decision(number)
            except TraceError as error:
                yield f"decision {number}: {error.message}"
            else:
                yield f"decision {number} went away meanwhile" if row is None else row
    finally:
        pages.close()


def recorded_of(row: DecisionRow) -> Recorded:
    """Returns a row as what `step` was given and returned.

    Raises:
        PlainError: something is missing, or of another version.
    """
    body, parts = row.body, row.parts
    look, state = body.get("observation"), body.get("state")
    if not isinstance(look, dict) or not isinstance(state, dict):
        raise PlainError("look or state are missing")
    if state.get("version") != VERSION:
        raise PlainError(f"state of version {state.get('version')!r}; this warmset: {VERSION}")
    missing = [name for name in ("entries", "config") if parts.get(name) is None]
    if missing:
        raise PlainError(f"its {missing[0]} are missing")
    whole = {**look, "entries": parts["entries"], "learnt": parts.get("learnt") or {}}
    decided, planned_on = body.get("decision"), body.get("planned_on")
    return Recorded(
        number=row.id or 0,
        at=row.at,
        until=row.at if row.until is None else row.until,
        repeats=row.repeats,
        now=_number(body.get("now", row.at)),
        observation=from_plain(Observation, whole),
        config=from_plain(Config, parts["config"]),
        state=from_plain(State, state),
        decision=None if decided is None else from_plain(Decision, decided),
        planned_on=None if planned_on is None else _planned_on(planned_on),
        error=str(body.get("error", "")),
    )


def _planned_on(plain: object) -> tuple[PlannedOn, ...]:
    if not isinstance(plain, list):
        raise PlainError("planned_on: should be a list")
    return tuple(from_plain(PlannedOn, item) for item in plain)


def _number(plain: object) -> float:
    if isinstance(plain, bool) or not isinstance(plain, int | float):
        raise PlainError(f"now: {plain!r} is no number")
    return float(plain)


# -- files ----------------------------------------------------------------------------------------


def save_span(path: Path, recorded: Sequence[Recorded], *, made_by: str) -> None:
    """Writes decisions with all they need, to be made again anywhere: a test case.

    Raises:
        ConfigError: there is none, and a test of nothing always passes; or the file cannot be
            written.
    """
    if not recorded:
        raise ConfigError(
            f"{path}: there is no decision to save, so nothing was written",
            hint="`warmset history --since 1d -o wide` shows when there were some",
        )
    parts: list[object] = []
    cases = []
    for one in recorded:
        look = to_plain(one.observation)
        assert isinstance(look, dict)
        shared = {"entries": look.pop("entries"), "learnt": look.pop("learnt")}
        shared["config"] = to_plain(one.config)
        cases.append(
            {
                "number": one.number,
                "at": one.at,
                "until": one.until,
                "repeats": one.repeats,
                "parts": {name: _index(parts, part) for name, part in shared.items()},
                "body": {
                    "now": one.now,
                    "observation": look,
                    "state": to_plain(one.state),
                    "planned_on": None if one.planned_on is None else to_plain(one.planned_on),
                    "decision": None if one.decision is None else to_plain(one.decision),
                    "error": one.error,
                },
            }
        )
    document = {
        "schema_version": FILE_VERSION,
        "kind": KIND,
        "made_by": made_by,
        "parts": parts,
        "cases": cases,
    }
    try:
        path.write_text(json.dumps(document, separators=(",", ":")) + "\n", "utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: the test case cannot be written: {error.strerror or error}",
            hint="name a file in a folder that you may write",
        ) from error


def _index(parts: list[object], part: object) -> int:
    if part not in parts:
        parts.append(part)
    return parts.index(part)


def _is_case(path: Path) -> bool:
    """Returns whether it is a test case, and not a journal; an empty file is an empty journal."""
    try:
        with path.open("rb") as file:
            first = file.read(len(_SQLITE))
    except OSError as error:
        raise TraceError(
            f"{path}: cannot be read: {error.strerror or error}", hint=_HINT
        ) from error
    if first[:1] != b"{" and first not in (b"", _SQLITE):
        raise TraceError(f"{path}: cannot be read: neither a journal nor a test case", hint=_HINT)
    return first[:1] == b"{"


_SQLITE: Final = b"SQLite format 3\0"


def _load(path: Path) -> list[DecisionRow]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise TraceError(f"{path}: larger than {MAX_FILE_BYTES >> 20} MiB", hint=_HINT)
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise TraceError(f"{path}: no test case of decisions: {error}", hint=_HINT) from error
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise TraceError(f"{path}: no test case of decisions", hint=_HINT)
    version = document.get("schema_version")
    if version != FILE_VERSION:
        raise TraceError(
            f"{path}: version {version!r} of the file; this warmset reads {FILE_VERSION}",
            hint="it was written by another warmset: read it with that one",
        )
    try:
        return [_case(case, document["parts"]) for case in document["cases"]]
    except (LookupError, TypeError, PlainError) as error:
        text = f"{path}: not as `replay --test` writes it: {error!r}"
        raise TraceError(text, hint=_HINT) from error


def _case(case: Mapping[str, object], parts: Sequence[object]) -> DecisionRow:
    body, named = case["body"], case["parts"]
    if not isinstance(body, dict) or not isinstance(named, dict):
        raise PlainError("a case without body or parts")
    return DecisionRow(
        id=int(_number(case["number"])),
        at=_number(case["at"]),
        until=_number(case["until"]),
        repeats=int(_number(case["repeats"])),
        digest="",
        body=body,
        parts={name: parts[index] for name, index in named.items()},
    )
