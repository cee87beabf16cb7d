"""The daemon: looks, events and signals in one inbox, and one thread that takes from it.

Everything slow happens elsewhere: a look in one thread, the open command in another. The thread
here only passes values on, so a word from outside (SIGTERM above all) is heard at once, whatever
the server does. Nothing is decided here.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

from warmset.core.control.loop import Loop
from warmset.core.control.orders import Aborted, Cancel, Command, Done, Failed, Started, TimedOut
from warmset.core.control.state import state_to_plain
from warmset.core.host.picture import Picture
from warmset.core.model import Observation
from warmset.errors import WarmsetError
from warmset.shell.installed import Installed
from warmset.shell.loop_look import look_for_loop
from warmset.shell.perform import Performer, SteadyClock, Worker
from warmset.shell.report import Report
from warmset.shell.said import Said
from warmset.shell.signals import Word
from warmset.shell.wiring import Connection

PATIENCE_SECONDS: Final = 0.7
"""At the end, for the open command to report that it was called off; two seconds are promised."""

TWIN_NAP_SECONDS: Final = 0.25
"""A twin inside this process lives only while it is let: in naps of this length."""


class StopDecidingError(Exception):
    """Thrown into a decision that takes long, when it is not wanted any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """A look has ended. `error` is a traceback: then there is nothing else."""

    observation: Observation | None
    picture: Picture | None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What the loop does not know itself.

    Attributes:
        said: returns the operator's words as they stand now.
        reload: reads the file again.
        report: is told of all that happens.
    """

    said: Callable[[], Said]
    reload: Callable[[], None]
    report: Report


class Daemon:
    """One loop beside one host, until it is told to stop.

    Args:
        connection: the host.
        performer: carries out commands, and tells the inbox.
        loop: step and executor.
        outside: the operator's words, and who is told.
        inbox: takes `Word`s from signal handlers, looks and events.
        clock: `step`'s time.
        is_twin: the host lives in this process, so there is nothing to wait for in threads.
    """

    def __init__(
        self,
        *,
        connection: Connection,
        performer: Performer,
        loop: Loop,
        outside: Outside,
        inbox: SimpleQueue[object],
        clock: SteadyClock,
        is_twin: bool = False,
    ) -> None:
        self._connection = connection
        self._performer = performer
        self._worker = None if is_twin else Worker(performer)
        self._loop = loop
        self._outside = outside
        self._report = outside.report
        self._inbox = inbox
        self._clock = clock
        self._picture: Picture | None = None
        self._installed = Installed()
        self._is_looking = False
        self._look_began = 0.0
        self._is_deciding = False
        self._heard = 0  # events since the look began that changed something

    def run(self, *, is_once: bool = False) -> None:
        """Keeps the plan true until a word to stop, or until the first decision.

        Raises:
            Exception: a decision failed; it was told and recorded, and nothing more is done.
        """
        while not (is_once and self._loop.decision is not None):
            if not self._is_looking and self._clock.now() >= self._loop.wake_at:
                self._begin_look()
            message = self._next()
            if message is Word.STOP:
                self._report.log.write("stopping")
                break
            with suppress(StopDecidingError):  # the word to stop is in the inbox
                self._take(message)
        self._end()

    def interrupt(self) -> None:
        """Ends a decision that is being made; for a signal handler in the loop's own thread.

        A decision is a pure function: what is left of one that was broken off is nothing.
        """
        if self._is_deciding:
            self._is_deciding = False
            raise StopDecidingError

    # -- messages ---------------------------------------------------------------------------------

    def _next(self) -> object:
        seconds = max(0.0, self._loop.wake_at - self._clock.now())
        try:
            if self._worker is None:
                return self._nap(seconds)
            return self._inbox.get(timeout=None if self._is_looking else seconds)
        except Empty:
            return None

    def _nap(self, seconds: float) -> object:
        try:
            return self._inbox.get_nowait()
        except Empty:
            self._connection.wait(min(seconds, TWIN_NAP_SECONDS))
            return None

    def _take(self, message: object) -> None:
        if isinstance(message, Looked):
            self._is_looking = False
            self._decide(message)
        elif isinstance(message, Done | Failed | TimedOut | Aborted):
            self._heard += 1
            commands, findings = self._loop.hear(message, self._clock.now())
            self._report.heard(findings)
            self._send(commands)
        elif message is Word.RELOAD:
            self._reload()
        elif message is Word.DUMP:
            self._dump()
        else:
            assert message is None or isinstance(message, Started), message

    def _begin_look(self) -> None:
        self._is_looking = True
        self._look_began = self._connection.clock.monotonic()
        self._heard = 0
        if self._worker is None:
            self._look()
        else:
            threading.Thread(target=self._look, name="look", daemon=True).start()

    def _look(self) -> None:
        settings = self._loop.config.settings
        try:
            observation, picture = look_for_loop(
                self._connection,
                settings,
                self._picture,
                installed=self._installed,
                learns=self._report.is_kept,  # who only observes leaves no trace
                asks_who=self._loop.decision is not None and self._loop.decision.asks_who,
            )
        except Exception:  # noqa: BLE001 - the loop must hear of every end
            self._inbox.put(Looked(observation=None, picture=None, error=traceback.format_exc()))
        else:
            self._inbox.put(Looked(observation=observation, picture=picture))

    def _decide(self, looked: Looked) -> None:
        now = self._clock.now()
        if looked.observation is None:
            self._report.log.write("look_failed", "error", traceback=looked.error)
            raise RuntimeError("a look failed in a way that nobody foresaw")
        if self._heard:
            return  # an order ended meanwhile: what was seen may be of before; look again at once
        self._picture = looked.picture
        said = self._outside.said()
        config = said.config(wall=looked.observation.at, now=now)
        self._loop.configure(config)
        self._performer.know(looked.observation.entries or self._performer.known)
        before = self._loop.state
        self._is_deciding = True
        try:
            commands = self._loop.look(looked.observation, now)
        except StopDecidingError:
            raise
        except Exception:
            self._report.decision_failed(looked.observation, self._loop)
            raise
        finally:
            self._is_deciding = False
        seconds = self._connection.clock.monotonic() - self._look_began
        self._report.decided(looked.observation, self._picture, self._loop, before, seconds)
        self._send(commands)

    def _send(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if self._worker is not None:
                self._worker.take(command)
            elif not isinstance(command, Cancel):
                self._performer.perform(command)

    # -- words from outside -----------------------------------------------------------------------

    def _reload(self) -> None:
        """Takes over an edited file; a wrong one changes nothing."""
        try:
            self._outside.reload()
        except WarmsetError as error:
            self._report.config_refused(error)
            return
        self._report.event("config_reloaded", "the operator's file was read again", is_logged=True)
        self._loop.wake_at = 0.0

    def _dump(self) -> None:
        self._report.log.write(
            "state",
            state=state_to_plain(self._loop.state),
            decision=self._loop.decision,
            wake_at=self._loop.wake_at,
            is_looking=self._is_looking,
        )

    def _end(self) -> None:
        """Calls off what is open, waits a little for its end, and saves what is known."""
        self._send(self._loop.stop())
        deadline = self._clock.now() + PATIENCE_SECONDS
        while not self._loop.is_idle and (left := deadline - self._clock.now()) > 0:
            try:
                message = self._inbox.get(timeout=left)
            except Empty:
                break
            if isinstance(message, Done | Failed | TimedOut | Aborted):
                self._report.heard(self._loop.hear(message, self._clock.now())[1])
        if not self._loop.is_idle:
            self._report.event("order_left_open", "the open order did not end in time")
        self._report.ended(self._loop.state)
        if self._worker is not None:
            self._worker.end(within_seconds=0.1)
