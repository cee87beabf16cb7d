"""What becomes of a preload of ours: it is told for what it is, and so is who had to go for it.

Those are not fetched again at once: they would go for each other. And what is there already is not
fetched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from loop_hosts import START

from soak.judge import Judge
from warmset.core.control.actions import Decision, Finding
from warmset.core.control.orders import Aborted, Command, Done, Event, SendPreload, Started
from warmset.core.control.state import State
from warmset.core.model import Observation
from warmset.core.twin.events import Unloaded
from warmset.core.twin.runner import Runner

if TYPE_CHECKING:
    from soak.life import Life

DEADLINE_SECONDS = 3.0
"""One that was pushed out so shortly before its deadline may have left for that."""


class Victims(Judge):
    """Judges what becomes of those who left while a preload of ours was open."""

    def __init__(self, life: Life, tell: Callable[[str], None]) -> None:
        super().__init__(life, tell)
        self._open: SendPreload | None = None  # as far as anything is remembered of before
        self._number: int | None = None  # of a preload that is open, whatever is remembered
        self._rows: dict[str | None, float] = {}  # key -> deadline at the last look
        self._left: dict[str, float] = {}  # when, since our last look, whoever it was for
        self._begun_at = -math.inf  # the look that is on its way, or the last one
        self._evicted: set[str] = set()  # while our preload was open
        self._victims: set[str] = set()  # those of them that a look has shown to be gone
        self._paused_at: dict[str, float] = {}
        self._sent_at = 0.0
        self._anew_at = -math.inf  # when a look found somebody's models on a server that is new
        self._ours: dict[str, int] = {}  # key -> process that a preload of ours has started

    def boots(self, *, is_fresh: bool) -> None:
        del is_fresh
        self._number = None
        self.breaks_off()

    def breaks_off(self, *, is_server: bool = False) -> None:
        del is_server
        self._open, self._anew_at = None, -math.inf
        for seen in (self._rows, self._evicted, self._victims, self._paused_at, self._ours):
            seen.clear()

    def hears(self, event: object) -> None:
        if isinstance(event, Unloaded):
            self._left[event.key] = self.now
            opened = self._open
            if event.is_evicted and opened is not None and opened.key != event.key:
                self._evicted.add(event.key)

    def look_begins(self) -> None:
        self._begun_at = self.now

    def looked(self, observation: Observation) -> None:
        if observation.residents is None or observation.trouble:
            return
        rows = {row.key: row.expires_at or 0.0 for row in observation.residents}
        gone = {key for key in self._evicted if key in self._rows and key not in rows}
        early = observation.at + DEADLINE_SECONDS
        self._victims |= {key for key in gone if self._rows[key] > early}
        self._rows = rows
        if self._number is None:
            self._left = {key: at for key, at in self._left.items() if at >= self._begun_at}

    def decided(self, before: State, decision: Decision) -> None:
        del before
        if any(finding.kind == "look_gap" for finding in decision.findings):
            self.breaks_off()
        told = {finding.kind for finding in decision.findings}
        if told & {"server_restarted", "server_changed"} and self._rows:
            self._anew_at = self.now
        for finding in decision.findings:
            runner = self.life.host.scheduler.loaded.get(str(finding.key))
            is_ours = runner is not None and runner.pid == self._ours.get(runner.model.key)
            if finding.kind == "model_came" and is_ours:
                self.tell(f"{finding.name} is told to be a client's load, and it is ours")

    def carries_out(self, command: Command) -> None:
        if not isinstance(command, SendPreload):
            return
        ago = self.now - self._paused_at.get(command.key, -self.loop.cool_down)
        if ago < self.loop.cool_down:
            self.tell(f"preload of {command.name}, {ago:.0f} s after it had to go for another one")
        anew = self.now - self._anew_at
        if anew < self.loop.calm:
            self.tell(
                f"preload of {command.name}, {anew:.0f} s after loads on a server that is new"
            )
        if command.key in self._rows:
            self.tell(f"preload of {command.name}, which the last look shows")
        self._open, self._number, self._sent_at = command, command.number, self.now
        self._evicted.clear()
        self._victims.clear()

    def ends(self, event: Event) -> None:
        opened = self._open
        if not isinstance(event, Started) and event.number == self._number:
            self._number = None
        if opened is None or isinstance(event, Started) or event.number != opened.number:
            return
        self._open = None
        runner = self.life.host.scheduler.loaded.get(opened.key)
        if isinstance(event, Done) and runner is not None and self._is_of_ours(runner):
            self._ours[opened.key] = runner.pid
        if not isinstance(event, Aborted):
            self._paused_at |= dict.fromkeys(self._victims, self.now)

    def _is_of_ours(self, runner: Runner) -> bool:
        return runner.started_at >= self._sent_at + START

    def found(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            if finding.kind == "preload_evicted" and finding.key not in self._left:
                self.tell(f"{finding.name} is told to have had to go for our preload, and had not")
