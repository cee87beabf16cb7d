"""The verbs around the loop inside this process: their rarer answers."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import psutil
import pytest
from actors import make_process_table
from serving_rig import HOST

from warmset.adapters.journal import (
    DemandStore,
    EventRow,
    Journal,
    LoadSeen,
    OrdersFile,
    state_folder,
)
from warmset.cli.app import main
from warmset.cli.commands.apply import _refuse_change
from warmset.cli.durations import clock_text, parse_seconds
from warmset.core.control.actions import Decision
from warmset.core.control.state import State, state_to_plain
from warmset.core.model import ModelKey
from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import physics_of
from warmset.errors import ConfigError, Refused
from warmset.shell.lock import Holder, take_lock
from warmset.shell.signals import Word, signals_to
from warmset.shell.twin_files import find_host
from warmset.shell.twin_server import TwinServer

TWIN = "twin://workstation?hours=3&seed=5"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a verb; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WARMSET_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path))

    def call(*arguments: str, host: str = TWIN) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--host", host])
        printed = capsys.readouterr()
        return int(str(end.value.code)), printed.out, printed.err

    return call


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TwinServer]:
    """A pretended Ollama on loopback; one model idle, another in use."""
    if sys.platform == "linux":
        monkeypatch.setattr(psutil, "PROCFS_PATH", psutil.PROCFS_PATH)  # which HOST_PROC changes
        monkeypatch.setenv("HOST_PROC", str(make_process_table(tmp_path, os.getpid())))
    (tmp_path / "host.toml").write_text(HOST)
    spec = find_host(str(tmp_path / "host.toml"))
    host = TwinHost(spec, physics_of(spec), Timeline(time.time() - 60))
    host.use("nomic-embed-text:latest", 0.1)
    host.use("qwen2.5-coder:7b", 600.0)
    host.timeline.advance(time.time())
    with TwinServer(Api(host)) as server:
        yield server


def state_of(tmp_path: Path, url: str) -> Path:
    """Returns the state folder of a host, made."""
    folder = state_folder({"WARMSET_STATE": str(tmp_path / "state")}, url)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("2d", 172800), ("45s", 45)]
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float) -> None:
    """Go's durations, and days."""
    assert parse_seconds(text, "--for") == seconds


@pytest.mark.parametrize("text", ["", "5", "-1h", "0s", "soon", "d", "400d", "1d-5h30"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With the option's name and an example."""
    with pytest.raises(ConfigError, match="--for"):
        parse_seconds(text, "--for")


def test_moments_show_the_date_when_it_is_not_today() -> None:
    """Short today, whole otherwise."""
    assert len(clock_text(1000.0, now=1001.0)) == 8
    assert len(clock_text(1000.0, now=10_000_000.0)) == 19


def test_apply_in_each_form(run: Run, tmp_path: Path) -> None:
    """Text, names and JSON say the same; nothing to do is said; a bad timeout is refused."""
    (tmp_path / "budgets.toml").write_text('[model."llama3.1:8b"]\npin = true\n')
    code, out, _ = run("apply", "--yes", "-o", "name")
    assert (code, "llama3.1:8b" in out.split()) == (0, True)
    code, out, _ = run("apply", "--yes", "-o", "json")
    assert json.loads(out)["converged"]
    (tmp_path / "budgets.toml").write_text("")
    code, out, _ = run("apply")
    assert (code, out) == (0, "Nothing to do: what is resident is what is wanted.\n")
    assert run("apply", "--timeout", "soon")[0] == 3
    assert run("apply", host="http://127.0.0.1:9")[0] == 4


def test_apply_tells_first_what_it_would_do(run: Run, tmp_path: Path) -> None:
    """`--dry-run` is `plan`, and refuses a saved plan that the host has moved on from."""
    budgets = tmp_path / "budgets.toml"
    budgets.write_text('[model."llama3.1:8b"]\npin = true\n')
    code, out, _ = run("apply", "--dry-run")
    assert (code, out) == (0, run("plan")[1])
    run("plan", "--out", "p.json", "-o", "name")
    assert run("apply", "--dry-run", "--plan", "p.json")[0] == 0
    assert run("apply", "--dry-run", "p.json")[0] == 0
    assert run("apply", "p.json", "--plan", "p.json")[0] == 2
    budgets.write_text('[model."qwen2.5:14b"]\npin = true\n[model."qwen2.5:32b"]\npin = true\n')
    assert run("apply", "--dry-run")[0] == 6
    code, _, err = run("apply", "--dry-run", "--plan", "p.json")
    assert (code, "moved on" in err) == (6, True)


def test_serve_says_which_file_it_leaves_aside(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`plan` reads ./budgets.toml and `serve` does not: on a terminal that is told, unless the
    file is the one in use, under another name."""
    monkeypatch.delenv("WARMSET_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    warning = "budgets.toml of this folder does not count"
    assert warning not in run("serve", "--dry-run")[2]
    budgets = tmp_path / "budgets.toml"
    budgets.write_text('[model."qwen2.5:14b"]\npin = true\n')
    assert warning in run("serve", "--dry-run")[2]
    assert warning not in run("serve", "--dry-run", "--config", "budgets.toml")[2]
    if sys.platform == "linux":
        there = tmp_path / "home/warmset/budgets.toml"
        there.parent.mkdir(parents=True)
        there.symlink_to(budgets)
        assert warning not in run("serve", "--dry-run")[2]


def test_apply_asks_on_a_terminal(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Yes does it, no does nothing and says so."""
    (tmp_path / "budgets.toml").write_text('[model."llama3.1:8b"]\npin = true\n')
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    answers = iter([False, True])
    monkeypatch.setattr("typer.confirm", lambda *_, **__: next(answers))
    code, _, err = run("apply")
    assert (code, "nothing was done" in err) == (6, True)
    code, out, _ = run("apply")
    assert (code, "The plan is true" in out) == (0, True)


def test_a_plan_that_changes_on_the_way_is_given_up() -> None:
    """What was agreed to is done, or nothing more."""
    _refuse_change(set(), Decision(at=1.0))
    with pytest.raises(Refused, match="moved on"):
        _refuse_change({ModelKey("sha256:aa")}, Decision(at=1.0))


def test_apply_keeps_a_journal_and_the_host_to_itself(
    run: Run, served: TwinServer, tmp_path: Path
) -> None:
    """On a host that lasts: the journal tells of it, and a second one is refused by name."""
    (tmp_path / "budgets.toml").write_text('[model."llama3.2:3b"]\npin = true\n')
    assert run("apply", "--yes", host=served.url)[0] == 0
    code, out, _ = run("history", "llama3.2:3b", "--since", "1h", "-o", "wide", host=served.url)
    assert code == 0
    assert "preloaded" in out
    assert "preload_ordered" in out
    assert run("history", "-o", "name", host=served.url)[1] == "llama3.2:3b\n"
    assert run("history", "--since", "x", host=served.url)[0] == 3
    whole = json.loads(run("history", "--decision", "1", host=served.url)[1])
    assert whole["decision"]["members"][0]["name"] == "llama3.2:3b"
    assert whole["observation"]["residents"]
    assert whole["config"]["settings"]["models"]["llama3.2:3b"]["pin"]
    assert len(whole["entries"]) == 4
    assert run("history", "--decision", "999", host=served.url)[0] == 3
    told = json.loads(run("explain", "llama3.2:3b", "-o", "json", host=served.url)[1])
    assert any("warmset loaded it" in line for line in told["now"])
    assert told["would_bring_it_back"] == []
    assert told["loads"][0]["outcome"] == "loaded"
    holder = Holder(pid=4711, since=time.time(), verb="serve", config="/x")
    with take_lock(state_of(tmp_path, served.url), holder):
        code, _, err = run("apply", "--yes", host=served.url)
        assert (code, "4711" in err) == (6, True)
        assert "4711" in run("pin", "llama3.2:3b", host=served.url)[2]
        assert json.loads(run("history", "-o", "json", host=served.url)[1])["holder"]["pid"] == 4711
        assert "another file: /x" in run("unpin", "llama3.2:3b", "--save", host=served.url)[2]
        assert "is held for 30m" in run("warm", "llama3.2:3b", host=served.url)[1]


def test_orders_wait_for_the_next_warmset(run: Run, served: TwinServer, tmp_path: Path) -> None:
    """Without one that runs they are kept; an order that says what the file says is none."""
    (tmp_path / "budgets.toml").write_text('[model."llama3.2:3b"]\npin = true\n')
    orders = OrdersFile(state_of(tmp_path, served.url))
    assert "no warmset runs" in run("unpin", "llama3.2:3b", host=served.url)[2]
    assert orders.read().pins == {"llama3.2:3b": False}
    run("pin", "llama3.2:3b", host=served.url)
    assert orders.read().pins == {}
    run("pin", "nomic-embed-text", host=served.url)
    assert orders.read().pins == {"nomic-embed-text:latest": True}
    assert run("evict", "nomic-embed-text", host=served.url)[0] == 6
    run("pin", "nomic-embed-text", "--save", host=served.url)
    assert orders.read().pins == {}
    assert run("hold", "llama3.2:3b", "--for", "2h", host=served.url)[0] == 0
    assert len(orders.read().holds) == 1
    assert "not held any more" in run("hold", "llama3.2:3b", "--end", host=served.url)[1]
    assert orders.read().holds == {}
    assert run("hold", "llama3.2:3b", host=served.url)[0] == 2
    assert run("hold", "llama3.2:3b", "--for", "2h", "--end", host=served.url)[0] == 2
    (tmp_path / "budgets.toml").unlink()
    code, _, err = run("pin", "llama3.2:3b", "--save", host=served.url)
    assert (code, "warmset init" in err) == (3, True)


def test_a_model_in_use_is_not_evicted(
    run: Run, served: TwinServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request in flight shows, and refuses; with force Ollama waits for its end, and we say."""
    code, _, err = run("evict", "qwen2.5-coder:7b", host=served.url)
    assert (code, "is in use" in err) == (6, True)
    monkeypatch.setattr("warmset.shell.evict.GONE_WITHIN_SECONDS", 0.5)
    code, _, err = run("evict", "qwen2.5-coder:7b", "--force", host=served.url)
    assert (code, "still resident" in err) == (8, True)


def test_a_running_warmset_knows_of_an_eviction_before_the_model_goes(
    run: Run, served: TwinServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of one that lets the model go after its last request: it is not fetched again then."""
    (tmp_path / "budgets.toml").write_text('[model."qwen2.5-coder:7b"]\npin = true\n')
    monkeypatch.setattr("warmset.shell.evict.GONE_WITHIN_SECONDS", 0.5)
    folder = state_of(tmp_path, served.url)
    with take_lock(folder, Holder(pid=4711, since=time.time(), verb="serve")):
        assert run("evict", "qwen2.5-coder:7b", "--force", host=served.url)[0] == 8
    (until,) = OrdersFile(folder).read().rests.values()
    assert until == pytest.approx(time.time() + 600.0, abs=60.0)


def test_explain_knows_every_reason(run: Run, tmp_path: Path) -> None:
    """Conflicting pins, a pause, a hold, an eviction, one that is never fetched."""
    url = "http://twin.workstation:11434"
    budgets = tmp_path / "budgets.toml"
    budgets.write_text('[model."qwen2.5:14b"]\npin = true\n[model."qwen2.5:32b"]\npin = true\n')
    out = run("explain", "qwen2.5:14b")[1]
    assert "pins conflict" in out
    assert "unpin one of" in out
    budgets.write_text('[model."qwen2.5:14b"]\npreload = false\n')
    out = run("explain", "qwen2.5:14b")[1]
    assert "never fetched" in out
    assert "any request for it" in out
    out = run("explain", "qwen2.5:32b")[1]
    assert "`warmset hold qwen2.5:32b --for 2h`, a section in budgets.toml, or any request" in out
    assert "would keep it" not in out
    journal = Journal(state_of(tmp_path, url))
    state = State(at=1.0).note(
        find_key(run), "qwen2.5:14b", quiet_until=4e9, quiet_reason="restored 3 times"
    )
    journal.save_state(state_to_plain(state), 1.0)
    gone = EventRow(
        at=1.7e9, kind="unload_sent", text="no room", key=find_key(run), name="qwen2.5:14b"
    )
    journal.record_events([gone])
    journal.close()
    out = run("explain", "qwen2.5:14b")[1]
    assert "it is paused for" in out
    assert "restored 3 times" in out
    assert "warmset unloaded it" in out
    assert run("explain", "qwen2.5:14b", "-o", "name")[1] == "qwen2.5:14b\n"


def find_key(run: Run) -> str:
    """Returns the key of qwen2.5:14b."""
    return json.loads(run("explain", "qwen2.5:14b", "-o", "json")[1])["key"]


def test_warm_never_unloads_what_nobody_configured(run: Run) -> None:
    """Strangers in the way are no reason to push them out: it is refused, with the numbers."""
    assert run("warm", "llama3.1:8b")[1] == "llama3.1:8b is resident.\n"
    code, _, err = run("warm", "qwen2.5:32b", "--make-room")
    assert (code, "no room for it now" in err) == (6, True)


def test_explain_tells_what_a_crowded_out_model_would_need(run: Run, tmp_path: Path) -> None:
    """The bytes it needs, and that a rank or a pin would help; of unknown models nothing."""
    (tmp_path / "budgets.toml").write_text(
        '[model."qwen2.5-coder:7b"]\npin = true\n[model."qwen2.5:32b"]\n'
    )
    told = json.loads(run("explain", "qwen2.5:32b", "-o", "json")[1])
    assert not told["is_wanted"]
    assert any("needs" in line for line in told["wanted"])
    assert any("room for it" in line for line in told["would_bring_it_back"])
    assert "it is pinned" in run("explain", "qwen2.5-coder:7b")[1]
    assert run("explain", "nothing:1b")[0] == 4


def test_history_of_a_host_without_one(run: Run) -> None:
    """Nothing is no error."""
    code, out, err = run("history")
    assert (code, out) == (0, "")
    assert "no event of this host is kept" in err
    assert "no event of phi4:14b is kept, for 2h" in run("history", "phi4:14b", "--since", "2h")[2]
    assert "no demand of this host is kept" in run("history", "--daily")[2]


def test_history_never_shows_an_unknown_waiting_as_none(run: Run, tmp_path: Path) -> None:
    """From another machine load times are not seen: the sum is unknown, or has a lower bound."""
    store = DemandStore(state_of(tmp_path, "http://twin.workstation:11434"))
    now = time.time()
    store.add_load(LoadSeen(at=now, key="a", cause="demand", seconds=None))
    store.add_load(LoadSeen(at=now, key="b", cause="demand", seconds=None))
    store.add_load(LoadSeen(at=now, key="b", cause="demand", seconds=4.0))
    store.close()
    lines = run("history", "--daily")[1].splitlines()[1:]
    assert "unknown" in next(line for line in lines if " a " in line)
    assert "at least 4.0 s" in next(line for line in lines if " b " in line)
    days = json.loads(run("history", "--daily", "--json")[1])["days"]
    assert [day["untimed_cold_starts"] for day in days] == [1, 1]


def test_warm_hands_nothing_impossible_over(run: Run, tmp_path: Path) -> None:
    """What can never fit is refused with numbers; what is resident is fine; --make-room unloads."""
    (tmp_path / "budgets.toml").write_text('[model."llama3.2:3b"]\n[model."nomic-embed-text"]\n')
    assert run("warm", "llama3.2:3b")[1] == "llama3.2:3b is resident.\n"
    code, _, err = run("warm", "qwen2.5:32b")
    assert (code, "llama3.2:3b would have to go" in err) == (6, True)
    code, out, err = run("warm", "qwen2.5:32b", "--make-room")
    assert (code, out) == (0, "qwen2.5:32b is resident.\n"), err
    assert "gone" in err


def test_init_names_what_is_known_of_a_host_without_gpus(run: Run, tmp_path: Path) -> None:
    """Settings that nobody knows stay comments; the file is read back before it counts."""
    code, _, _ = run("init", host="twin://cpu?demand=idle")
    assert code == 0
    text = (tmp_path / "budgets.toml").read_text()
    assert "budget.gpu" not in text
    assert "\n[model" not in text
    assert run("check", host="twin://cpu?demand=idle")[0] == 0


def test_evict_and_apply_on_a_twin(run: Run, tmp_path: Path) -> None:
    """What is idle goes; pins that conflict and what is in the way end with their codes."""
    assert run("evict", "llama3.2:3b") == (0, "llama3.2:3b is unloaded.\n", "")
    assert run("evict", "qwen2.5:14b")[1] == "qwen2.5:14b is not resident.\n"
    code, _, err = run("evict", "lama3.2:3b")
    assert (code, "did you mean llama3.2:3b?" in err) == (4, True)
    budgets = tmp_path / "budgets.toml"
    budgets.write_text('[model."qwen2.5:14b"]\npin = true\n[model."qwen2.5:32b"]\npin = true\n')
    assert run("apply", "--yes")[0] == 6
    budgets.write_text('[model."qwen2.5:32b"]\npriority = 90\n')
    assert "left out: qwen2.5:32b: needs 21.5 GiB" in run("apply", "--yes")[1]
    budgets.write_text('[model."qwen2.5:32b"]\npin = true\n')
    code, _, err = run("apply")
    assert code in (6, 8)
    code, _, err = run("apply", "--yes")
    assert (code, "nothing more can be done now" in err) == (8, True)
    code, _, err = run("apply", "--yes", "--timeout", "1s")
    assert (code, "the plan is not true yet" in err) == (8, True)
    assert run("init", "--out", "-")[1].startswith("# Written by `warmset init`")


def test_serve_says_once_what_it_would_do(run: Run, tmp_path: Path) -> None:
    """`--dry-run` ends after one decision; the file of the folder it starts in does not count."""
    (tmp_path / "budgets.toml").write_text('[model."llama3.1:8b"]\npin = true\n')
    code, _, err = run("serve", "--dry-run")
    lines = [json.loads(line) for line in err.splitlines()]
    assert code == 0
    assert [line["event"] for line in lines] == ["decision", "stopped"]
    assert lines[0]["sends"] == []
    code, _, err = run("serve", "--dry-run", "--config", "budgets.toml")
    assert [s["model"] for s in json.loads(err.splitlines()[0])["sends"]] == ["llama3.1:8b"]


def test_signals_are_words() -> None:
    """Each known signal puts its word into the inbox; the first to stop starts the countdown;
    afterwards the handlers are those of before."""
    before = signal.getsignal(signal.SIGHUP)
    inbox: SimpleQueue[object] = SimpleQueue()
    stops: list[int] = []
    with signals_to(inbox, on_stop=lambda: stops.append(1)):
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
            signal.raise_signal(number)
    heard = [inbox.get_nowait() for _ in range(4)]
    assert heard == [Word.RELOAD, Word.DUMP, Word.STOP, Word.STOP]
    assert stops == [1]
    assert signal.getsignal(signal.SIGHUP) is before
