"""The tables of the journal and of the demand store, version by version.

`PRAGMA user_version` counts the scripts that a file has seen. A script never changes once it has
been released: what is new comes as a further one.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Schema:
    """One database: its file, what people call it, and its scripts, one for each version."""

    file_name: str
    word: str
    scripts: tuple[str, ...]

    @property
    def aside_name(self) -> str:
        """What a damaged file is renamed to."""
        return self.file_name.replace(".", "-aside.")

    @property
    def version(self) -> int:
        """How many scripts there are."""
        return len(self.scripts)


_JOURNAL_SCRIPTS: Final = (
    """
    CREATE TABLE parts (digest TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE decisions (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, until REAL NOT NULL, repeats INTEGER NOT NULL,
        digest TEXT NOT NULL, body BLOB NOT NULL, parts TEXT NOT NULL
    );
    CREATE TABLE events (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, decision INTEGER, kind TEXT NOT NULL,
        key TEXT NOT NULL, name TEXT NOT NULL, severity TEXT NOT NULL, text TEXT NOT NULL,
        basis TEXT NOT NULL
    );
    CREATE INDEX events_by_key ON events (key, id);
    CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), at REAL NOT NULL, body BLOB);
    """,
    """
    CREATE TABLE loads (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL,
        outcome TEXT NOT NULL, predicted_bytes INTEGER, upper_bytes INTEGER, actual_bytes INTEGER,
        predicted_seconds REAL, actual_seconds REAL
    );
    """,
)

_DEMAND_SCRIPTS: Final = (
    """
    CREATE TABLE models (
        key TEXT PRIMARY KEY, name TEXT NOT NULL, bytes INTEGER, file_bytes INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE uses (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, key TEXT NOT NULL, seconds REAL,
        source TEXT NOT NULL
    );
    CREATE INDEX uses_by_time ON uses (at);
    CREATE TABLE loads (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, key TEXT NOT NULL, seconds REAL,
        cause TEXT NOT NULL, cache TEXT NOT NULL
    );
    CREATE TABLE departures (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, key TEXT NOT NULL, cause TEXT NOT NULL
    );
    """,
)
JOURNAL: Final = Schema("journal.sqlite3", "journal", _JOURNAL_SCRIPTS)
DEMAND: Final = Schema("demand.sqlite3", "demand store", _DEMAND_SCRIPTS)


def version_of(database: sqlite3.Connection) -> int:
    """Returns how many scripts a file has seen."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def migrate(database: sqlite3.Connection, schema: Schema) -> None:
    """Brings an older file up to date; each script happens in whole or not at all."""
    for number in range(version_of(database), schema.version):
        database.executescript(
            f"BEGIN IMMEDIATE; {schema.scripts[number]}; PRAGMA user_version = {number + 1};"
            " COMMIT;"
        )
