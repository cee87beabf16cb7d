"""Journals that earlier versions of warmset left, and what is in them."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

FOLDER = Path(__file__).parents[1] / "data" / "journals"
NAMES = tuple(sorted(path.name.removesuffix(".sqlite3.gz") for path in FOLDER.glob("*.gz")))
TABLES = ("decisions", "events", "loads", "parts")


def put_in_place(name: str, folder: Path) -> Path:
    """Unpacks a journal into the state folder of a host; returns its file."""
    path = folder / "journal.sqlite3"
    path.write_bytes(gzip.decompress((FOLDER / f"{name}.sqlite3.gz").read_bytes()))
    return path


def state_of(name: str) -> bytes:
    """Returns the body of the state in a journal."""
    with TemporaryDirectory() as folder:
        with closing(sqlite3.connect(put_in_place(name, Path(folder)))) as database:
            body: bytes = database.execute("SELECT body FROM state").fetchone()[0]
        return body


def rows_of(path: Path) -> dict[str, list[tuple]]:
    """Returns all rows of a journal but its state, as SQLite has them."""
    with closing(sqlite3.connect(path)) as database:
        return {
            table: database.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            for table in TABLES
        }


def events_of(name: str) -> list[tuple[float, str, str]]:
    """Returns moment, kind and model of each event in a journal."""
    with TemporaryDirectory() as folder:
        path = put_in_place(name, Path(folder))
        with closing(sqlite3.connect(path)) as database:
            return database.execute("SELECT at, kind, name FROM events").fetchall()
