"""`scripts/check_decisions`: every file of decision vectors in a folder, one line per file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from warmset.errors import TraceError
from warmset.shell.conformance.scenarios import check_scenarios
from warmset.shell.conformance.tables import check_tables


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """What became of one file. `checked` counts table rows and scenario steps."""

    path: Path
    checked: int
    misses: tuple[str, ...]


def check_file(path: Path) -> FileResult:
    """Replays one file.

    Raises:
        TraceError: the file cannot be read or holds none of the known forms.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise TraceError(f"{path}: not readable as JSON: {problem}") from problem
    if not isinstance(document, dict):
        raise TraceError(f"{path}: expected an object with tables or scenarios")
    checked, misses = 0, []
    for count, found in (*check_tables(document), *check_scenarios(document)):
        checked += count
        misses += found
    if not checked:
        raise TraceError(f"{path}: holds neither a known table nor scenarios")
    return FileResult(path=path, checked=checked, misses=tuple(misses))


def check_folder(folder: Path) -> Iterator[FileResult]:
    """Replays every `.json` file of a folder, in the order of names.

    Raises:
        TraceError: there is no such folder, or no such file in it.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise TraceError(f"{folder}: no .json files there", hint="Name the folder of the vectors.")
    for path in paths:
        yield check_file(path)
