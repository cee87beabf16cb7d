"""The journal: SQLite in WAL mode, bounded in rows and bytes, never a reason to stop.

What must hold:

- A writer that is killed at any moment leaves a sound journal: each record is one transaction.
- A journal that cannot be read is set aside and a new one begun; one that cannot be written is
  done without. `take_trouble` says so. Neither ever raises in the loop.
- It holds no more than `Limits`: the oldest decisions and events go first.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeVar

from warmset.adapters.journal.opening import (
    FILE_NAME,
    PAGE_BYTES,
    begin_anew,
    is_damage,
    open_for_writing,
    primary_code,
)
from warmset.adapters.journal.reading import Pages
from warmset.adapters.journal.rows import DecisionRow, EventRow, LoadRow

T = TypeVar("T")

PRUNE_EVERY: Final = 200
"""Records between two looks at the bounds. Our choice: rows are small against the bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a journal may hold at most.

    Units:
        `bytes` of the main file; SQLite bounds the log beside it at a few MiB.
    """

    decisions: int = 20_000
    events: int = 50_000
    loads: int = 10_000
    bytes: int = 64 << 20


class Journal(Pages):
    """The journal of one host, open for writing.

    Args:
        folder: the host's state folder.
        limits: what it may hold.
        may_mend: whether a damaged journal may be set aside: for who holds the host's lock.
    """

    def __init__(
        self, folder: Path, *, limits: Limits | None = None, may_mend: bool = True
    ) -> None:
        self.path = folder / FILE_NAME
        self.limits = limits or Limits()
        self.lost = 0  # records that could not be written
        self._since_prune = 0
        self._last: tuple[int, str] | None = None
        self._may_mend = may_mend
        database, self._trouble = open_for_writing(
            self.path, max_bytes=self.limits.bytes, may_mend=may_mend
        )
        super().__init__(database)

    def take_trouble(self) -> str:
        """Returns what went wrong since it was asked the last time; empty if nothing."""
        told, self._trouble = self._trouble, ""
        return told

    def record_decision(self, row: DecisionRow, events: Sequence[EventRow] = ()) -> int | None:
        """Records a decision and what was seen with it; returns its number, `None` if lost."""

        def work() -> int:
            names = {name: self._store_part(part) for name, part in row.parts.items()}
            cursor = self._db.execute(
                "INSERT INTO decisions (at, until, repeats, digest, body, parts)"
                " VALUES (?, ?, 0, ?, ?, ?)",
                (row.at, row.at, row.digest, _pack(row.body), json.dumps(names)),
            )
            assert cursor.lastrowid is not None
            for event in events:
                self._insert_event(event, cursor.lastrowid)
            return cursor.lastrowid

        number = self._write(work)
        self._last = None if number is None else (number, row.digest)
        return number

    def repeat_decision(self, digest: str, at: float) -> bool:
        """Notes that the last decision was made again; false if it was another one."""
        if self._last is None or self._last[1] != digest:
            return False
        number = self._last[0]
        self._write(
            lambda: self._db.execute(
                "UPDATE decisions SET until = ?, repeats = repeats + 1 WHERE id = ?", (at, number)
            )
        )
        return True

    def record_events(self, events: Sequence[EventRow]) -> None:
        """Records what happened outside of a decision."""
        if events:
            self._write(lambda: self._insert_events(events))

    def record_load(self, row: LoadRow) -> None:
        """Records one load, predicted and actual."""
        self._write(
            lambda: self._db.execute(
                "INSERT INTO loads (at, key, name, outcome, predicted_bytes, upper_bytes,"
                " actual_bytes, predicted_seconds, actual_seconds)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    row.at,
                    row.key,
                    row.name,
                    row.outcome,
                    row.predicted_bytes,
                    row.upper_bytes,
                    row.actual_bytes,
                    row.predicted_seconds,
                    row.actual_seconds,
                ),
            )
        )

    def save_state(self, plain: object, at: float) -> None:
        """Replaces the saved state."""
        self._write(
            lambda: self._db.execute(
                "INSERT OR REPLACE INTO state (one, at, body) VALUES (1, ?, ?)", (at, _pack(plain))
            )
        )

    # -- inside -----------------------------------------------------------------------------------

    def _store_part(self, part: object) -> str:
        text = json.dumps(part, sort_keys=True, separators=(",", ":"))
        digest = sha256(text.encode()).hexdigest()
        self._db.execute(
            "INSERT OR IGNORE INTO parts (digest, body) VALUES (?, ?)",
            (digest, zlib.compress(text.encode())),
        )
        return digest

    def _insert_events(self, events: Sequence[EventRow]) -> None:
        for event in events:
            self._insert_event(event, event.decision)

    def _insert_event(self, event: EventRow, decision: int | None) -> None:
        self._db.execute(
            "INSERT INTO events (at, decision, kind, key, name, severity, text, basis)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.at,
                decision,
                event.kind,
                event.key,
                event.name,
                event.severity,
                event.text,
                json.dumps(dict(event.basis), default=str),
            ),
        )

    def _write(self, work: Callable[[], T]) -> T | None:
        """Does one transaction; a second time after what helps; never raises for the disk."""
        for may_mend in (True, False):
            try:
                result = self._transact(work)
            except sqlite3.DatabaseError as error:
                if not may_mend or not self._mend(error):
                    self._trouble = f"{self.path}: {error}"
                    self.lost += 1
                    return None
            else:
                self._prune_sometimes()
                return result
        return None

    def _transact(self, work: Callable[[], T]) -> T:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            result = work()
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return result

    def _mend(self, error: sqlite3.DatabaseError) -> bool:
        """Returns whether another try may help, after doing what it takes."""
        if is_damage(error) and self._may_mend:
            self._db.close()
            self._db, self._trouble = begin_anew(self.path, str(error), max_bytes=self.limits.bytes)
            return True
        if primary_code(error) == sqlite3.SQLITE_FULL:
            return self._prune(keep=0.5)
        return False

    def _prune_sometimes(self) -> None:
        self._since_prune += 1
        if self._since_prune >= PRUNE_EVERY:
            self._since_prune = 0
            pages = self._db.execute("PRAGMA page_count").fetchone()[0]
            is_large = pages * PAGE_BYTES > self.limits.bytes * 0.9
            self._prune(keep=0.7 if is_large else 1.0)

    def _prune(self, *, keep: float) -> bool:
        """Lets the oldest rows go, down to a share of what there is or may be."""

        def work() -> None:
            for table in ("decisions", "events", "loads"):
                limit = int(getattr(self.limits, table))
                have = self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - our names
                left = min(limit, int(have * keep)) if keep < 1 else limit
                self._db.execute(
                    f"DELETE FROM {table} WHERE id <="  # noqa: S608 - our names
                    f" (SELECT id FROM {table} ORDER BY id DESC LIMIT 1 OFFSET ?)",
                    (left,),
                )
            self._db.execute(
                "DELETE FROM parts WHERE digest NOT IN (SELECT value FROM decisions,"
                " json_each(decisions.parts))"
            )

        try:
            self._transact(work)
            self._db.execute("PRAGMA incremental_vacuum").fetchall()
        except sqlite3.DatabaseError:
            return False
        return True


def _pack(plain: object) -> bytes:
    return zlib.compress(json.dumps(plain, separators=(",", ":")).encode())
