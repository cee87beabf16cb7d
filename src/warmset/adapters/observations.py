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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from warmset.core.loads import LoadKey, ObservedLoad

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_LOADS: Final = 1024
MAX_OF_SHAPE: Final = 5
"""Of one shape so many are kept: more would say the same, and push out what is rarely loaded."""

_BUSY_SECONDS: Final = 2.0
_MAX_BYTES: Final = 1 << 50
_PARTS: Final = ("exact", "compute", "overhead", "driver")
_MIGRATIONS: Final = (
    "CREATE TABLE loads (id INTEGER PRIMARY KEY, at REAL NOT NULL, body TEXT NOT NULL)",
    "CREATE INDEX loads_at ON loads (at)",
    "ALTER TABLE loads ADD COLUMN runner TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE loads ADD COLUMN shape TEXT NOT NULL DEFAULT ''",
    "CREATE INDEX loads_shape ON loads (shape, at)",
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

    def add(self, load: ObservedLoad) -> bool:
        """Keeps one load unless it is known, and returns whether it was new.

        Looks at the same process are one load, of which the most that was seen counts: memory
        grows with the first requests. The oldest beyond the bounds go.
        """
        added: list[bool] = []
        self._try(lambda: added.append(self._keep(load)))
        return added[-1]

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

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        self.close()

    def _keep(self, load: ObservedLoad) -> bool:
        shape = json.dumps([load.epoch, asdict(load.key)], separators=(",", ":"))
        body = json.dumps(asdict(load), separators=(",", ":"))
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            row = (load.at, body, load.runner, shape)
            for number, text in self._database.execute(
                "SELECT id, body FROM loads WHERE shape = ? AND runner = ?", (shape, load.runner)
            ).fetchall():
                known = _to_load(text)
                if known is not None and _is_told(known, load):
                    return False
                if load.runner:
                    self._database.execute("DELETE FROM loads WHERE id = ?", (number,))
            self._database.execute(
                "INSERT INTO loads (at, body, runner, shape) VALUES (?, ?, ?, ?)", row
            )
            self._forget("WHERE shape = ?", shape, MAX_OF_SHAPE)
            self._forget("WHERE ? != ''", "all", MAX_LOADS)
        return True

    def _forget(self, where: str, value: str, bound: int) -> None:
        self._database.execute(
            "DELETE FROM loads WHERE id IN"  # noqa: S608 - two texts, both of this file
            f" (SELECT id FROM loads {where} ORDER BY at DESC, id DESC LIMIT -1 OFFSET ?)",
            (value, bound),
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
    if not path.is_file():
        return ()
    try:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        database = sqlite3.connect(uri, uri=True, timeout=_BUSY_SECONDS)
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
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
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


def _is_told(known: ObservedLoad, load: ObservedLoad) -> bool:
    """Whether a look says nothing that is not known of the same load, or of the same shape."""
    if load.runner:
        return sum(load.driver_bytes) <= sum(known.driver_bytes)
    return (known.driver_bytes, known.ps_bytes) == (load.driver_bytes, load.ps_bytes)


def _to_load(body: str) -> ObservedLoad | None:
    """Reads a row that may be another version's; `None` where it makes no sense."""
    try:
        plain: dict[str, Any] = json.loads(body)
        key = plain.pop("key")
        devices = tuple(map(str, key.pop("devices")))
        parts: dict[str, Any] = {
            f"{name}_bytes": tuple(map(_count, plain.pop(f"{name}_bytes"))) for name in _PARTS
        }
        shown = plain.pop("ps_bytes")
        load = ObservedLoad(
            at=float(plain.pop("at")),
            key=LoadKey(devices=devices, **key),
            **parts,
            ps_bytes=None if shown is None else _count(shown),
            **plain,
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return load if _is_sound(load) else None


def _count(value: object) -> int:
    if isinstance(value, int) and 0 <= value < _MAX_BYTES:
        return value
    raise ValueError(value)


def _is_sound(load: ObservedLoad) -> bool:
    gpus = len(load.exact_bytes)
    parts = (load.exact_bytes, load.compute_bytes, load.overhead_bytes)
    is_whole = gpus == load.key.gpus > 0 and all(len(part) == gpus for part in parts)
    texts = (load.epoch, load.runner, load.key.model, load.key.kv_type, load.key.architecture)
    numbers = (load.key.context, load.key.slots, load.key.batch, load.key.flash_attention)
    return (
        is_whole
        and len(load.driver_bytes) in (0, gpus)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) for number in numbers)
    )
