"""Opening the journal's file, whatever state it is in."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from warmset.adapters.journal.reading import Pages
from warmset.adapters.journal.schema import VERSION, migrate, version_of
from warmset.errors import TraceError

FILE_NAME: Final = "journal.sqlite3"
ASIDE_NAME: Final = "journal-aside.sqlite3"
PAGE_BYTES: Final = 4096

BUSY_SECONDS: Final = 0.5
"""For another command's short transaction. Our choice: well below a tick."""

Opened = tuple[sqlite3.Connection, str]
"""A database, and what was wrong; empty if nothing."""


def primary_code(error: sqlite3.DatabaseError) -> int:
    """Returns SQLite's result code without its details; 0 where it told none."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is wrong, so that another one helps."""
    return primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def open_for_writing(path: Path, *, max_bytes: int, may_mend: bool) -> Opened:
    """Returns the journal, a new one in place of one that cannot be read, or one in memory."""
    try:
        return _connect(path, max_bytes), ""
    except sqlite3.DatabaseError as error:
        if is_damage(error) and may_mend:
            return begin_anew(path, str(error), max_bytes=max_bytes)
        return _in_memory(path, str(error))
    except TraceError as error:
        if may_mend:
            return begin_anew(path, error.message, max_bytes=max_bytes)
        return _in_memory(path, error.message)
    except OSError as error:
        return _in_memory(path, error.strerror or str(error))


def begin_anew(path: Path, reason: str, *, max_bytes: int) -> Opened:
    """Sets the file aside, in place of one set aside earlier, and begins another."""
    try:
        for ending in ("-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
        path.replace(path.with_name(ASIDE_NAME))
        database = _connect(path, max_bytes)
    except (OSError, sqlite3.DatabaseError, TraceError) as error:
        return _in_memory(path, f"{reason}; {error}")
    return database, f"{path}: {reason}; it was set aside as {ASIDE_NAME} and a new one begun"


def open_for_reading(folder: Path) -> Pages | None:
    """Returns the journal of a host as it stands, `None` if there is none.

    Raises:
        TraceError: it is there and cannot be read.
    """
    path = folder / FILE_NAME
    try:
        if not path.exists():
            return None
        database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        version = version_of(database)
    except (sqlite3.DatabaseError, OSError) as error:
        raise TraceError(
            f"{path}: the journal cannot be read: {error}",
            hint="`warmset serve` sets a damaged journal aside and begins a new one",
            context={"path": str(path)},
        ) from error
    if version != VERSION:
        database.close()
        raise TraceError(
            f"{path}: version {version} of the journal; this warmset reads {VERSION}",
            hint="the next `warmset serve` or `warmset apply` brings an older one up to date",
        )
    return Pages(database)


def _connect(path: Path, max_bytes: int) -> sqlite3.Connection:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    os.close(os.open(path, flags, 0o600))  # SQLite gives the files beside it the same mode
    path.chmod(0o600)
    database = sqlite3.connect(path, isolation_level=None, timeout=BUSY_SECONDS)
    try:
        _prepare(database, max_bytes)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection, max_bytes: int) -> None:
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
    if version_of(database) > VERSION:
        raise TraceError("written by a newer warmset")
    migrate(database)


def _in_memory(path: Path, reason: str) -> Opened:
    database = sqlite3.connect(":memory:", isolation_level=None)
    migrate(database)
    return database, f"{path}: {reason}; nothing is kept beyond this run"
