"""The journal: what it keeps, how it is bounded, and what it survives."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from warmset.adapters.journal import (
    DecisionRow,
    EventRow,
    Journal,
    Limits,
    LoadRow,
    open_for_reading,
)
from warmset.adapters.journal.reading import Pages
from warmset.adapters.journal.schema import JOURNAL
from warmset.errors import TraceError

BIG = "x" * 3000


@pytest.fixture(autouse=True)
def _closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every journal of a test is closed after it."""
    opened: list[Pages] = []
    begin = Pages.__init__

    def note(self: Pages, database: sqlite3.Connection) -> None:
        opened.append(self)
        begin(self, database)

    monkeypatch.setattr(Pages, "__init__", note)
    yield
    for pages in opened:
        pages.close()


def decision(n: int, **parts: object) -> DecisionRow:
    """Returns a decision like no other."""
    return DecisionRow(at=float(n), digest=f"d{n}", body={"n": n}, parts=parts)


def event(n: int, **said: object) -> EventRow:
    """Returns an event of a model."""
    return EventRow(at=float(n), kind="preloaded", text=f"number {n}", key="k", name="m", **said)


def test_what_is_recorded_can_be_read(tmp_path: Path) -> None:
    """Decisions with their parts, events, loads and the state come back as they were given."""
    journal = Journal(tmp_path)
    number = journal.record_decision(decision(1, entries=[1, 2]), [event(1, basis={"a": 2.5})])
    journal.record_events([event(2)])
    load = LoadRow(at=3.0, key="k", name="m", outcome="loaded", actual_bytes=7, actual_seconds=1.5)
    journal.record_load(load)
    journal.save_state({"version": 1}, 4.0)
    assert number is not None
    for pages in (journal, open_for_reading(tmp_path)):
        assert pages is not None
        told = pages.decision(number)
        assert told is not None
        assert (told.body, told.parts) == ({"n": 1}, {"entries": [1, 2]})
        assert [(e.at, e.decision) for e in pages.events(key="k")] == [(1.0, number), (2.0, None)]
        assert pages.events()[0].basis == {"a": 2.5}
        assert pages.loads() == (load,)
        assert pages.state() == {"version": 1}
        pages.close()


def test_events_can_be_asked_for_by_model_and_time(tmp_path: Path) -> None:
    """By key or name, not before a moment, the last ones, oldest first."""
    journal = Journal(tmp_path)
    journal.record_events([event(n) for n in range(5)])
    journal.record_events([EventRow(at=9.0, kind="started", text="")])
    assert [e.at for e in journal.events(name="m", since=1.0, limit=2)] == [3.0, 4.0]
    assert journal.events(key="other") == ()
    assert len(journal.events()) == 6


def test_the_same_decision_again_is_counted(tmp_path: Path) -> None:
    """A quiet hour takes one row, which says until when and how often."""
    journal = Journal(tmp_path)
    assert not journal.repeat_decision("d1", 0.0)
    journal.record_decision(decision(1))
    assert journal.repeat_decision("d1", 8.0)
    assert journal.repeat_decision("d1", 9.0)
    assert not journal.repeat_decision("d2", 10.0)
    (row,) = journal.decisions()
    assert (row.until, row.repeats) == (9.0, 2)


def test_parts_are_stored_once(tmp_path: Path) -> None:
    """A hundred decisions on the same installed models hold them once."""
    journal = Journal(tmp_path)
    for n in range(100):
        journal.record_decision(decision(n, entries=[BIG], config={"x": n % 2}))
    with closing(sqlite3.connect(journal.path)) as database:
        assert database.execute("SELECT count(*) FROM parts").fetchone() == (3,)


def test_it_holds_no_more_rows_than_it_may(tmp_path: Path) -> None:
    """The oldest go; parts that nobody needs any more go with them."""
    journal = Journal(tmp_path, limits=Limits(decisions=50, events=40, loads=10))
    for n in range(1000):
        journal.record_decision(decision(n, part=n), [event(n)])
    assert journal.take_trouble() == ""
    decisions = journal.decisions(limit=10_000)
    assert len(decisions) <= 250
    assert decisions[-1].at == 999.0
    assert len(journal.events(limit=10_000)) <= 240
    with closing(sqlite3.connect(journal.path)) as database:
        assert database.execute("SELECT count(*) FROM parts").fetchone()[0] <= 250


def test_it_holds_no_more_bytes_than_it_may(tmp_path: Path) -> None:
    """However large the records, file and log stay bounded, and the last record is there."""
    limits = Limits(bytes=1 << 20)
    journal = Journal(tmp_path, limits=limits)
    for n in range(3000):
        body = {"n": n, "noise": os.urandom(1500).hex()}
        journal.record_decision(DecisionRow(at=float(n), digest=f"d{n}", body=body))
    assert journal.lost == 0
    assert journal.decisions(limit=1)[0].body["n"] == 2999
    journal.close()
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 2 * limits.bytes


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """Mode 0600 for the file and what SQLite puts beside it, whatever the umask."""
    before = os.umask(0)
    try:
        journal = Journal(tmp_path)
        journal.record_events([event(1)])
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert len(list(tmp_path.iterdir())) == 3
    finally:
        os.umask(before)


@pytest.mark.parametrize("damage", ["text", "hole", "empty", "truncated"])
def test_a_damaged_journal_is_set_aside(tmp_path: Path, damage: str) -> None:
    """A new one begins, the old one is kept once, and somebody is told; an empty file is new."""
    journal = Journal(tmp_path)
    for n in range(200):
        journal.record_decision(decision(n, part=[BIG, n]))
    path = journal.path
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(
        {
            "text": b"this is no database at all, " * 100,
            "hole": whole[:4096] + b"\xff" * 8192 + whole[12288:],
            "empty": b"",
            "truncated": whole[: len(whole) // 2],
        }[damage]
    )
    again = Journal(tmp_path)
    told = again.take_trouble()
    assert ("set aside" in told) == (damage != "empty")
    assert again.take_trouble() == ""
    again.record_events([event(1)])
    assert len(again.events()) == 1
    assert (tmp_path / "journal-aside.sqlite3").exists() == (damage != "empty")


def test_damage_that_comes_while_it_is_open_is_survived(tmp_path: Path) -> None:
    """The loop goes on with a new journal; only what was there is lost."""
    journal = Journal(tmp_path)
    for n in range(300):
        journal.record_decision(decision(n, part=[BIG, n]))
    journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = journal.path.stat().st_size
    with journal.path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    journal._db.execute("PRAGMA cache_size = 0")
    for n in range(5):
        journal.record_decision(decision(1000 + n))
    assert "set aside" in journal.take_trouble()
    assert journal.decisions(limit=1)[0].at == 1004.0


def test_who_does_not_hold_the_host_sets_nothing_aside(tmp_path: Path) -> None:
    """A verb beside a running warmset leaves a damaged journal where it is."""
    path = tmp_path / "journal.sqlite3"
    path.write_bytes(b"no database, " * 100)
    journal = Journal(tmp_path, may_mend=False)
    journal.record_events([event(1)])
    assert "nothing is kept" in journal.take_trouble()
    assert path.read_bytes().startswith(b"no database")


def test_a_full_disk_costs_the_record_and_not_the_loop(tmp_path: Path) -> None:
    """What cannot be written is counted as lost, and told; when there is room it goes on."""
    journal = Journal(tmp_path)
    journal.record_events([event(1)])
    journal._db.execute("PRAGMA max_page_count = 1")  # SQLite answers as for a full disk
    body = {"noise": os.urandom(50_000).hex()}
    assert journal.record_decision(DecisionRow(at=1.0, digest="d", body=body)) is None
    assert "full" in journal.take_trouble()
    assert journal.lost == 1
    journal._db.execute("PRAGMA max_page_count = 10000")
    assert journal.record_decision(DecisionRow(at=2.0, digest="d", body=body)) is not None


def test_a_folder_that_cannot_be_written_means_a_journal_in_memory(tmp_path: Path) -> None:
    """The loop works, and says that nothing is kept beyond this run."""
    journal = Journal(tmp_path / "missing")
    assert "nothing is kept" in journal.take_trouble()
    journal.record_events([event(1)])
    assert len(journal.events()) == 1


def test_a_lock_of_another_command_costs_one_record(tmp_path: Path) -> None:
    """Whoever holds the database too long delays us half a second and no more."""
    journal = Journal(tmp_path)
    other = sqlite3.connect(journal.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    journal.record_events([event(1)])
    assert time.monotonic() - began < 2.0
    assert "locked" in journal.take_trouble()
    other.execute("COMMIT")
    journal.record_events([event(2)])
    assert [e.at for e in journal.events()] == [2.0]
    other.close()


def test_an_older_journal_is_brought_up_to_date(tmp_path: Path) -> None:
    """What it held is still there; before that, reading verbs read a copy."""
    path = tmp_path / "journal.sqlite3"
    old = sqlite3.connect(path)
    old.executescript(f"{JOURNAL.scripts[0]}; PRAGMA user_version = 1;")
    old.execute("INSERT INTO events VALUES (1, 5.0, NULL, 'started', '', '', 'note', 'old', '{}')")
    old.commit()
    old.close()
    before = path.read_bytes()
    pages = open_for_reading(tmp_path)
    assert pages is not None
    assert ([e.text for e in pages.events()], pages.loads()) == (["old"], ())
    assert path.read_bytes() == before
    journal = Journal(tmp_path)
    assert journal.take_trouble() == ""
    assert [e.text for e in journal.events()] == ["old"]
    assert journal.loads() == ()


def test_a_newer_journal_is_set_aside_whole(tmp_path: Path) -> None:
    """After a downgrade nothing is misread; the newer file is kept."""
    journal = Journal(tmp_path)
    journal._db.execute(f"PRAGMA user_version = {JOURNAL.version + 1}")
    journal.close()
    with pytest.raises(TraceError, match=f"version {JOURNAL.version + 1}"):
        open_for_reading(tmp_path)
    assert "newer" in Journal(tmp_path).take_trouble()


def test_no_journal_is_no_error(tmp_path: Path) -> None:
    """A host that nobody steered has no past; a file that is none is told by name."""
    assert open_for_reading(tmp_path) is None
    (tmp_path / "journal.sqlite3").write_text("text")
    with pytest.raises(TraceError, match=r"journal\.sqlite3"):
        open_for_reading(tmp_path)


WRITER = """
import sys
from pathlib import Path
from warmset.adapters.journal import DecisionRow, EventRow, Journal
journal = Journal(Path(sys.argv[1]))
print("ready", flush=True)
n = 0
while True:
    n += 1
    journal.record_decision(
        DecisionRow(at=n, digest=str(n), body={"n": n}, parts={"p": n // 10}),
        [EventRow(at=n, kind="k", text=str(n))],
    )
    journal.save_state({"n": n}, n)
"""


def test_a_writer_killed_at_any_moment_leaves_a_sound_journal(tmp_path: Path) -> None:
    """Each decision is there with its events or not at all, and the next writer goes on."""
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.15)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        journal = Journal(tmp_path)
        assert journal.take_trouble() == ""
        decisions = journal.decisions(limit=100_000)
        events = journal.events(limit=100_000)
        assert decisions
        assert [d.id for d in decisions] == [e.decision for e in events]
        last = decisions[-1].id
        assert last is not None
        told = journal.decision(last)
        assert told is not None
        assert told.parts["p"] is not None
        journal.close()


LOST = {
    "nothing": lambda wal: wal,
    "all of it": lambda _wal: b"",
    "torn in the middle of a page": lambda wal: wal[: len(wal) * 2 // 3 + 1234],
    "zeros at its end": lambda wal: wal[: len(wal) // 2] + bytes(len(wal) - len(wal) // 2),
    "garbage at its end": lambda wal: wal[: len(wal) // 2] + b"\xa5" * (len(wal) // 2),
    "zeros only": lambda wal: bytes(len(wal)),
    "its head only": lambda wal: wal[:32],
}
"""What a disk may have of the last writes after the power went: they were not asked to be there."""


@pytest.mark.parametrize("name", LOST)
def test_after_a_loss_of_power_a_journal_is_shorter_and_sound(tmp_path: Path, name: str) -> None:
    """What was checkpointed is there, of what came since a beginning; the next writer goes on."""
    journal = Journal(tmp_path)
    for n in range(20):
        journal.record_decision(decision(n, part=[BIG, n]), [event(n)])
    journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for n in range(20, 40):
        journal.record_decision(decision(n, part=[BIG, n]), [event(n)])
    wal = tmp_path / "journal.sqlite3-wal"
    there, tail = journal.path.read_bytes(), LOST[name](wal.read_bytes())
    journal.close()
    after = tmp_path / "after"
    after.mkdir(mode=0o700)
    (after / "journal.sqlite3").write_bytes(there)
    (after / "journal.sqlite3-wal").write_bytes(tail)
    again = Journal(after)
    assert again.take_trouble() == ""
    numbers = [row.at for row in again.decisions(limit=100)]
    assert numbers == [float(n) for n in range(len(numbers))]
    assert 20 <= len(numbers) <= 40
    assert (len(numbers) == 40) == (name == "nothing")
    assert [row.at for row in again.events(limit=100)] == numbers
    last = again.decisions(limit=1)[0].id
    assert last is not None
    told = again.decision(last)
    assert told is not None
    assert told.parts["part"] is not None
    assert again.record_decision(decision(99)) is not None
    again.close()
