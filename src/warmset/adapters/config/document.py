"""A TOML file as values, and the line on which each of them stands."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from warmset.bounded import read_bounded
from warmset.errors import ConfigError

MAX_BYTES = 1 << 20
"""Far more than any budgets.toml; keeps a wrong path (a model file, /dev/zero) from being read."""

MAX_DEPTH = 16
"""Of tables and lists inside each other; our own words go four deep."""

MAX_STATEMENT_LINES = 200
"""A value longer than this ends the search for line numbers, which would grow quadratic."""

KeyPath = tuple[str, ...]

_PLACE = re.compile(r"\s*\(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")


def read_text(path: Path) -> str:
    """Returns the text of a configuration file.

    Raises:
        ConfigError: if it cannot be read, is too large or is not UTF-8.
    """
    try:
        raw = read_bounded(path, limit_bytes=MAX_BYTES)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read: {error.strerror or error}",
            hint="name a TOML file that can be read",
            context={"path": str(path)},
        ) from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(
            f"{path}: larger than {MAX_BYTES >> 20} MiB, so this is no configuration file",
            hint="name a TOML file",
            context={"path": str(path)},
        )
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            f"{path}:{line}: byte 0x{raw[error.start]:02x} is not UTF-8 text",
            hint="save the file as UTF-8",
            context={"path": str(path), "line": line},
        ) from error


def is_text(value: str) -> bool:
    """Returns whether a value says something, without control characters."""
    return bool(value.strip()) and value.isprintable()


def parse_toml(text: str, name: str) -> dict[str, object]:
    """Returns the values of a TOML text.

    Raises:
        ConfigError: naming file, line and column of the first mistake.
    """
    too_deep = ConfigError(
        f"{name}: tables or lists nested too deeply",
        hint='names with dots need quotes, as in [model."llama3.2:3b"]',
        context={"path": name},
    )
    try:
        tree = tomllib.loads(text)
    except RecursionError as error:
        raise too_deep from error
    except ValueError as error:  # TOMLDecodeError, and integers too long for Python
        found = _PLACE.search(str(error))
        where = name
        if found and found["line"]:
            where = f"{name}:{found['line']}:{found['column']}"
        elif found:
            where = f"{name}:{text.count(chr(10)) + 1}"
        raise ConfigError(
            f"{where}: not valid TOML: {_PLACE.sub('', str(error))}",
            hint='names with dots or colons need quotes, as in [model."llama3.2:3b"]',
            context={"path": name},
        ) from error
    if _is_deep(tree):
        raise too_deep
    return tree


def find_lines(text: str) -> dict[KeyPath, int]:
    """Returns the line of each table and key of a valid TOML text.

    tomllib keeps no positions, so this lets it read one statement at a time: a header or a
    `key = value` is a document of its own. What stands inside a value has its statement's line.
    """
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    statement, started = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if not statement:
            started = number
        statement += line + "\n"
        parsed = _parse_statement(statement)
        if parsed is None:
            if number - started > MAX_STATEMENT_LINES:
                return lines
            continue
        if statement.lstrip().startswith("["):
            table = _single_path(parsed)
            for length in range(1, len(table) + 1):
                lines.setdefault(table[:length], started)
        elif parsed:
            for path in _all_paths(parsed):
                lines.setdefault(table + path, started)
        statement = ""
    return lines


def dotted(path: KeyPath) -> str:
    """Returns a path as TOML writes it: quotes where a name needs them."""
    bare = re.compile(r"[A-Za-z0-9_-]+")
    return ".".join(key if bare.fullmatch(key) else shorten(key) for key in path)


def shorten(value: object) -> str:
    """Returns a value as it would stand in the file, on one line of at most 60 characters."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_deep(tree: object) -> bool:
    """Whether something is nested deeper than any word of ours, found without recursion."""
    level = [tree]
    for _ in range(MAX_DEPTH):
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner += value.values()
            elif isinstance(value, list):
                inner += value
        level = inner
    return bool(level)


def _parse_statement(statement: str) -> Mapping[str, object] | None:
    try:
        return tomllib.loads(statement)
    except ValueError:
        return None  # not complete yet: a multi-line string or array


def _single_path(parsed: Mapping[str, object]) -> KeyPath:
    """Returns the path of a header, which tomllib reads as one table inside another."""
    path: list[str] = []
    inner: object = parsed
    while isinstance(inner, Mapping) and inner:
        key, inner = next(iter(inner.items()))
        path.append(key)
        if isinstance(inner, list) and inner:
            inner = inner[0]
    return tuple(path)


def _all_paths(parsed: Mapping[str, object]) -> list[KeyPath]:
    paths: list[KeyPath] = []
    for key, value in parsed.items():
        paths.append((key,))
        if isinstance(value, Mapping):
            paths += [(key, *rest) for rest in _all_paths(value)]
    return paths
