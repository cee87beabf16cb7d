"""Journals of earlier versions: nothing in them is lost, and their state is used or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from loop_hosts import CODER, EMBED, config, world
from soak.earlier import NAMES, put_in_place, rows_of

from warmset.adapters.journal import EventRow, Journal, open_file_for_reading, open_for_reading
from warmset.core.control.state import State
from warmset.shell.record import Recorder

RESTORED = "2026-11-28"
REFUSED = "2026-11-22"


def test_there_is_one_that_is_used_and_one_that_is_refused() -> None:
    """Whoever adds one says here what becomes of it."""
    assert set(NAMES) == {RESTORED, REFUSED}


@pytest.mark.parametrize("name", NAMES)
def test_no_row_of_an_earlier_journal_is_lost(tmp_path: Path, name: str) -> None:
    """It is opened in its place, read and written on, and all that it told stays."""
    path = put_in_place(name, tmp_path)
    before = rows_of(path)
    assert all(before.values())
    pages = open_for_reading(tmp_path)
    assert pages is not None
    assert len(pages.events(limit=1000)) == len(before["events"])
    pages.close()
    journal = Journal(tmp_path)
    assert journal.take_trouble() == ""
    recorder = Recorder(journal)
    state, _ = recorder.restore()
    journal.record_events((EventRow(at=1e10, kind="started", text="of today"),))
    recorder.state(state, 1e10, is_last=True)
    journal.close()
    after = rows_of(path)
    assert after["events"][: len(before["events"])] == before["events"]
    assert len(after["events"]) == len(before["events"]) + 1
    assert {t: after[t] for t in after if t != "events"} == {
        t: before[t] for t in before if t != "events"
    }
    assert not list(tmp_path.glob("*-aside*"))


def restored(tmp_path: Path, name: str) -> tuple[State, str]:
    """The state of an earlier journal, and what is said of it."""
    put_in_place(name, tmp_path)
    journal = Journal(tmp_path)
    found = Recorder(journal).restore()
    journal.close()
    return found


def test_the_state_of_an_earlier_version_is_used(tmp_path: Path) -> None:
    """Ranks, leases and load times go on."""
    state, told = restored(tmp_path, RESTORED)
    assert told == ""
    assert state.at > 0
    known = {m.name: m for m in state.models.values()}
    assert known[CODER].load_seconds == pytest.approx(3.07, abs=0.01)
    assert known[CODER].lease is not None
    assert known[CODER].slot is not None
    assert known[EMBED].slot is not None
    assert known[CODER].slot > known[EMBED].slot


def test_a_state_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path) -> None:
    """It has a field that is no more: nothing is guessed, and warmset begins afresh."""
    state, told = restored(tmp_path, REFUSED)
    assert state == State()
    assert "cannot be used" in told
    assert "empty_high" in told


def test_a_journal_is_read_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`warmset replay journal.sqlite3`, and a state folder that is named from here."""
    put_in_place(RESTORED, tmp_path)
    monkeypatch.chdir(tmp_path)
    pages = open_file_for_reading(Path("journal.sqlite3"))
    assert pages is not None
    assert pages.events(limit=1)
    pages.close()


@pytest.mark.parametrize("name", NAMES)
def test_the_loop_goes_on_from_an_earlier_state(tmp_path: Path, name: str) -> None:
    """The host is another one by now, and comes to what is wanted."""
    state, _ = restored(tmp_path, name)
    scene = world(config(CODER={"pin": True}, EMBED={}), state=state).run(120.0)
    assert scene.resident() == {CODER, EMBED}
    scene.run(900.0)
    assert scene.evicted() == []
