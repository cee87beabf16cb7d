"""Loads observed on a host, kept in one SQLite file, so that estimates get better with time.

Losing them costs accuracy, never an answer: a damaged file is set aside and begun anew, one that
cannot be written is replaced by memory, and `trouble` says so. The number of rows is bounded.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from pydantic import TypeAdapter, ValidationError

from warmset.core.footprint.observed import ObservedLoad

if TYPE_CHECKING:
    from collections.abc import Iterable

FILE_NAME: Final = "observations.sqlite3"
MAX_LOADS: Final = 4096
_BUSY_SECONDS: Final = 2.0
_MAX_BYTES: Final = 1 << 50
_MIGRATIONS: Final = (
    "CREATE TABLE loads (id INTEGER PRIMARY KEY, at REAL NOT NULL, body TEXT NOT NULL)",
    "CREATE INDEX loads_at ON loads (at)",
)
"""One statement for each version of the schema; `PRAGMA user_version` counts those done."""


class Observations:
    """The loads seen on one host. Closes with the `with` block.

    Args:
        path: the file; its folder must exist. `None` keeps loads in memory.

    Attributes:
        trouble: why what is added will not be there next time; empty if it will.
    """

    def __init__(self, path: Path | None) -> None:
        self.trouble = ""
        self._path = path
        self._database = self._open(path)

    def add(self, load: ObservedLoad) -> None:
        """Keeps one load; the oldest beyond the bound go."""
        body = json.dumps(asdict(load), separators=(",", ":"))
        self._try(lambda: self._insert(load.at, body))

    def loads(self) -> tuple[ObservedLoad, ...]:
        """Returns all loads, oldest first; rows that make no sense are left out."""
        rows: list[tuple[str]] = []
        self._try(lambda: rows.extend(self._select()))
        found = (_to_load(body) for (body,) in rows)
        return tuple(load for load in found if load is not None)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the file."""
        self.close()

    def _insert(self, at: float, body: str) -> None:
        with self._database:
            self._database.execute("INSERT INTO loads (at, body) VALUES (?, ?)", (at, body))
            self._database.execute(
                "DELETE FROM loads WHERE id IN"
                " (SELECT id FROM loads ORDER BY at DESC, id DESC LIMIT -1 OFFSET ?)",
                (MAX_LOADS,),
            )

    def _select(self) -> Iterable[tuple[str]]:
        return self._database.execute("SELECT body FROM loads ORDER BY at, id").fetchall()

    def _open(self, path: Path | None) -> sqlite3.Connection:
        """Returns the database: the file, a new file in place of a damaged one, or memory."""
        if path is not None:
            try:
                return _connect(path)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    self.trouble = f"{path}: {error}"
                elif (fresh := self._begin_anew(path, error)) is not None:
                    return fresh
            except (OSError, ValueError) as error:
                self.trouble = f"{path}: {error}"
        return _connect(None)

    def _begin_anew(self, path: Path, error: sqlite3.DatabaseError) -> sqlite3.Connection | None:
        aside = path.with_name(f"{path.name}.damaged")
        try:
            for ending in ("-wal", "-shm"):
                path.with_name(path.name + ending).unlink(missing_ok=True)
            path.replace(aside)
            return _connect(path)
        except (OSError, ValueError, sqlite3.DatabaseError) as second:
            self.trouble = f"{path}: {error}; {second}"
            return None

    def _try(self, work: Callable[[], None]) -> None:
        """Does it; damage found only now begins the file anew, and the work is done again."""
        try:
            work()
        except sqlite3.DatabaseError as error:
            self._database.close()
            fresh = None
            if self._path is not None and _is_damage(error):
                fresh = self._begin_anew(self._path, error)
            self.trouble = self.trouble or ("" if fresh else f"{self._path}: {error}")
            self._database = fresh or _connect(None)
            work()


def read_loads(path: Path) -> tuple[ObservedLoad, ...]:
    """Returns the loads in a file without changing anything on disk; none where it has none."""
    try:
        database = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_BUSY_SECONDS)
        try:
            rows = database.execute("SELECT body FROM loads ORDER BY at, id").fetchall()
        finally:
            database.close()
    except (sqlite3.DatabaseError, OSError, ValueError):
        return ()
    found = (_to_load(body) for (body,) in rows)
    return tuple(load for load in found if load is not None)


def _connect(path: Path | None) -> sqlite3.Connection:
    """Returns a database with the newest schema.

    Raises:
        ValueError: the file was written by a newer warmset.
    """
    if path is not None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        os.close(os.open(path, flags, 0o600))  # SQLite gives the files beside it the same mode
    database = sqlite3.connect(
        ":memory:" if path is None else path, timeout=_BUSY_SECONDS, check_same_thread=False
    )
    try:
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "trusted_schema = OFF"):
            database.execute(f"PRAGMA {pragma}").fetchall()
        _check(database)
        _migrate(database)
    except BaseException:
        database.close()
        raise
    return database


def _check(database: sqlite3.Connection) -> None:
    if database.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise sqlite3.DatabaseError("file is damaged")


def _migrate(database: sqlite3.Connection) -> None:
    database.execute("BEGIN IMMEDIATE")
    with database:
        (done,) = database.execute("PRAGMA user_version").fetchone()
        if done > len(_MIGRATIONS):
            raise ValueError("written by a newer warmset, so nothing is kept in it")
        for statement in _MIGRATIONS[done:]:
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(_MIGRATIONS)}")


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is wrong, so that another one helps."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # our own finding, from the check
        return True
    return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@lru_cache(maxsize=1)
def _reader() -> TypeAdapter[ObservedLoad]:
    return TypeAdapter(ObservedLoad)


def _to_load(body: str) -> ObservedLoad | None:
    try:
        load = _reader().validate_json(body)
    except ValidationError:
        return None
    gpus = len(load.exact_bytes)
    parts = (load.exact_bytes, load.compute_bytes, load.overhead_bytes, load.driver_bytes)
    is_sound = gpus == load.key.gpus > 0 and all(len(part) == gpus for part in parts[:3])
    is_sound = is_sound and len(load.driver_bytes) in (0, gpus)
    counts = [count for part in parts for count in part] + [load.ps_bytes or 0]
    return load if is_sound and all(0 <= count < _MAX_BYTES for count in counts) else None
