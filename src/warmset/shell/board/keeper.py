"""Hears of every step of the loop and gives the picture to whoever asks, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

from warmset.core.control.actions import Alarm, Finding, Preload, Unload
from warmset.core.model import ModelKey
from warmset.shell.board.draw import draw_step
from warmset.shell.board.gaps import Gaps
from warmset.shell.board.timeline import Timeline
from warmset.shell.board.values import Board
from warmset.shell.telemetry.listening import Step


class BoardKeeper:
    """Implements `telemetry.listening.Listener`.

    Args:
        events: of the journal, oldest first: when, kind, name, text.
        uses: of the demand store, oldest first: key, when.
    """

    def __init__(
        self,
        events: Iterable[tuple[float, str, str, str]] = (),
        uses: Iterable[tuple[str, float]] = (),
    ) -> None:
        self._timeline = Timeline()
        for at, kind, name, text in events:
            self._timeline.hear(at, kind, name, text)
        self._gaps = Gaps(uses)
        self._busy: frozenset[ModelKey] = frozenset()
        self._alarms: dict[str, Alarm] = {}
        self._at = 0.0
        self._lock = threading.Lock()
        self._step: Step | None = None
        self._board: Board | None = None
        self.changes = 0

    def stepped(self, step: Step) -> None:
        """Notes a step; the picture is drawn when somebody asks for it."""
        with self._lock:
            self._at = step.observation.at
            for alarm in step.decision.alarms:
                self._alarms[alarm.code] = alarm
            self._alarms = {c: a for c, a in self._alarms.items() if c in step.decision.standing}
            self._hear(step.decision.findings)
            for order in step.decision.sends:
                if isinstance(order, Preload | Unload):
                    kind = f"{type(order).__name__.lower()}_ordered"
                    self._timeline.hear(self._at, kind, order.name, order.reason)
            self._learn(step)
            self._step, self._board = step, None
            self.changes += 1

    def heard(self, findings: Sequence[Finding]) -> None:
        """Notes what the end of an order showed; it is drawn with the next step, at once."""
        with self._lock:
            self._hear(findings)

    def board(self) -> Board | None:
        """Returns the picture of the last step, `None` before the first one."""
        with self._lock:
            if self._board is None and self._step is not None:
                moments = self._timeline.moments
                self._board = draw_step(
                    self._step, alarms=self._alarms, moments=moments, gaps=self._gaps
                )
            return self._board

    def _hear(self, findings: Sequence[Finding]) -> None:
        for finding in findings:
            self._timeline.hear(self._at, finding.kind, finding.name, finding.text)

    def _learn(self, step: Step) -> None:
        """Counts uses; one that goes on from look to look is one."""
        now = step.decision.at
        used = {k for k, known in step.state.models.items() if known.used_at == now}
        busy = {k for k, known in step.state.models.items() if known.busy_at == now}
        for key in sorted(used - (self._busy & busy)):
            self._gaps.used(key, step.observation.at)
        self._busy = frozenset(busy)
