"""The doctor tells which levers of this Ollama no longer work."""

from __future__ import annotations

import time
from pathlib import Path

from warmset.adapters.journal import Journal, make_folder, state_folder
from warmset.core.control.drift import FAILURES
from warmset.core.control.state import LeverRecord, State, state_to_plain
from warmset.shell.doctor_levers import examine_levers
from warmset.shell.doctor_probe import Health, Probe

URL = "http://127.0.0.1:11434"


def told(folder: Path, state: State | None) -> list[Probe]:
    """What the doctor says after a loop that left this state."""
    environ = {"WARMSET_STATE": str(folder)}
    if state is not None:
        journal = Journal(make_folder(state_folder(environ, URL)))
        journal.save_state(state_to_plain(state), time.time())
        journal.close()
    return list(examine_levers(environ, URL))


def test_without_a_loop_nothing_is_known(tmp_path: Path) -> None:
    """No journal, no claim."""
    assert told(tmp_path, None) == []


def test_levers_that_work_are_told(tmp_path: Path) -> None:
    """One line for all of them."""
    (probe,) = told(tmp_path, State())
    assert probe.health is Health.OK


def test_a_broken_lever_is_a_fault(tmp_path: Path) -> None:
    """With the version, since when, and what is done instead; one that begins to fail warns."""
    now = time.time()
    broken = LeverRecord(
        failures=FAILURES, broken_since=now - 600, quiet_until=now + 300, version="9.9.9"
    )
    state = State(levers={"ping": broken, "unload": LeverRecord(failures=1)})
    ping, unload = told(tmp_path, state)
    assert (ping.health, unload.health) == (Health.FAIL, Health.WARN)
    assert "pings do not renew keep-alives (Ollama 9.9.9)" in ping.detail
    assert "10m" in ping.detail
    assert "nothing is pinged; tried again in" in ping.detail


def test_a_damaged_journal_is_no_exception(tmp_path: Path) -> None:
    """The doctor looks at everything, whatever fails."""
    folder = make_folder(state_folder({"WARMSET_STATE": str(tmp_path)}, URL))
    (folder / "journal.sqlite3").write_bytes(b"no database" * 500)
    (probe,) = told(tmp_path, None)
    assert probe.health is Health.UNKNOWN
