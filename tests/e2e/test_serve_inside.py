"""The daemon inside this process, beside a pretended Ollama on loopback: its rarer days."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from actors import make_process_table
from serving_rig import HOST, SLOW

from warmset.adapters.config import load_settings
from warmset.adapters.journal import Orders, OrdersFile, open_for_reading, state_folder
from warmset.cli.commands.serve import with_flags
from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import physics_of
from warmset.shell import daemon as daemon_module
from warmset.shell.serve import ServeOrder, Service
from warmset.shell.signals import Word
from warmset.shell.twin_files import find_host
from warmset.shell.twin_server import TwinServer
from warmset.shell.wiring import connect

SMALL = '[model."nomic-embed-text"]\npin = true\n'


class Inside:
    """A daemon in a thread.

    Args:
        folder: holds configuration and state.
        url: the host.
    """

    def __init__(self, folder: Path, url: str, **order: object) -> None:
        self.folder = folder
        self.environ = {"WARMSET_STATE": str(folder / "state")}
        if sys.platform == "linux":
            self.environ["HOST_PROC"] = str(make_process_table(folder / "seen", os.getpid()))
        self.path = folder / "config.toml"
        self.flag: str | None = url
        if not self.path.exists():
            self.path.write_text(SMALL)
        self.url = url
        self.order = ServeOrder(
            load=lambda: with_flags(
                load_settings(config=str(self.path), host=self.flag), tick=0.2, on_stop=None
            ),
            environ=self.environ,
            **order,
        )
        self.state = state_folder(self.environ, connected_url(url))
        self.failure: BaseException | None = None
        self.service: Service | None = None
        self.thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begins, and waits until it hears."""
        self.thread.start()
        wait_until(lambda: self.service is not None or not self.thread.is_alive())

    def tell(self, word: Word) -> None:
        """Says a word to it, as a signal would."""
        assert self.service is not None
        self.service._inbox.put(word)

    def stop(self) -> None:
        """Ends it."""
        self.tell(Word.STOP)
        self.thread.join(5)
        assert not self.thread.is_alive()

    def kinds(self) -> list[str]:
        """Returns what the journal tells."""
        pages = open_for_reading(self.state)
        if pages is None:
            return []
        try:
            return [event.kind for event in pages.events(limit=1000)]
        finally:
            pages.close()

    def _run(self) -> None:
        try:
            settings = self.order.load()
            with ExitStack() as stack:
                connection = connect(settings, environ=self.environ)
                stack.callback(connection.close)
                service = Service(self.order, settings, connection)
                state = service.take_over(stack)
                self.service = service
                service.run(state)
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.failure = error


def connected_url(url: str) -> str:
    """Returns the address as the connection spells it."""
    return url if url.startswith("http") else "http://twin.laptop:11434"


def wait_until(fact: Callable[[], object], seconds: float = 30.0) -> None:
    """Waits for another thread."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


@pytest.fixture(autouse=True)
def _own_process_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes back what HOST_PROC changes in psutil, for the whole process."""
    if sys.platform == "linux":
        monkeypatch.setattr(psutil, "PROCFS_PATH", psutil.PROCFS_PATH)


@pytest.fixture
def twin(tmp_path: Path) -> Iterator[TwinServer]:
    """A pretended Ollama in this process."""
    (tmp_path / "host.toml").write_text(HOST)
    spec = find_host(str(tmp_path / "host.toml"))
    with TwinServer(Api(TwinHost(spec, physics_of(spec), Timeline(time.time())))) as server:
        yield server


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    """Returns the log so far, since the last time."""
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_orders_and_a_reload_are_taken_up(
    twin: TwinServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An order counts at the next look; a damaged one is told once; another address is refused."""
    inside = Inside(tmp_path, twin.url)
    inside.start()
    wait_until(lambda: "preloaded" in inside.kinds())
    held = {"llama3.2:3b": time.time() + 100}
    OrdersFile(inside.state).change(lambda _: Orders(holds=held), now=time.time())
    wait_until(lambda: inside.kinds().count("preloaded") == 2)
    (inside.state / "orders.json").write_text("{")
    wait_until(lambda: "orders_trouble" in inside.kinds())
    inside.path.write_text('[ollama]\nurl = "http://127.0.0.1:1"\n')
    inside.flag = None  # now the file's own address counts
    inside.tell(Word.RELOAD)
    wait_until(lambda: "config_refused" in inside.kinds())
    inside.tell(Word.DUMP)
    inside.stop()
    assert inside.failure is None
    told = lines(capsys)
    events = [line["event"] for line in told]
    refused = next(line for line in told if line["event"] == "config_refused")
    assert "the address changed" in refused["error"]
    assert events.count("orders_trouble") == 1
    dump = next(line for line in told if line["event"] == "state")
    assert dump["decision"]["members"]
    assert inside.kinds()[-1] == "stopped"


def test_a_load_is_called_off_and_the_state_is_kept(twin: TwinServer, tmp_path: Path) -> None:
    """The end hangs up on the load, the server gives it up, and the next process knows of it."""
    (tmp_path / "config.toml").write_text(f'[model."{SLOW}"]\npin = true\n')
    inside = Inside(tmp_path, twin.url)
    inside.start()
    wait_until(lambda: "preload_ordered" in inside.kinds())
    time.sleep(0.3)
    inside.stop()
    assert inside.kinds()[-2:] == ["load_aborted", "stopped"]
    wait_until(lambda: twin.abandoned == 1)
    pages = open_for_reading(inside.state)
    assert pages is not None
    (load,) = pages.loads()
    assert (load.outcome, load.actual_bytes) == ("aborted", None)
    pages.close()


def test_leases_are_given_back(twin: TwinServer, tmp_path: Path) -> None:
    """With `on_stop = "release"` the model stays, with the server's own five minutes."""
    (tmp_path / "config.toml").write_text(f'[policy]\non_stop = "release"\n{SMALL}')
    inside = Inside(tmp_path, twin.url)
    inside.start()
    # The twin has no GPU, but earlier tests may have given this process a pretended one: then the
    # load is seen to lie in RAM instead of where it was expected.
    wait_until(lambda: {"preload_verified", "preload_spilled"} & set(inside.kinds()))
    inside.stop()
    with twin.locked() as host:
        (runner,) = host.scheduler.loaded.values()
        assert runner.duration == 300.0


def test_an_observer_sends_nothing_and_keeps_nothing(twin: TwinServer, tmp_path: Path) -> None:
    """It decides like any other, and there is no trace of it."""
    inside = Inside(tmp_path, twin.url, is_observe=True)
    inside.start()
    time.sleep(0.6)
    inside.stop()
    assert inside.failure is None
    assert not inside.state.exists()
    with twin.locked() as host:
        assert not host.scheduler.loaded


def test_a_decision_that_fails_is_recorded_and_ends_it(
    twin: TwinServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug of ours must not guess on: the look that showed it is kept, and nothing is sent."""

    def fail(*_: object) -> None:
        raise AssertionError("it does not add up")

    monkeypatch.setattr("warmset.core.control.loop.step", fail)
    inside = Inside(tmp_path, twin.url)
    inside.thread.start()
    inside.thread.join(5)
    assert isinstance(inside.failure, AssertionError)
    assert "decision_failed" in inside.kinds()
    pages = open_for_reading(inside.state)
    assert pages is not None
    (kept,) = pages.decisions()
    assert "it does not add up" in str(kept.body["error"])
    assert kept.body["observation"]
    pages.close()


def test_a_look_that_fails_unforeseen_ends_it(
    twin: TwinServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in a probe is told with its traceback, and nothing is decided without a look."""

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(daemon_module, "look_for_loop", fail)
    inside = Inside(tmp_path, twin.url)
    inside.thread.start()
    inside.thread.join(5)
    assert isinstance(inside.failure, RuntimeError)


def test_a_damaged_journal_is_no_reason_not_to_start(
    twin: TwinServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is set aside, the log says so, and the loop begins as if it were the first."""
    inside = Inside(tmp_path, twin.url)
    inside.state.mkdir(parents=True)
    (inside.state / "journal.sqlite3").write_bytes(b"no database, " * 1000)
    inside.start()
    wait_until(lambda: "preloaded" in inside.kinds())
    inside.stop()
    told = {line["event"]: line for line in lines(capsys)}
    assert "set aside" in told["journal_trouble"]["text"]


def test_a_twin_in_the_process_is_served_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`serve --host twin://…` lives with a host that has no socket; its time is ours."""
    inside = Inside(tmp_path, "twin://laptop?demand=idle")
    inside.start()
    time.sleep(1.0)
    inside.stop()
    assert inside.failure is None
    assert "preloaded" in [line["event"] for line in lines(capsys)]
    assert not inside.state.exists()


def test_a_decision_that_takes_long_is_broken_off(
    twin: TwinServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM in the middle of it ends the loop at once, state saved, nothing sent."""

    def ponder(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            sum(range(100))
        raise AssertionError("it pondered to the end")

    monkeypatch.setattr("warmset.core.control.loop.step", ponder)
    monkeypatch.setattr(Service, "_begin_countdown", lambda _: None)
    inside = Inside(tmp_path, twin.url)
    began = time.monotonic()
    with ExitStack() as stack:
        connection = connect(inside.order.load(), environ=inside.environ)
        stack.callback(connection.close)
        service = Service(inside.order, inside.order.load(), connection)
        stack.enter_context(service.hearing_signals())
        service.run(service.take_over(stack))
    assert time.monotonic() - began < 30
    assert inside.kinds() == ["started", "stopped"]
