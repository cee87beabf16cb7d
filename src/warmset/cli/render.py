"""How results look: plain aligned text in a pipe, a rich table on a terminal, JSON for programs.

Results go to stdout, talk goes to stderr. Text that came from elsewhere (model names, errors)
never reaches a terminal with its control characters.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

SCHEMA_VERSION = 1
"""Of every JSON document; grows when a key changes its meaning or goes away."""

Row = Mapping[str, object]

_NO_LIMIT = 100_000
"""Columns of a terminal that holds every table."""


class Output(StrEnum):
    """The forms that every reading verb offers."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    NAME = "name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table: the key of its cells and how they are shown."""

    key: str
    title: str
    right: bool = False
    wide: bool = False  # only with `-o wide`


def emit(
    document: Mapping[str, object],
    *,
    schema_version: int = SCHEMA_VERSION,
    one_line: bool = False,
) -> None:
    """Prints one JSON document, `schema_version` first, the other keys in the order given.

    `one_line` is for streams of documents (NDJSON): each is flushed, or a reader would wait.

    Units:
        Infinities and NaN have no JSON form and become `null`.
    """
    body = {"schema_version": schema_version, **document}
    indent = None if one_line else 2
    text = json.dumps(_plain(body), indent=indent, ensure_ascii=False, allow_nan=False)
    print(text, flush=one_line)


def emit_names(names: Sequence[str]) -> None:
    """Prints one name per line, for `-o name` and shell loops."""
    for name in names:
        print(printable(name))


def table(
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    wide: bool = False,
    title: str = "",
    no_color: bool = False,
) -> None:
    """Prints a table: for people on a terminal, plain and aligned elsewhere."""
    if not is_terminal():
        if title:
            print(printable(title))
        print(format_table(rows, columns, wide=wide))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    shown = [column for column in columns if wide or not column.wide]
    for column in shown:
        drawn.add_column(
            column.title, justify="right" if column.right else "left", header_style="bold"
        )
    for row in rows:
        drawn.add_row(*(Text(_cell(row, column)) for column in shown))
    console = Console(no_color=True if no_color else None, highlight=False)
    # Wider than the terminal, its lines go on below: a name cut short could not be copied.
    unbounded = console.options.update(width=_NO_LIMIT)
    console.width = max(console.width, console.measure(drawn, options=unbounded).maximum)
    console.print(drawn, soft_wrap=True)


def format_table(rows: Sequence[Row], columns: Sequence[Column], *, wide: bool = False) -> str:
    """Returns the table as plain text: two blanks between columns, none at the end of a line."""
    shown = [column for column in columns if wide or not column.wide]
    lines = [[column.title for column in shown]]
    lines += [[_cell(row, column) for column in shown] for row in rows]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column.right else cell.ljust(width)
            for cell, width, column in zip(line, widths, shown, strict=True)
        ).rstrip()
        for line in lines
    )


def say(text: str, *, quiet: bool = False) -> None:
    """Writes a remark to stderr, unless `quiet`."""
    if not quiet:
        print(printable(text), file=sys.stderr)


def is_terminal() -> bool:
    """Whether stdout can show more than plain lines, or `FORCE_COLOR` says so."""
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def printable(text: str) -> str:
    """Returns `text` with control characters spelled out, so that no name can steer a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _cell(row: Row, column: Column) -> str:
    value = row.get(column.key)
    return "-" if value is None or value == "" else printable(str(value))


def _plain(value: object) -> object:
    """Returns `value` made of JSON's own types; sets are sorted, so that output is stable."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(map(str, value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
