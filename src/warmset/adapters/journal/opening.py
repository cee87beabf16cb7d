"""Opening a database file, whatever state it is in."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from warmset.adapters.journal.folder import open_state
from warmset.adapters.journal.reading import Pages
from warmset.adapters.journal.schema import JOURNAL, Schema, migrate, version_of
from warmset.errors import TraceError

PAGE_BYTES: Final = 4096

BUSY_SECONDS: Final = 0.5
"""For another command's short transaction. Our choice: well below a tick."""

MAX_VALUE_BYTES: Final = 64 << 20
"""Of one value in a file that is only read. Our choice: far more than any of ours."""

_NOT_OURS: Final = "it has other tables than those of warmset"

Opened = tuple[sqlite3.Connection, str]
"""A database, and what was wrong; empty if nothing."""


def primary_code(error: sqlite3.DatabaseError) -> int:
    """Returns SQLite's result code without its details; 0 where it told none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is wrong, so that another one helps."""
    return primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_for_writing(folder: Path, schema: Schema, *, max_bytes: int, may_mend: bool) -> Opened:
    """Returns the database, a new one in place of one that cannot be read, or one in memory."""
    path = folder / schema.file_name
    try:
        return _connect(path, schema, max_bytes), ""
    except sqlite3.DatabaseError as error:
        if is_damage(error) and may_mend:
            return begin_anew(folder, schema, str(error), max_bytes=max_bytes)
        return _in_memory(path, schema, str(error))
    except TraceError as error:
        if may_mend:
            return begin_anew(folder, schema, error.message, max_bytes=max_bytes)
        return _in_memory(path, schema, error.message)
    except OSError as error:
        return _in_memory(path, schema, error.strerror or str(error))


def begin_anew(folder: Path, schema: Schema, reason: str, *, max_bytes: int) -> Opened:
    """Sets the file aside, in place of one set aside earlier, and begins another."""
    path = folder / schema.file_name
    try:
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        path.replace(folder / schema.aside_name)
        database = _connect(path, schema, max_bytes)
    except (OSError, sqlite3.DatabaseError, TraceError) as error:
        return _in_memory(path, schema, f"{reason}; {error}")
    told = f"{path}: {reason}; it was set aside as {schema.aside_name} and a new one begun"
    return database, told


def open_for_reading(folder: Path) -> Pages | None:
    """Returns the journal of a host as it stands, `None` if there is none.

    Raises:
        TraceError: it is there and cannot be read.
    """
    return open_file_for_reading(folder / JOURNAL.file_name)


def open_file_for_reading(path: Path) -> Pages | None:
    """Returns a journal by its file, wherever it was copied to; `None` if there is none.

    Raises:
        TraceError: it is there and cannot be read.
    """
    database = _connect_read_only(path, JOURNAL)
    return None if database is None else Pages(database)


def connect_for_reading(folder: Path, schema: Schema) -> sqlite3.Connection | None:
    """Returns a database as it stands, `None` if there is none; one of an older version as a copy.

    Raises:
        TraceError: it is there and cannot be read.
    """
    return _connect_read_only(folder / schema.file_name, schema)


def _connect_read_only(path: Path, schema: Schema) -> sqlite3.Connection | None:
    try:
        if not path.exists():
            return None
        if not path.is_file():
            raise TraceError(f"{path}: the {schema.word} is no file")  # a pipe would hold us
        uri = f"{path.absolute().as_uri()}?mode=ro"
        database = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)
        version = _examine(database)
    except (sqlite3.DatabaseError, OSError) as error:
        raise TraceError(
            f"{path}: the {schema.word} cannot be read: {error}",
            hint=f"`warmset serve` sets a damaged {schema.word} aside and begins a new one",
            context={"path": str(path)},
        ) from error
    if version > schema.version:
        database.close()
        raise TraceError(
            f"{path}: version {version} of the {schema.word}; this warmset reads {schema.version}",
            hint="it was written by a newer warmset: read it with that one",
        )
    return _brought_up_to_date(database, path, schema) if version < schema.version else database


def _examine(database: sqlite3.Connection) -> int:
    """Returns the version of what is there.

    A file that was cut off, such as a copy that ended early, is refused by SQLite as a whole
    unless it is told to take what there is.
    """
    try:
        _distrust(database)
        return version_of(database)
    except sqlite3.DatabaseError as error:
        if primary_code(error) != sqlite3.SQLITE_CORRUPT:
            raise
    database.execute("PRAGMA writable_schema = ON")
    _distrust(database)
    return version_of(database)


def _distrust(database: sqlite3.Connection) -> None:
    """Takes nothing but plain tables from a file that anybody may have made.

    A view may count for ever, and what SQLite computes cannot be interrupted from Python.

    Raises:
        sqlite3.DatabaseError: there is more in it.
    """
    database.execute("PRAGMA trusted_schema = OFF")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    found = database.execute(
        "SELECT name FROM sqlite_master WHERE type NOT IN ('table', 'index')"
        " OR sql LIKE 'CREATE VIRTUAL%' OR (type = 'table' AND sql LIKE '%GENERATED%')"
    ).fetchone()
    if found is not None:
        raise sqlite3.DatabaseError(_NOT_OURS)


def _brought_up_to_date(
    database: sqlite3.Connection, path: Path, schema: Schema
) -> sqlite3.Connection:
    """Returns a copy of an older file, in memory; the file stays as it is."""
    copy = sqlite3.connect(":memory:", isolation_level=None)
    try:
        tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version_of(database) > 0:
            database.backup(copy)
        elif tables:
            raise sqlite3.DatabaseError(_NOT_OURS)  # noqa: TRY301 - told as any other damage
        migrate(copy, schema)
    except sqlite3.DatabaseError as error:
        copy.close()
        raise TraceError(
            f"{path}: the {schema.word} cannot be read: {error}",
            hint=f"`warmset serve` begins a new {schema.word}",
            context={"path": str(path)},
        ) from error
    finally:
        database.close()
    return copy


def _connect(path: Path, schema: Schema, max_bytes: int) -> sqlite3.Connection:
    os.close(open_state(path))  # SQLite gives the files beside it the same mode and owner
    path.chmod(0o600)
    database = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
    try:
        _prepare(database, schema, max_bytes)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, schema: Schema, max_bytes: int) -> None:
    for pragma in (
        f"page_size = {PAGE_BYTES}",
        "auto_vacuum = INCREMENTAL",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        f"max_page_count = {max(64, max_bytes // PAGE_BYTES)}",
        "journal_size_limit = 1048576",
        "trusted_schema = OFF",
    ):
        database.execute(f"PRAGMA {pragma}").fetchall()
    found = [row[0] for row in database.execute("PRAGMA quick_check(1)")]
    if found != ["ok"]:
        raise TraceError(f"damaged: {found[0]}")
    if version_of(database) > schema.version:
        raise TraceError("written by a newer warmset")
    migrate(database, schema)


def _in_memory(path: Path, schema: Schema, reason: str) -> Opened:
    database = sqlite3.connect(":memory:", isolation_level=None)
    migrate(database, schema)
    return database, f"{path}: {reason}; nothing is kept beyond this run"
