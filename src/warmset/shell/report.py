"""Who is told what the loop sees, decides and hears: the log, the journal, the listeners.

Whoever cannot be told is told of, and no reason to let models go.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence

from warmset.core.control.actions import Action, Decision, Finding, Severity, Wait
from warmset.core.control.loop import Loop
from warmset.core.control.state import State
from warmset.core.host.picture import Picture
from warmset.core.model import Observation
from warmset.errors import WarmsetError
from warmset.ports import Clock
from warmset.shell.log import EventLog
from warmset.shell.record import Recorder, digest_of
from warmset.shell.telemetry.listening import Listener, Step


class Report:
    """Tells all of them.

    Args:
        log: for people and their collectors.
        recorder: the journal; `None` for a loop that writes nothing.
        listeners: hear of every step.
        clock: the host's.
    """

    def __init__(
        self,
        log: EventLog,
        recorder: Recorder | None,
        listeners: tuple[Listener, ...],
        clock: Clock,
    ) -> None:
        self.log = log
        self._recorder = recorder
        self._listeners = listeners
        self._clock = clock
        self._said_last = ""

    @property
    def is_kept(self) -> bool:
        """Whether anything is written down."""
        return self._recorder is not None

    def decided(
        self,
        observation: Observation,
        picture: Picture | None,
        loop: Loop,
        before: State,
        seconds: float,
    ) -> None:
        """Tells of a look and what was decided on it.

        Args:
            observation: the look.
            picture: whose bytes are where.
            loop: after the decision.
            before: the state that the decision was given.
            seconds: from the beginning of the look to its decision.
        """
        decision = loop.decision
        assert decision is not None
        self._log_decision(decision)
        self._log_findings(decision.findings)
        if self._recorder is not None:
            self._recorder.decision(
                observation, loop.config, before, decision, loop.wish, after=loop.state
            )
            self._recorder.state(loop.state, observation.at)
            self._tell_journal(self._recorder)
        step = Step(
            observation=observation,
            picture=picture,
            config=loop.config,
            state=loop.state,
            decision=decision,
            planned=loop.planned,
            seconds=seconds,
        )
        self._inform(lambda listener: listener.stepped(step))

    def heard(self, findings: Sequence[Finding]) -> None:
        """Tells what the end of an order showed."""
        self._log_findings(findings)
        if not findings:
            return
        self._inform(lambda listener: listener.heard(findings))
        if self._recorder is not None:
            self._recorder.findings(findings, self._clock.now())

    def decision_failed(self, observation: Observation, loop: Loop) -> None:
        """Tells of the exception that is being handled, with all that it takes to replay it."""
        trace = traceback.format_exc()
        self.log.write("decision_failed", "error", traceback=trace)
        if self._recorder is not None:
            self._recorder.failure(observation, loop.config, loop.state, trace)

    def config_refused(self, error: WarmsetError) -> None:
        """Tells why an edited file is not taken over."""
        self.log.write("config_refused", "error", error=error.message, hint=error.hint)
        self.event("config_refused", error.message)

    def event(self, kind: str, text: str, *, is_logged: bool = False) -> None:
        """Tells the journal of something in the daemon's own life, and the log if it asks to."""
        if is_logged:
            self.log.write(kind)
        if self._recorder is not None:
            self._recorder.event(kind, text, self._clock.now())

    def ended(self, state: State) -> None:
        """Keeps what the next process goes on from."""
        if self._recorder is not None:
            self._recorder.state(state, self._clock.now(), is_last=True)

    def _inform(self, tell: Callable[[Listener], None]) -> None:
        for listener in self._listeners:
            try:
                tell(listener)
            except Exception:  # noqa: BLE001 - whatever it is, the loop goes on
                who = type(listener).__name__.lower()
                trace = traceback.format_exc()
                self.log.write("listener_failed", "error", listener=who, traceback=trace)

    def _log_findings(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            level = "note" if finding.severity is Severity.NOTE else finding.severity.value
            self.log.write(
                finding.kind, level, model=finding.name, text=finding.text, basis=finding.basis
            )

    def _log_decision(self, decision: Decision) -> None:
        """Tells a decision that says something new; the same one again is for `--verbose`."""
        digest = digest_of(decision)
        is_new = digest != self._said_last or bool(decision.sends)
        self._said_last = digest
        self.log.write(
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
            self.log.write("alarm", level, code=alarm.code, text=alarm.text, basis=alarm.basis)

    def _tell_journal(self, recorder: Recorder) -> None:
        trouble = recorder.journal.take_trouble()
        if trouble:
            self.log.write("journal_trouble", "warning", text=trouble, lost=recorder.journal.lost)


def _in_short(action: Action) -> dict[str, object]:
    """Returns an action for the log; the journal has it whole."""
    name = getattr(action, "name", "")
    return {"do": type(action).__name__.lower(), "model": name or None, "reason": action.reason}
