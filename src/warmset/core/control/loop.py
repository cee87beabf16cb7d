"""Step and executor joined: looks and events in, commands and the next look out.

The daemon and the twin's sidecar both drive one `Loop`; neither of them decides anything. It does
no I/O and reads no clock.
"""

from __future__ import annotations

from warmset.core.control.actions import Decision, Finding
from warmset.core.control.config import Config
from warmset.core.control.executor import Turn, begin, hear, stop
from warmset.core.control.orders import Command, Event
from warmset.core.control.state import State
from warmset.core.control.step import step
from warmset.core.control.wanted import Wish
from warmset.core.model import Observation
from warmset.core.replacing import replace


class Loop:
    """One loop over one host.

    Args:
        config: replaced by `configure` when the operator edits it.
        state: of an earlier process, or a fresh one.
        is_read_only: decides and says, sends nothing (`serve --observe`, `--dry-run`).

    Attributes:
        wake_at: when the driver shall look at the latest; 0: at once.
        decision: the last one, `None` before the first look.
        planned: the last one that planned something, for who wants to see the warm set.
    """

    def __init__(
        self, config: Config, state: State | None = None, *, is_read_only: bool = False
    ) -> None:
        self.config = config
        self.state = state or State()
        self.is_read_only = is_read_only
        self.wake_at = 0.0
        self.decision: Decision | None = None
        self.planned: Decision | None = None

    @property
    def wish(self) -> Wish | None:
        """What the last decision was made on; `None` where nothing was planned."""
        decision, planned = self.decision, self.state.planned
        if decision is None or decision.is_provisional or decision.trouble or not planned:
            return None
        return planned[0].wish

    @property
    def is_idle(self) -> bool:
        """Whether no command is open."""
        return self.state.orders.running is None

    def look(self, observation: Observation, now: float) -> tuple[Command, ...]:
        """Takes in a look and decides; returns the commands to carry out."""
        self.state, self.decision, self.wake_at = step(observation, self.config, self.state, now)
        if not self.decision.is_provisional and not self.decision.trouble:
            self.planned = self.decision
        if self.is_read_only:
            return ()
        return self._take(begin(self.state, self.decision, now))[0]

    def hear(self, event: Event, now: float) -> tuple[tuple[Command, ...], tuple[Finding, ...]]:
        """Takes in an event; returns further commands, and what it showed."""
        return self._take(hear(self.state, event, self.config, now))

    def stop(self) -> tuple[Command, ...]:
        """Decides nothing more; returns what ends the command that is open, if one is.

        Once `is_idle`, or after the driver's own patience, the process may end.
        """
        return self._take(stop(self.state))[0]

    def configure(self, config: Config) -> None:
        """Takes over edited words of the operator; they count from the next look, at once."""
        self.config = config
        self.wake_at = 0.0

    def resume(self) -> None:
        """Begins again after `stop`, as a new process with this state does."""
        self.state = replace(self.state, orders=replace(self.state.orders, is_stopping=False))
        self.wake_at = 0.0

    def _take(self, turn: Turn) -> tuple[tuple[Command, ...], tuple[Finding, ...]]:
        self.state = turn.state
        if turn.look_at is not None:
            self.wake_at = min(self.wake_at, turn.look_at)
        return turn.commands, turn.findings
