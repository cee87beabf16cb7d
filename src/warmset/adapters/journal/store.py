"""The journal: SQLite in WAL mode, bounded in rows and bytes, never a reason to stop.

What must hold:

- A writer that is killed at any moment leaves a sound journal: each record is one transaction.
- A journal that cannot be read is set aside and a new one begun; one that cannot be written is
  done without. `take_trouble` says so. Neither ever raises in the loop.
- It holds no more than `Limits`: the oldest decisions and events go first.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from warmset.adapters.journal.reading import Pages
from warmset.adapters.journal.rows import DecisionRow, EventRow, LoadRow
from warmset.adapters.journal.schema import JOURNAL
from warmset.adapters.journal.writing import Writer


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


class Journal(Writer, Pages):
    """The journal of one host, open for writing.

    Args:
        folder: the host's state folder.
        limits: what it may hold.
        may_mend: whether a damaged journal may be set aside: for who holds the host's lock.
    """

    def __init__(
        self, folder: Path, *, limits: Limits | None = None, may_mend: bool = True
    ) -> None:
        self._last: tuple[int, str] | None = None
        self._packed: dict[str, tuple[object, str, bytes]] = {}
        allowed = limits or Limits()
        super().__init__(
            folder,
            JOURNAL,
            rows={
                "decisions": allowed.decisions,
                "events": allowed.events,
                "loads": allowed.loads,
            },
            max_bytes=allowed.bytes,
            may_mend=may_mend,
        )

    def record_decision(self, row: DecisionRow, events: Sequence[EventRow] = ()) -> int | None:
        """Records a decision and what was seen with it; returns its number, `None` if lost."""

        def work() -> int:
            names = {name: self._store_part(name, part) for name, part in row.parts.items()}
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

    def _store_part(self, name: str, part: object) -> str:
        """Stores a part unless it is there; the very same object is packed once only."""
        packed = self._packed.get(name)
        if packed is None or packed[0] is not part:
            text = json.dumps(part, sort_keys=True, separators=(",", ":")).encode()
            packed = self._packed[name] = (part, sha256(text).hexdigest(), zlib.compress(text))
        _, digest, body = packed
        self._db.execute("INSERT OR IGNORE INTO parts (digest, body) VALUES (?, ?)", (digest, body))
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

    def _tidy(self) -> None:
        self._db.execute(
            "DELETE FROM parts WHERE digest NOT IN (SELECT value FROM decisions,"
            " json_each(decisions.parts))"
        )


def _pack(plain: object) -> bytes:
    return zlib.compress(json.dumps(plain, separators=(",", ":")).encode())
