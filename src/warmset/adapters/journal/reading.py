"""Reading the journal."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from warmset.adapters.journal.rows import DecisionRow, EventRow, LoadRow
from warmset.errors import TraceError

MAX_BODY_BYTES: Final = 64 << 20
"""Of one decision or part, unpacked. Our choice: the models of a host with a thousand of them take
a few MiB; a journal of unknown origin may hold a kilobyte that unpacks to a gigabyte."""


class Pages:
    """What the journal of one host tells.

    Raises:
        TraceError: from every method, for a journal that cannot be read.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def close(self) -> None:
        """Ends the session."""
        self._db.close()

    def events(
        self, *, key: str = "", name: str = "", since: float = 0.0, limit: int = 50
    ) -> tuple[EventRow, ...]:
        """Returns the last events, oldest first; of one model if named by key or name."""
        with _readable():
            found = self._db.execute(
                "SELECT id, at, decision, kind, key, name, severity, text, basis FROM events"
                " WHERE at >= :since AND (:key || :name = '' OR (key != '' AND key = :key)"
                " OR (name != '' AND name = :name COLLATE NOCASE)) ORDER BY id DESC LIMIT :limit",
                {"since": since, "key": key, "name": name, "limit": limit},
            ).fetchall()
            return tuple(_event(row) for row in reversed(found))

    def loads(self, *, key: str = "", limit: int = 50) -> tuple[LoadRow, ...]:
        """Returns the last loads, oldest first."""
        with _readable():
            found = self._db.execute(
                "SELECT at, key, name, outcome, predicted_bytes, upper_bytes, actual_bytes,"
                " predicted_seconds, actual_seconds FROM loads WHERE ? = '' OR key = ?"
                " ORDER BY id DESC LIMIT ?",
                (key, key, limit),
            ).fetchall()
        return tuple(_load(row) for row in reversed(found))

    def decisions(self, *, limit: int = 50) -> tuple[DecisionRow, ...]:
        """Returns the last decisions, oldest first, without their parts."""
        with _readable():
            found = self._db.execute(
                "SELECT id, at, until, repeats, digest, body, parts FROM decisions"
                " ORDER BY id DESC LIMIT ?",
                (limit,),
            ).fetchall()
            return tuple(_decision(row, {}) for row in reversed(found))

    def decision(self, number: int) -> DecisionRow | None:
        """Returns one decision with all it was made from, `None` if it is not kept any more."""
        with _readable():
            row = self._db.execute(
                "SELECT id, at, until, repeats, digest, body, parts FROM decisions WHERE id = ?",
                (number,),
            ).fetchone()
            if row is None:
                return None
            return _decision(row, {name: self._part(d) for name, d in json.loads(row[6]).items()})

    def numbers(self, *, since: float, until: float) -> tuple[tuple[int, ...], str]:
        """Returns the numbers of the decisions made within a time, and what cannot be read.

        Where the middle of a file is damaged, what is before and behind it is found.
        """
        found: set[int] = set()
        trouble = ""
        for order in ("ASC", "DESC"):
            try:
                rows = self._db.execute(
                    "SELECT id, at, until FROM decisions"  # noqa: S608 - our own two words
                    f" WHERE until >= ? AND at <= ? ORDER BY id {order}",
                    (since, until),
                )
                for number, _, _ in rows:
                    found.add(number)
            except (sqlite3.DatabaseError, TypeError) as error:
                trouble = str(error)
            if not trouble:
                break
        return tuple(sorted(found)), trouble

    def state(self) -> object | None:
        """Returns the saved state as plain values, `None` if there is none."""
        with _readable():
            row = self._db.execute("SELECT body FROM state").fetchone()
            return None if row is None else _unpack(row[0])

    def _part(self, digest: str) -> object:
        row = self._db.execute("SELECT body FROM parts WHERE digest = ?", (digest,)).fetchone()
        return None if row is None else _unpack(row[0])


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (
        sqlite3.DatabaseError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
        zlib.error,
    ) as error:
        raise TraceError(f"the journal cannot be read: {error}") from error


def _unpack(body: bytes) -> object:
    unpacking = zlib.decompressobj()
    plain = unpacking.decompress(body, MAX_BODY_BYTES)
    if unpacking.unconsumed_tail:
        raise ValueError(f"larger than {MAX_BODY_BYTES >> 20} MiB")
    if not unpacking.eof:
        raise ValueError("cut off")
    found: object = json.loads(plain)
    return found


def _event(row: tuple[int, float, int | None, str, str, str, str, str, str]) -> EventRow:
    number, at, decision, kind, key, name, severity, text, basis = row
    return EventRow(
        id=number,
        at=at,
        decision=decision,
        kind=kind,
        key=key,
        name=name,
        severity=severity,
        text=text,
        basis=json.loads(basis),
    )


def _load(
    row: tuple[
        float, str, str, str, int | None, int | None, int | None, float | None, float | None
    ],
) -> LoadRow:
    at, key, name, outcome, predicted, upper, actual, expected_seconds, seconds = row
    return LoadRow(
        at=at,
        key=key,
        name=name,
        outcome=outcome,
        predicted_bytes=predicted,
        upper_bytes=upper,
        actual_bytes=actual,
        predicted_seconds=expected_seconds,
        actual_seconds=seconds,
    )


def _decision(
    row: tuple[int, float, float, int, str, bytes, str], parts: Mapping[str, object]
) -> DecisionRow:
    number, at, until, repeats, digest, body, _ = row
    plain = _unpack(body)
    if not isinstance(plain, dict):
        raise ValueError(f"decision {number} is no object")  # noqa: TRY004 - read as damage
    return DecisionRow(
        id=number, at=at, until=until, repeats=repeats, digest=digest, body=plain, parts=parts
    )
