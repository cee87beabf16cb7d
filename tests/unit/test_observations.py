"""Observed loads on disk: kept, bounded, migrated, and never a reason to fail."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from warmset.adapters import observations as module
from warmset.adapters.observations import Observations, read_loads
from warmset.core.loads import LoadKey, ObservedLoad
from warmset.shell.lessons import FILE_NAME, Lessons

KEY = LoadKey(
    model="sha256:a",
    architecture="llama",
    context=4096,
    slots=1,
    kv_type="f16",
    batch=512,
    flash_attention=True,
    gpus=1,
    devices=("GPU-0",),
)
LOAD = ObservedLoad(
    at=1.5,
    epoch="e",
    key=KEY,
    exact_bytes=(100,),
    compute_bytes=(20,),
    overhead_bytes=(3,),
    driver_bytes=(125,),
    ps_bytes=120,
    runner="7 0.25",
)


def another(at: float, context: int | None = None, **changes: object) -> ObservedLoad:
    """Returns a load of another process, of another shape."""
    key = replace(KEY, context=int(at) if context is None else context)
    return replace(LOAD, at=at, runner=f"{at} 0.25", key=key, **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE_NAME


def fill(path: Path, *loads: ObservedLoad) -> None:
    with Observations(path) as store:
        for load in loads:
            store.add(load)
        assert store.trouble == ""


def test_what_is_added_is_there_next_time(path: Path) -> None:
    """By time, whatever the order of adding; for us alone; in WAL mode; also read-only."""
    later = replace(LOAD, at=9.0, driver_bytes=(), key=replace(KEY, devices=()), runner="")
    fill(path, later, LOAD)
    with Observations(path) as store:
        assert store.loads() == (LOAD, later)
    assert read_loads(path) == (LOAD, later)
    assert path.stat().st_mode & 0o777 == 0o600
    assert sqlite3.connect(path).execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_two_writers_lose_nothing(path: Path) -> None:
    """Two commands may keep loads at the same time."""
    with Observations(path) as one, Observations(path) as two:
        one.add(LOAD)
        two.add(another(2.0))
        one.add(another(3.0))
        assert [load.at for load in two.loads()] == [1.5, 2.0, 3.0]


def test_the_oldest_go_beyond_the_bound(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By time of the load, not by time of writing."""
    monkeypatch.setattr(module, "MAX_LOADS", 3)
    fill(path, *(another(at) for at in (5.0, 1.0, 4.0, 2.0, 3.0)))
    assert [load.at for load in read_loads(path)] == [3.0, 4.0, 5.0]


def test_looks_at_one_process_are_one_load(path: Path) -> None:
    """The most that was seen counts, since memory grows with the first requests."""
    with Observations(path) as store:
        assert store.add(LOAD)
        assert not store.add(replace(LOAD, at=2.0))
        assert not store.add(replace(LOAD, at=3.0, driver_bytes=(124,)))
        assert store.add(replace(LOAD, at=4.0, driver_bytes=(130,)))
        assert store.add(replace(LOAD, at=5.0, runner="8 0.25"))
        assert [(load.at, load.driver_bytes) for load in store.loads()] == [
            (4.0, (130,)),
            (5.0, (125,)),
        ]


def test_what_ollama_says_again_is_no_second_load(path: Path) -> None:
    """Without a process one measurement cannot be told from the same one later."""
    said = replace(LOAD, driver_bytes=(), runner="")
    with Observations(path) as store:
        assert store.add(said)
        assert not store.add(replace(said, at=2.0))
        assert store.add(replace(said, at=3.0, ps_bytes=121))
        assert store.add(replace(said, at=4.0, key=replace(KEY, context=99)))


def test_a_shape_that_is_loaded_often_does_not_push_out_others(path: Path) -> None:
    """Of each shape only the newest are kept."""
    often = (another(float(at), context=4096) for at in range(2, 50))
    fill(path, replace(LOAD, at=1.0, key=replace(KEY, context=99)), *often)
    assert [load.at for load in read_loads(path)] == [1.0, 45.0, 46.0, 47.0, 48.0, 49.0]


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough" * 200, b"SQLite format 3\0"]
)
def test_a_damaged_file_is_set_aside(path: Path, content: bytes) -> None:
    """A new one is begun, the old one stays for whoever wants to look at it."""
    path.write_bytes(content)
    fill(path, LOAD)
    assert read_loads(path) == (LOAD,)
    assert path.with_name(f"{FILE_NAME}.damaged").read_bytes() == content


def test_damage_inside_is_noticed(path: Path) -> None:
    """Pages overwritten in the middle of a sound file."""
    fill(path, *(another(float(at)) for at in range(400)))
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 20] = b"\xff" * (4096 * 19)
    path.write_bytes(content)
    with Observations(path) as store:
        assert store.loads() == ()
        store.add(LOAD)
        assert store.loads() == (LOAD,)


def test_damage_while_it_is_open_is_survived(path: Path) -> None:
    """The next call begins anew instead of failing."""
    with Observations(path) as store:
        for at in range(400):
            store.add(another(float(at)))
        store._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 4096 * 30)
        store._database.execute("PRAGMA shrink_memory")
        store.add(LOAD)
        assert LOAD in store.loads()


def test_an_older_schema_is_brought_up_to_date(path: Path) -> None:
    """A file of the first version keeps its rows and gets what later versions added."""
    body = {name: value for name, value in asdict(LOAD).items() if name != "runner"}
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE loads (id INTEGER PRIMARY KEY, at REAL, body TEXT)")
        database.execute("INSERT INTO loads (at, body) VALUES (1.5, ?)", (json.dumps(body),))
        database.execute("PRAGMA user_version = 1")
    database.close()
    assert read_loads(path) == (replace(LOAD, runner=""),)
    fill(path, replace(LOAD, at=2.0))
    assert [load.at for load in read_loads(path)] == [1.5, 2.0]
    names = sqlite3.connect(path).execute("SELECT name FROM sqlite_master").fetchall()
    assert ("loads_at",) in names


def test_a_newer_schema_is_left_alone(path: Path) -> None:
    """Nothing is written to it, and the trouble is told."""
    fill(path, LOAD)
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with Observations(path) as store:
        store.add(LOAD)
        assert "newer warmset" in store.trouble
        assert store.loads() == (LOAD,)
    assert sqlite3.connect(path).execute("SELECT count(*) FROM loads").fetchone() == (1,)


@pytest.mark.parametrize("where", ["missing/x", "folder", "link"])
def test_what_cannot_be_written_is_kept_in_memory(tmp_path: Path, where: str) -> None:
    """No folder, a folder in its place, a link that leads elsewhere."""
    path = tmp_path / where
    if where == "folder":
        path.mkdir()
    elif where == "link":
        path.symlink_to(tmp_path / "elsewhere")
    with Observations(path) as store:
        store.add(LOAD)
        assert store.trouble
        assert store.loads() == (LOAD,)
    assert not (tmp_path / "elsewhere").exists()


def test_memory_alone(path: Path) -> None:
    """No file is wanted, none is made."""
    with Observations(None) as store:
        store.add(LOAD)
        assert store.loads() == (LOAD,)
        assert store.trouble == ""


def test_reading_makes_nothing(path: Path) -> None:
    """A host without a file has no loads, and gets no file by being asked."""
    assert read_loads(path) == ()
    assert not path.exists()
    path.write_bytes(b"nonsense" * 1000)
    assert read_loads(path) == ()
    assert path.read_bytes() == b"nonsense" * 1000


@pytest.mark.parametrize(
    "change",
    [
        {"at": "x"},
        {"exact_bytes": [1, 2]},
        {"exact_bytes": [-1]},
        {"driver_bytes": [1, 2]},
        {"driver_bytes": [1 << 60]},
        {"key": {}},
        {"key": {**asdict(KEY), "context": "4096"}},
        {"runner": 5},
        {"unknown": 1},
    ],
)
def test_rows_that_make_no_sense_are_left_out(path: Path, change: dict) -> None:
    """One bad row does not take the others with it."""
    fill(path, LOAD)
    with sqlite3.connect(path) as database:
        (body,) = database.execute("SELECT body FROM loads").fetchone()
        broken = json.dumps({**json.loads(body), **change})
        database.execute("INSERT INTO loads (at, body) VALUES (0, ?)", (broken,))
        database.execute("INSERT INTO loads (at, body) VALUES (0, 'nonsense')")
    database.close()
    with Observations(path) as store:
        assert store.loads() == (LOAD,)
    assert read_loads(path) == (LOAD,)


def test_a_process_teaches_again_only_when_it_holds_more(path: Path) -> None:
    """What a runner has taught is known without looking it up; more bytes are news."""
    lessons = Lessons(path)
    assert not lessons.has(LOAD.runner, 0)
    lessons.keep([LOAD])
    lessons.close()
    assert lessons.has(LOAD.runner, 125)
    assert not lessons.has(LOAD.runner, 126)
    assert not lessons.has("8 0.25", 125)
