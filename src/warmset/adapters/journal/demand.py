"""The demand of one host: who was used when, loads and departures. SQLite in WAL mode, bounded.

Rows belong to weights, not to names: tags that share a file are one model. What was written first
goes first. A store that cannot be read is set aside, one that cannot be written is done without.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from warmset.adapters.journal.opening import connect_for_reading
from warmset.adapters.journal.schema import DEMAND
from warmset.adapters.journal.writing import Writer
from warmset.errors import TraceError

MAX_USES: Final = 400_000
"""A year of one use a minute around the clock, less than 32 MiB."""
MAX_LOADS: Final = 50_000
MAX_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class UseRow:
    """One use. Units: Unix seconds, seconds; `None`: how long it lasted was not seen.

    `source` is what told it: `polling`, `import`, `log`.
    """

    at: float
    key: str
    seconds: float | None = None
    source: str = "polling"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSeen:
    """One load. `cause` is `demand` or `preload`, `cache` is `warm` or `cold`."""

    at: float
    key: str
    cause: str
    seconds: float | None = None
    cache: str = "cold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """One end of a residency. `cause` is the loop's word: unloaded, expired, displaced."""

    at: float
    key: str
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """What is known of some weights. Units: bytes it held when resident, bytes of its file."""

    key: str
    name: str
    bytes: int | None = None
    file_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """All that a store tells, each oldest first."""

    models: Mapping[str, ModelRow]
    uses: tuple[UseRow, ...]
    loads: tuple[LoadSeen, ...]
    departures: tuple[Departure, ...]


NOTHING: Final = Demand(models={}, uses=(), loads=(), departures=())


class DemandStore(Writer):
    """The demand of one host, open for writing.

    Args:
        folder: the host's state folder.
        max_uses: how many uses are kept.
        may_mend: whether a damaged store may be set aside: for who holds the host's lock.
    """

    def __init__(self, folder: Path, *, max_uses: int = MAX_USES, may_mend: bool = True) -> None:
        rows = {"uses": max_uses, "loads": MAX_LOADS, "departures": MAX_LOADS}
        super().__init__(folder, DEMAND, rows=rows, max_bytes=MAX_BYTES, may_mend=may_mend)

    def close(self) -> None:
        """Ends the session."""
        self._db.close()

    def note_model(self, row: ModelRow) -> None:
        """Keeps what is known of some weights; what is unknown now leaves what was known."""
        self._write(
            lambda: self._db.execute(
                "INSERT INTO models (key, name, bytes, file_bytes) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (key) DO UPDATE SET name = excluded.name,"
                " bytes = coalesce(excluded.bytes, bytes),"
                " file_bytes = coalesce(excluded.file_bytes, file_bytes)",
                (row.key, row.name, row.bytes, row.file_bytes),
            )
        )

    def add_use(self, row: UseRow) -> int | None:
        """Keeps one use; returns its number, `None` if it was lost."""
        return self._write(lambda: self._insert_use(row))

    def add_uses(self, rows: Iterable[UseRow]) -> bool:
        """Keeps many uses, all or none; returns whether it did."""
        listed = list(rows)

        def work() -> bool:
            for row in listed:
                self._insert_use(row)
            return True

        done = self._write(work) is not None
        self._prune(keep=1.0)
        return done

    def lengthen(self, number: int, seconds: float) -> None:
        """Notes that a use still lasts."""
        self._write(
            lambda: self._db.execute("UPDATE uses SET seconds = ? WHERE id = ?", (seconds, number))
        )

    def add_load(self, row: LoadSeen) -> None:
        """Keeps one load."""
        self._write(
            lambda: self._db.execute(
                "INSERT INTO loads (at, key, seconds, cause, cache) VALUES (?, ?, ?, ?, ?)",
                (row.at, row.key, row.seconds, row.cause, row.cache),
            )
        )

    def add_departure(self, row: Departure) -> None:
        """Keeps the end of a residency."""
        self._write(
            lambda: self._db.execute(
                "INSERT INTO departures (at, key, cause) VALUES (?, ?, ?)",
                (row.at, row.key, row.cause),
            )
        )

    def read(self, since: float = 0.0) -> Demand:
        """Returns what is kept."""
        return _read(self._db, since)

    def _insert_use(self, row: UseRow) -> int:
        cursor = self._db.execute(
            "INSERT INTO uses (at, key, seconds, source) VALUES (?, ?, ?, ?)",
            (row.at, row.key, row.seconds, row.source),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid


def read_demand(folder: Path, since: float = 0.0) -> Demand:
    """Returns what the store of a host tells; nothing where there is none.

    Args:
        folder: the host's state folder.
        since: Unix seconds; what is older is left out.

    Raises:
        TraceError: it is there and cannot be read.
    """
    database = connect_for_reading(folder, DEMAND)
    if database is None:
        return NOTHING
    try:
        return _read(database, since)
    except sqlite3.DatabaseError as error:
        raise TraceError(
            f"{folder / DEMAND.file_name}: the demand store cannot be read: {error}",
            hint="`warmset serve` sets a damaged demand store aside and begins a new one",
        ) from error
    finally:
        database.close()


def _read(database: sqlite3.Connection, since: float) -> Demand:
    models = database.execute("SELECT key, name, bytes, file_bytes FROM models").fetchall()
    uses = database.execute(
        "SELECT at, key, seconds, source FROM uses WHERE at >= ? ORDER BY at, id", (since,)
    )
    loads = database.execute(
        "SELECT at, key, cause, seconds, cache FROM loads WHERE at >= ? ORDER BY at, id", (since,)
    )
    gone = database.execute(
        "SELECT at, key, cause FROM departures WHERE at >= ? ORDER BY at, id", (since,)
    )
    return Demand(
        models={k: ModelRow(key=k, name=n, bytes=b, file_bytes=f) for k, n, b, f in models},
        uses=tuple(UseRow(at=a, key=k, seconds=s, source=o) for a, k, s, o in uses),
        loads=tuple(LoadSeen(at=a, key=k, cause=c, seconds=s, cache=h) for a, k, c, s, h in loads),
        departures=tuple(Departure(at=a, key=k, cause=c) for a, k, c in gone),
    )
