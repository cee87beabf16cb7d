"""The work behind `warmset serve`: everything a daemon needs, in order, and its end."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from warmset.adapters.journal import (
    DemandStore,
    Journal,
    OrdersFile,
    make_folder,
    state_folder,
)
from warmset.core.control.loop import Loop
from warmset.core.control.state import State
from warmset.core.settings import Settings
from warmset.errors import Unreachable
from warmset.ports import ModelServer
from warmset.shell.daemon import Daemon, Outside
from warmset.shell.demand_keeper import DemandKeeper
from warmset.shell.lock import Holder, take_lock
from warmset.shell.log import EventLog
from warmset.shell.perform import Performer, SteadyClock
from warmset.shell.record import Recorder
from warmset.shell.release import release
from warmset.shell.report import Report
from warmset.shell.signals import Word, signals_to
from warmset.shell.telemetry.telling import Telling
from warmset.shell.telemetry.web import check_listen
from warmset.shell.wiring import TWIN_SCHEME, Connection, connect
from warmset.shell.words import Words

SUCCESSOR_SECONDS: Final = 3.0
"""A successor waits so long for the lock: longer than a predecessor may take to end."""

LAST_RESORT_SECONDS: Final = 1.8
"""After a word to stop the process ends, whatever its threads wait for or compute."""

RELEASE_SECONDS: Final = 0.7
"""For giving leases back at the end, out of the two seconds that are promised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOrder:
    """What is to be served.

    Attributes:
        load: reads the operator's file, environment and flags.
        is_observe: decide and say, write nothing.
        is_once: end after the first decision.
        environ: names the state folder.
        verb: by which name the host's lock tells of it.
    """

    load: Callable[[], Settings]
    is_observe: bool = False
    is_once: bool = False
    log_least: str = "note"
    environ: Mapping[str, str]
    verb: str = "serve"


def serve(order: ServeOrder) -> None:
    """Keeps the plan true until SIGTERM or Ctrl-C.

    Raises:
        Refused: another warmset steers this host.
        Unreachable: of one that decides once, the server does not answer.
        ConfigError: the file is wrong at the start, the state folder cannot be used, or the
            address to listen on.
    """
    settings = order.load()
    check_listen(settings)
    with ExitStack() as stack:
        connection = connect(settings, environ=order.environ)
        stack.callback(connection.close)
        service = Service(order, settings, connection)
        stack.enter_context(service.hearing_signals())
        service.run(service.take_over(stack))


class Service:
    """One daemon with all that it needs.

    Args:
        order: what is to be served.
        settings: the operator's file as read at the start.
        connection: the host.
    """

    def __init__(self, order: ServeOrder, settings: Settings, connection: Connection) -> None:
        self._order = order
        self._settings = settings
        self._connection = connection
        self._is_twin = settings.url.startswith(TWIN_SCHEME)
        orders = None
        if not self._is_twin:
            orders = OrdersFile(state_folder(order.environ, connection.server.url))
        self._words = Words(
            order.load, settings, orders, is_local=connection.is_local, warn=self._warn
        )
        self._log = EventLog(connection.clock.now, least=order.log_least)
        self._telling = Telling(connection.clock, self._log, order.environ)
        self._clock = SteadyClock(connection.clock)
        self._recorder: Recorder | None = None
        self._keeper: DemandKeeper | None = None
        self._inbox: SimpleQueue[object] = SimpleQueue()
        self._daemon: Daemon | None = None

    def hearing_signals(self) -> AbstractContextManager[None]:
        """Signals are words in the inbox inside this block."""
        return signals_to(self._inbox, on_stop=self._hear_stop)

    def take_over(self, stack: ExitStack) -> State:
        """Takes the lock and what an earlier process left; `stack` gives both back.

        Who only observes leaves no trace, and a twin inside this process has no past.
        """
        if self._order.is_observe or self._is_twin:
            self._show(stack)
            return State()
        folder = make_folder(state_folder(self._order.environ, self._connection.server.url))
        holder = Holder(
            pid=os.getpid(),
            since=time.time(),
            verb=self._order.verb,
            config=str(Path(self._settings.path).resolve()) if self._settings.path else "",
        )
        lock = take_lock(folder, holder, wait_seconds=SUCCESSOR_SECONDS, may_wait=self._inbox.empty)
        stack.enter_context(lock)
        self._show(stack, folder)  # not before: a predecessor answers until it gives up the lock
        lock.tell(replace(holder, url=self._telling.url))
        journal = Journal(folder)
        stack.callback(journal.close)
        self._recorder = Recorder(journal)
        demand = DemandStore(folder)
        stack.callback(demand.close)
        self._keeper = DemandKeeper(demand)
        state, remark = self._recorder.restore()
        self._warn("journal_trouble", journal.take_trouble())
        self._warn("demand_trouble", demand.take_trouble())
        self._warn("state_remark", remark)
        self._log.write(
            "started",
            pid=holder.pid,
            server=self._connection.server.url,
            config=holder.config or None,
            state=str(folder),
            remembered=len(state.models),
        )
        self._event("started", f"warmset {holder.verb}, process {holder.pid}")
        return state

    def _show(self, stack: ExitStack, folder: Path | None = None) -> None:
        """Begins to answer; who decides once has nothing to answer."""
        if not self._order.is_once:
            stack.callback(self._telling.stop)
            self._telling.start(self._settings, folder)

    def run(self, state: State) -> None:
        """Runs the daemon until it is told to stop.

        Raises:
            Unreachable: it was to decide once, and the server did not answer.
        """
        inbox = self._inbox
        config = self._words.said().config(wall=self._connection.clock.now(), now=self._clock.now())
        loop = Loop(config, state, is_read_only=self._order.is_observe)
        performer = Performer(self._open_server, self._clock, inbox.put)
        self._daemon = daemon = Daemon(
            connection=self._connection,
            performer=performer,
            loop=loop,
            outside=Outside(
                said=self._words.said,
                reload=self._reload,
                report=Report(
                    self._log,
                    self._recorder,
                    (*self._telling.listeners, *([self._keeper] if self._keeper else [])),
                    self._connection.clock,
                ),
            ),
            inbox=inbox,
            clock=self._clock,
            is_twin=self._is_twin,
        )
        try:
            daemon.run(is_once=self._order.is_once)
            if loop.config.loop.on_stop == "release" and not self._order.is_observe:
                self._release(performer, loop)
        finally:
            performer.close()
            hang_up = getattr(self._connection.server, "hang_up", None)
            if callable(hang_up):
                hang_up()  # a look that waits for a slow server must not keep us
            self._event("stopped", f"warmset {self._order.verb} ended")
            self._log.write("stopped")
        decision = loop.decision
        if self._order.is_once and decision is not None and decision.trouble:
            raise Unreachable(decision.trouble, hint="`warmset doctor` looks for the cause")

    def _reload(self) -> None:
        with self._telling.reloading():
            self._words.reload()
        if self._words.settings.serve != self._settings.serve:
            self._warn("restart_needed", "[serve] changed: it counts after a restart of warmset")

    def end(self) -> None:
        """Tells the daemon to stop; from any thread."""
        self._inbox.put(Word.STOP)

    def _hear_stop(self) -> None:
        """Runs inside the signal handler."""
        self._telling.stopping()
        self._begin_countdown()
        if self._daemon is not None:
            self._daemon.interrupt()

    def _begin_countdown(self) -> None:
        """Ends the process in time even if a thread hangs in a driver, or a plan takes long.

        Nothing is lost by it: the journal is whole at any moment, and the kernel closes every
        connection, which is how Ollama learns that a load is not wanted any more.
        """

        def end() -> None:
            self._log.write("stopped_late", "warning", seconds=LAST_RESORT_SECONDS)
            os._exit(0)

        timer = threading.Timer(LAST_RESORT_SECONDS, end)
        timer.daemon = True
        timer.start()

    def _open_server(self) -> ModelServer:
        """Orders go by a connection of their own, which may be hung up on."""
        if self._is_twin:
            return self._connection.server
        return connect(self._settings, environ=self._order.environ).server

    def _release(self, performer: Performer, loop: Loop) -> None:
        """Gives leases back, for as long as there is time."""
        deadline = time.monotonic() + RELEASE_SECONDS
        released: list[str] = []

        def work() -> None:
            released.extend(
                release(
                    self._connection.server,
                    performer.known,
                    loop.state,
                    settings=loop.config.settings,
                    clock=self._connection.clock,
                    may_go_on=lambda: time.monotonic() < deadline,
                )
            )

        thread = threading.Thread(target=work, name="release", daemon=True)
        thread.start()
        thread.join(RELEASE_SECONDS)
        self._log.write("released", models=tuple(released))

    def _warn(self, kind: str, text: str) -> None:
        if text:
            self._log.write(kind, "warning", text=text)
            self._event(kind, text)

    def _event(self, kind: str, text: str) -> None:
        if self._recorder is not None:
            self._recorder.event(kind, text, self._connection.clock.now())
