"""Commands to a server, and the event that each of them ends in."""

from __future__ import annotations

import threading

import pytest

from warmset.core.control.orders import (
    Aborted,
    Cancel,
    Done,
    Event,
    Failed,
    ReadResidents,
    SendPing,
    SendPreload,
    SendUnload,
    Started,
    TimedOut,
)
from warmset.core.model import Entry, ModelKey, Resident
from warmset.errors import BackendTimeout, BadStatus, Refused, UnknownModel, Unreachable
from warmset.shell.perform import Performer, SteadyClock, Worker

KEY = ModelKey("sha256:aa")
ENTRY = Entry(key=KEY, names=("a:1b",), manifest_digests={"a:1b": "d"}, file_bytes=1)
ROW = Resident(
    name="a:1b",
    manifest_digest="d",
    key=KEY,
    size_bytes=1,
    size_vram_bytes=1,
    context=4096,
    expires_at=1000.0,
)
PRELOAD = SendPreload(number=1, key=KEY, name="a:1b", keep_alive=60.0, num_ctx=None)


class Clock:
    """Wall clock and steady clock that disagree."""

    def now(self) -> float:
        return 5000.0

    def monotonic(self) -> float:
        return 10.0


class Server:
    """Answers at once, fails as told, or waits until it is hung up on."""

    url = "http://server"

    def __init__(self, error: Exception | None = None, *, waits: bool = False) -> None:
        self.error = error
        self.called: list[str] = []
        self.reached = threading.Event()
        self.hung_up = threading.Event()
        self.is_closed = False
        self.waits = waits

    def _answer(self, what: str) -> None:
        self.called.append(what)
        self.reached.set()
        if self.waits:
            assert self.hung_up.wait(5)
            raise Unreachable("gone")
        if self.error is not None:
            raise self.error

    def residents(self, entries: tuple[Entry, ...]) -> tuple[Resident, ...]:
        self._answer(f"ps {len(entries)}")
        return (ROW,)

    def preload(self, entry: Entry, *, keep_alive: float, num_ctx: int | None = None) -> None:
        self._answer(f"preload {entry.name} {keep_alive} {num_ctx}")

    def ping(self, entry: Entry, resident: Resident, *, keep_alive: float) -> None:
        self._answer(f"ping {resident.name} {keep_alive}")

    def unload(self, name: str) -> None:
        self._answer(f"unload {name}")

    def hang_up(self) -> None:
        self.hung_up.set()

    def close(self) -> None:
        self.is_closed = True


class Stage:
    """A performer with the servers it opens, and what it reports."""

    def __init__(self, *servers: Server) -> None:
        self.left = list(servers)
        self.events: list[Event] = []
        self.ended = threading.Event()
        self.performer = Performer(self._open, SteadyClock(Clock()), self._hear)
        self.performer.know((ENTRY,))

    def _open(self) -> Server:
        return self.left.pop(0)

    def _hear(self, event: Event) -> None:
        self.events.append(event)
        if not isinstance(event, Started):
            self.ended.set()


def test_the_steady_clock_starts_at_the_wall_clock() -> None:
    """`step`'s time is Unix seconds that no setting of the clock moves."""
    assert SteadyClock(Clock()).now() == 5000.0


def test_each_command_reaches_its_lever() -> None:
    """The list of residents comes with the moments that judge it; levers get their values."""
    server = Server()
    stage = Stage(server)
    stage.performer.perform(ReadResidents(number=1))
    assert stage.events[-1] == Done(
        number=1, at=5000.0, asked_at=5000.0, wall_at=5000.0, residents=(ROW,)
    )
    stage.performer.perform(SendPing(number=2, key=KEY, name="a:1b", resident=ROW, keep_alive=60.0))
    stage.performer.perform(
        SendPreload(number=3, key=KEY, name="a:1b", keep_alive=70.0, num_ctx=8192)
    )
    stage.performer.perform(SendUnload(number=4, key=KEY, name="a:1b"))
    assert server.called == ["ps 1", "ping a:1b 60.0", "preload a:1b 70.0 8192", "unload a:1b"]
    assert [type(e) for e in stage.events] == [Started, Done] * 4


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (BackendTimeout("slow"), TimedOut(number=1, at=5000.0)),
        (Unreachable("gone"), Failed(number=1, at=5000.0, error="gone")),
        (
            BadStatus("long", context={"status": 500, "error": "oom", "meaning": "out_of_memory"}),
            Failed(number=1, at=5000.0, error="oom", status=500),
        ),
        (
            BadStatus("x", context={"status": 400, "meaning": "missing_capability"}),
            Failed(number=1, at=5000.0, error="x", status=400, is_final=True),
        ),
        (UnknownModel("no"), Failed(number=1, at=5000.0, error="no", is_final=True)),
        (Refused("cloud"), Failed(number=1, at=5000.0, error="cloud", is_final=True)),
        (ZeroDivisionError("bug"), Failed(number=1, at=5000.0, error="ZeroDivisionError: bug")),
    ],
    ids=["timeout", "gone", "memory", "capability", "unknown", "refused", "bug"],
)
def test_every_failure_is_an_event(error: Exception, expected: Event) -> None:
    """Nothing that a server or a bug does escapes; what another try cannot help is final."""
    stage = Stage(Server(error))
    stage.performer.perform(PRELOAD)
    assert stage.events == [Started(number=1, at=5000.0), expected]


def test_a_model_that_is_gone_is_final() -> None:
    """It is not asked for by name: another model could have taken it."""
    stage = Stage(Server())
    stage.performer.know(())
    stage.performer.perform(PRELOAD)
    assert isinstance(stage.events[-1], Failed)
    assert stage.events[-1].is_final


def test_what_is_called_off_is_aborted_and_the_next_goes_on() -> None:
    """A hanging load ends by hanging up; its connection is closed, the next one is fresh."""
    hanging, fresh = Server(waits=True), Server()
    stage = Stage(hanging, fresh)
    worker = Worker(stage.performer)
    worker.take(PRELOAD)
    assert hanging.reached.wait(5)
    worker.take(Cancel(number=1))
    assert stage.ended.wait(5)
    assert stage.events[-1] == Aborted(number=1, at=5000.0)
    stage.ended.clear()
    worker.take(SendUnload(number=2, key=KEY, name="a:1b"))
    assert stage.ended.wait(5)
    worker.end(within_seconds=5)
    assert hanging.is_closed
    assert fresh.called == ["unload a:1b"]


def test_what_was_called_off_before_it_began_is_never_sent() -> None:
    """The race between a command and its end has one winner."""
    stage = Stage(Server())
    stage.performer.cancel(1)
    stage.performer.perform(PRELOAD)
    assert stage.events == [Aborted(number=1, at=5000.0)]
    assert len(stage.left) == 1


def test_nothing_is_performed_after_the_end() -> None:
    """An idle connection is closed at once; later commands are aborted."""
    server = Server()
    stage = Stage(server)
    stage.performer.perform(ReadResidents(number=1))
    stage.performer.close()
    assert server.is_closed
    stage.performer.perform(SendUnload(number=2, key=KEY, name="a:1b"))
    assert isinstance(stage.events[-1], Aborted)
