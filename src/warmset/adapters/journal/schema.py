"""The tables of the journal, version by version.

`PRAGMA user_version` counts the scripts that a file has seen. A script never changes once it has
been released: what is new comes as a further one.
"""

from __future__ import annotations

import sqlite3
from typing import Final

MIGRATIONS: Final = (
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
VERSION: Final = len(MIGRATIONS)


def version_of(database: sqlite3.Connection) -> int:
    """Returns how many scripts a file has seen."""
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def migrate(database: sqlite3.Connection) -> None:
    """Brings an older file up to date; each script happens in whole or not at all."""
    for number in range(version_of(database), VERSION):
        database.executescript(
            f"BEGIN IMMEDIATE; {MIGRATIONS[number]}; PRAGMA user_version = {number + 1}; COMMIT;"
        )
