"""`warmset apply`: one pass until the plan is true, or until it is clear why it is not.

The same step and the same executor as in `serve`; only the pace differs: somebody waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from warmset.core.control.actions import Decision, Finding, Wait
from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.control.orders import Aborted, Cancel, Command, Done, Event, Failed, TimedOut
from warmset.core.control.preview import Preview, preview
from warmset.core.control.state import State
from warmset.core.host.picture import Picture
from warmset.core.model import Observation
from warmset.core.settings import Settings
from warmset.core.units import format_seconds
from warmset.errors import NotConverged, Refused, Unreachable
from warmset.ports import ModelServer
from warmset.shell.loop_look import look_for_loop
from warmset.shell.perform import Performer, SteadyClock
from warmset.shell.record import Recorder
from warmset.shell.said import Said
from warmset.shell.wiring import Connection

TICK_SECONDS: Final = 2.0
IDLE_SECONDS: Final = 6.0
"""A model counts as idle after some looks without a sign of use. Our choice."""

STUCK_SECONDS: Final = 20.0
"""So long without anything done or dated, and it will not come true by itself. Our choice."""


def in_haste(settings: Settings) -> Settings:
    """Returns the settings of a pass that somebody waits for.

    An operator who asks for it now needs no protection against haste; users still do.
    """
    loop = replace(
        settings.loop,
        tick=min(settings.loop.tick, TICK_SECONDS),
        min_residency=0.0,
        idle_after=min(settings.loop.idle_after, IDLE_SECONDS),
    )
    return replace(settings, loop=loop)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What a pass came to."""

    decision: Decision
    findings: tuple[Finding, ...]


class Pass:
    """One pass over one host.

    Args:
        connection: the host.
        said: the operator's words.
        state: what an earlier process left.
        recorder: the journal; `None` for a host that has none.
        open_server: a connection for orders.
        tell: hears each finding as it comes.
    """

    def __init__(
        self,
        connection: Connection,
        said: Said,
        *,
        state: State,
        recorder: Recorder | None,
        open_server: Callable[[], ModelServer],
        tell: Callable[[Finding], None],
    ) -> None:
        self._connection = connection
        self._said = said
        self._recorder = recorder
        self._tell = tell
        self._clock = SteadyClock(connection.clock)
        self._events: deque[Event] = deque()
        self._performer = Performer(open_server, self._clock, self._events.append)
        self._picture: Picture | None = None
        self._findings: list[Finding] = []
        self._loop = Loop(self._config(), state)

    def preview(self, *, refuses: bool = True) -> Preview:
        """Looks once and decides; nothing is sent and nothing remembered.

        Args:
            refuses: whether pins that can never be held together are an error.

        Raises:
            Unreachable: the server does not answer.
            Refused: the pins cannot be held together.
        """
        observation = self._look()
        if observation.trouble:
            raise Unreachable(observation.trouble, hint="is Ollama running?")
        seen = preview(observation, self._config(), self._loop.state, self._clock.now())
        if refuses:
            refuse_conflict(seen.decision)
        return seen

    def run(self, *, limit_seconds: float, check: Callable[[Decision], None]) -> Applied:
        """Makes the plan true.

        Args:
            limit_seconds: how long it may take.
            check: is shown each decision, and raises if it is not what was agreed to.

        Raises:
            NotConverged: it is not true, and the message says why.
            Refused: the pins cannot be held together.
        """
        began = now = self._clock.now()
        moved_at = now
        try:
            while True:
                decision = self._step(check)
                now = self._clock.now()
                if decision.is_converged and not decision.sends:
                    return Applied(decision=decision, findings=tuple(self._findings))
                if decision.sends or decision.findings:
                    moved_at = now
                why = _why_give_up(
                    decision, now=now, moved_at=moved_at, until=began + limit_seconds
                )
                if why:
                    raise _not_converged(decision, why)
                pause = max(0.1, self._loop.wake_at - now)
                self._connection.skip(min(pause, max(0.1, began + limit_seconds - now)))
        finally:
            if self._recorder is not None:
                at = self._connection.clock.now()
                self._recorder.state(self._loop.state, at, is_last=True)

    def _step(self, check: Callable[[Decision], None]) -> Decision:
        observation = self._look()
        now = self._clock.now()
        config = self._config()
        self._loop.configure(config)
        self._performer.know(observation.entries or self._performer.known)
        before = self._loop.state
        commands = self._loop.look(observation, now)
        decision = self._loop.decision
        assert decision is not None
        if self._recorder is not None:
            self._recorder.decision(
                observation, config, before, decision, self._loop.wish, after=self._loop.state
            )
        refuse_conflict(decision)
        if not decision.trouble:
            check(decision)
        self._hear(decision.findings)
        self._carry_out(commands)
        return decision

    def _carry_out(self, commands: Sequence[Command]) -> None:
        open_now = deque(commands)
        while open_now:
            command = open_now.popleft()
            if isinstance(command, Cancel):
                continue  # what is carried out here has ended when this is heard
            self._performer.perform(command)
            while self._events:
                event = self._events.popleft()
                if isinstance(event, Done | Failed | TimedOut | Aborted):
                    more, findings = self._loop.hear(event, self._clock.now())
                    open_now.extend(more)
                    if self._recorder is not None:
                        self._recorder.findings(findings, self._connection.clock.now())
                    self._hear(findings)

    def _hear(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            self._findings.append(finding)
            self._tell(finding)

    def _look(self) -> Observation:
        settings = self._said.settings
        learns = self._recorder is not None
        observation, self._picture = look_for_loop(
            self._connection, settings, self._picture, learns=learns
        )
        return observation

    def _config(self) -> Config:
        return self._said.config(wall=self._connection.clock.now(), now=self._clock.now())


def refuse_conflict(decision: Decision) -> None:
    """Refuses pins that can never be held together.

    Raises:
        Refused: with the numbers.
    """
    if decision.conflict is not None:
        raise Refused(
            decision.conflict.reason,
            hint="unpin one of them, or give it a smaller context",
            context={"models": decision.conflict.names},
        )


def _why_give_up(decision: Decision, *, now: float, moved_at: float, until: float) -> str:
    if now >= until:
        return "the time is up"
    if decision.sends:
        return ""
    dated = [a.until for a in decision.actions if isinstance(a, Wait) and a.until is not None]
    if dated and min(dated) >= until:
        return f"it would take {format_seconds(min(dated) - now)} more"
    if not dated and now - moved_at > STUCK_SECONDS:
        return "nothing more can be done now"
    return ""


def _not_converged(decision: Decision, why: str) -> NotConverged:
    waits = [a for a in decision.actions if isinstance(a, Wait)]
    reasons = [f"{wait.name}: {wait.reason}" if wait.name else wait.reason for wait in waits]
    if not reasons:
        reasons = [f"{c.kind.value} {c.name}: {c.reason}" for c in decision.changes]
    return NotConverged(
        f"the plan is not true yet, {why}: {'; '.join(reasons) or decision.trouble}",
        hint="`warmset serve` goes on trying; `warmset explain MODEL` tells more",
        context={"reasons": tuple(reasons)},
    )
