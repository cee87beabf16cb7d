"""`warmset serve`: looks, events and signals in one inbox, and one thread that takes from it.

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

from warmset.core.control.actions import Action, Decision, Finding, Severity, Wait
from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.control.orders import Aborted, Cancel, Command, Done, Failed, Started, TimedOut
from warmset.core.control.state import state_to_plain
from warmset.core.host.picture import Picture
from warmset.core.model import Observation
from warmset.errors import WarmsetError
from warmset.shell.installed import Installed
from warmset.shell.log import EventLog
from warmset.shell.loop_look import look_for_loop
from warmset.shell.perform import Performer, SteadyClock, Worker
from warmset.shell.record import Recorder, digest_of
from warmset.shell.said import Said
from warmset.shell.signals import Word
from warmset.shell.telemetry.listening import Listener, Step
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
        recorder: `None` for a loop that writes nothing.
        listeners: hear of every step.
    """

    said: Callable[[], Said]
    reload: Callable[[], None]
    recorder: Recorder | None
    listeners: tuple[Listener, ...] = ()


class Daemon:
    """One loop beside one host, until it is told to stop.

    Args:
        connection: the host.
        performer: carries out commands, and tells the inbox.
        loop: step and executor.
        outside: the operator's words, the journal.
        log: where events are told.
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
        log: EventLog,
        inbox: SimpleQueue[object],
        clock: SteadyClock,
        is_twin: bool = False,
    ) -> None:
        self._connection = connection
        self._performer = performer
        self._worker = None if is_twin else Worker(performer)
        self._loop = loop
        self._outside = outside
        self._log = log
        self._inbox = inbox
        self._clock = clock
        self._picture: Picture | None = None
        self._installed = Installed()
        self._is_looking = False
        self._look_began = 0.0
        self._is_deciding = False
        self._heard = 0  # events since the look began that changed something
        self._said_last = ""

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
                self._log.write("stopping")
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
            self._tell(findings)
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
            learns = self._outside.recorder is not None  # who only observes leaves no trace
            observation, picture = look_for_loop(
                self._connection,
                settings,
                self._picture,
                installed=self._installed,
                learns=learns,
            )
        except Exception:  # noqa: BLE001 - the loop must hear of every end
            self._inbox.put(Looked(observation=None, picture=None, error=traceback.format_exc()))
        else:
            self._inbox.put(Looked(observation=observation, picture=picture))

    def _decide(self, looked: Looked) -> None:
        now = self._clock.now()
        if looked.observation is None:
            self._log.write("look_failed", "error", traceback=looked.error)
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
            self._log.write("decision_failed", "error", traceback=traceback.format_exc())
            self._record_failure(looked.observation)
            raise
        finally:
            self._is_deciding = False
        decision = self._loop.decision
        assert decision is not None
        self._log_decision()
        self._tell_findings(decision.findings)
        recorder = self._outside.recorder
        if recorder is not None:
            recorder.decision(
                looked.observation,
                config,
                before,
                decision,
                self._loop.wish,
                after=self._loop.state,
            )
            recorder.state(self._loop.state, looked.observation.at)
            self._tell_journal(recorder)
        step = self._step_of(looked.observation, config, decision)
        self._inform(lambda listener: listener.stepped(step))
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
            self._log.write("config_refused", "error", error=error.message, hint=error.hint)
            self._event("config_refused", error.message)
            return
        self._log.write("config_reloaded")
        self._event("config_reloaded", "the operator's file was read again")
        self._loop.wake_at = 0.0

    def _dump(self) -> None:
        self._log.write(
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
                self._tell(self._loop.hear(message, self._clock.now())[1])
        if not self._loop.is_idle:
            self._event("order_left_open", "the open order did not end in time")
        if self._outside.recorder is not None:
            self._outside.recorder.state(
                self._loop.state, self._connection.clock.now(), is_last=True
            )
        if self._worker is not None:
            self._worker.end(within_seconds=0.1)

    # -- telling ----------------------------------------------------------------------------------

    def _tell(self, findings: Sequence[Finding]) -> None:
        self._tell_findings(findings)
        if findings:
            self._inform(lambda listener: listener.heard(findings))
        if findings and self._outside.recorder is not None:
            self._outside.recorder.findings(findings, self._connection.clock.now())

    def _inform(self, tell: Callable[[Listener], None]) -> None:
        """Tells every listener; one that fails is told of, and no reason to let models go."""
        for listener in self._outside.listeners:
            try:
                tell(listener)
            except Exception:  # noqa: BLE001 - whatever it is, the loop goes on
                who = type(listener).__name__.lower()
                trace = traceback.format_exc()
                self._log.write("listener_failed", "error", listener=who, traceback=trace)

    def _step_of(self, observation: Observation, config: Config, decision: Decision) -> Step:
        return Step(
            observation=observation,
            picture=self._picture,
            config=config,
            state=self._loop.state,
            decision=decision,
            planned=self._loop.planned,
            seconds=self._connection.clock.monotonic() - self._look_began,
        )

    def _tell_findings(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            level = "note" if finding.severity is Severity.NOTE else finding.severity.value
            self._log.write(
                finding.kind, level, model=finding.name, text=finding.text, basis=finding.basis
            )

    def _log_decision(self) -> None:
        """Tells a decision that says something new; the same one again is for `--verbose`."""
        decision = self._loop.decision
        assert decision is not None
        digest = digest_of(decision)
        is_new = digest != self._said_last or bool(decision.sends)
        self._said_last = digest
        self._log.write(
            "decision",
            "note" if is_new else "debug",
            sends=[_in_short(order) for order in decision.sends],
            waits=[_in_short(wait) for wait in decision.actions if isinstance(wait, Wait)],
            members=[member.name for member in decision.members],
            is_converged=decision.is_converged,
            trouble=decision.trouble or None,
            standing=decision.standing,
        )
        for alarm in decision.alarms:
            level = "note" if alarm.severity is Severity.NOTE else alarm.severity.value
            self._log.write("alarm", level, code=alarm.code, text=alarm.text, basis=alarm.basis)

    def _tell_journal(self, recorder: Recorder) -> None:
        trouble = recorder.journal.take_trouble()
        if trouble:
            self._log.write("journal_trouble", "warning", text=trouble, lost=recorder.journal.lost)

    def _event(self, kind: str, text: str) -> None:
        if self._outside.recorder is not None:
            self._outside.recorder.event(kind, text, self._connection.clock.now())

    def _record_failure(self, observation: Observation) -> None:
        if self._outside.recorder is not None:
            self._outside.recorder.failure(
                observation, self._loop.config, self._loop.state, traceback.format_exc()
            )


def _in_short(action: Action) -> dict[str, object]:
    """Returns an action for the log; the journal has it whole."""
    name = getattr(action, "name", "")
    return {"do": type(action).__name__.lower(), "model": name or None, "reason": action.reason}
