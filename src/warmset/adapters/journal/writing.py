"""Writing a bounded database: never a reason to stop, and never half a record."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from warmset.adapters.journal.opening import (
    PAGE_BYTES,
    begin_anew,
    is_damage,
    open_for_writing,
    primary_code,
)
from warmset.adapters.journal.schema import Schema

T = TypeVar("T")

PRUNE_EVERY: Final = 200
"""Records between two looks at the bounds. Our choice: rows are small against the bounds."""


class Writer:
    """One database of a host, open for writing.

    Args:
        folder: the host's state folder.
        schema: which database.
        rows: table -> how many rows it may hold; the oldest go first.
        max_bytes: of the main file; SQLite bounds the log beside it at a few MiB.
        may_mend: whether a damaged file may be set aside: for who holds the host's lock.

    Attributes:
        lost: records that could not be written.
    """

    def __init__(
        self,
        folder: Path,
        schema: Schema,
        *,
        rows: Mapping[str, int],
        max_bytes: int,
        may_mend: bool,
    ) -> None:
        self.path = folder / schema.file_name
        self.lost = 0
        self._folder = folder
        self._schema = schema
        self._rows = rows
        self._max_bytes = max_bytes
        self._may_mend = may_mend
        self._since_prune = 0
        self._db, self._trouble = open_for_writing(
            folder, schema, max_bytes=max_bytes, may_mend=may_mend
        )

    def take_trouble(self) -> str:
        """Returns what went wrong since it was asked the last time; empty if nothing."""
        told, self._trouble = self._trouble, ""
        return told

    def _tidy(self) -> None:
        """Lets go what no row needs any more."""

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
            self._db, self._trouble = begin_anew(
                self._folder, self._schema, str(error), max_bytes=self._max_bytes
            )
            return True
        if primary_code(error) == sqlite3.SQLITE_FULL:
            return self._prune(keep=0.5)
        return False

    def _prune_sometimes(self) -> None:
        self._since_prune += 1
        if self._since_prune >= PRUNE_EVERY:
            self._since_prune = 0
            pages = self._db.execute("PRAGMA page_count").fetchone()[0]
            is_large = pages * PAGE_BYTES > self._max_bytes * 0.9
            self._prune(keep=0.7 if is_large else 1.0)

    def _prune(self, *, keep: float) -> bool:
        """Lets the oldest rows go, down to a share of what there is or may be."""

        def work() -> None:
            for table, limit in self._rows.items():
                have = self._db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - our names
                left = min(limit, int(have * keep)) if keep < 1 else limit
                self._db.execute(
                    f"DELETE FROM {table} WHERE id <="  # noqa: S608 - our names
                    f" (SELECT id FROM {table} ORDER BY id DESC LIMIT 1 OFFSET ?)",
                    (left,),
                )
            self._tidy()

        try:
            self._transact(work)
            self._db.execute("PRAGMA incremental_vacuum").fetchall()
        except sqlite3.DatabaseError:
            return False
        return True
