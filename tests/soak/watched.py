"""A warmset in a story: what becomes of each of its looks and commands, and what can go wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from loop_hosts import START

from soak.story import TROUBLE_SECONDS
from warmset.core.control.actions import Decision, Renew
from warmset.core.control.loop import Loop
from warmset.core.control.orders import (
    Command,
    Done,
    Event,
    SendPing,
    SendPreload,
    SendUnload,
    Started,
)
from warmset.core.control.step import step
from warmset.core.model import Observation
from warmset.core.twin.faults import Frail
from warmset.core.twin.sidecar import Sidecar
from warmset.shell.record import Recorder

if TYPE_CHECKING:
    from soak.living import Living

LAST_CHANCE_SECONDS = 300.0
"""Before the end of the trouble, who waits for pings with a change behind them takes any pings."""


class Watched(Frail):
    """A warmset process that is watched: each look, command and end is told to the witness."""

    def __init__(self, life: Living, loop: Loop, recorder: Recorder | None) -> None:
        super().__init__(
            life.host,
            loop,
            faults=life.faults,
            sees_processes=life.story.sees_processes,
            on_look=self._write,
        )
        self.life = life
        self.recorder = recorder
        self.keeps_log = False
        self.steps_left: int | None = None  # until it is killed, in commands and ends

    def observe(self) -> Observation:
        self.life.witness.look_begins()
        self.life.tell_judges("look_begins")
        seen = super().observe()
        if self.life.gaps:
            seen = replace(seen, learnt=replace(seen.learnt, gaps=self.life.gaps))
        pressure = self.life.ram_pressure
        return replace(seen, memory=replace(seen.memory, pressure=pressure)) if pressure else seen

    def _decide(self, observation: Observation) -> None:
        self.loop.configure(self.life.listens(observation.at, self.now))
        if self.life.meanwhile and self._is_about_to_ping(observation):
            seconds, self.life.meanwhile = self.life.cut_in(*self.life.meanwhile), ()
            self._timer = self.host.timeline.after(seconds, lambda: self._arrive(observation))
            return
        before = self.loop.state
        self.life.witness.looked(observation)
        self.life.tell_judges("looked", observation)
        self._looked = observation, before
        super()._decide(observation)
        decision = self.loop.decision
        assert decision is not None
        self.life.tell_judges("decided", before, decision)

    def _write(self, decision: Decision) -> None:
        """Writes before anything is sent, as the daemon does."""
        if self.recorder is not None:
            (observation, before), after = self._looked, self.loop.state
            self.recorder.decision(observation, self.loop.config, before, decision, after=after)
            self.recorder.state(after, observation.at)

    def _is_about_to_ping(self, observation: Observation) -> bool:
        """Whether this look leads to pings; who waits for it waits for one with more orders."""
        sends = step(observation, self.loop.config, self.loop.state, self.now)[1].sends
        is_last = self.life.now > TROUBLE_SECONDS - LAST_CHANCE_SECONDS
        return isinstance(next(iter(sends), None), Renew) and (
            is_last or not isinstance(sends[-1], Renew)
        )

    def _arrive(self, observation: Observation) -> None:
        """A look that took long: what it shows is of its beginning, its time of its end."""
        if self._is_running:
            self._decide(replace(observation, at=self.host.timeline.now + self.clock_ahead))

    def _carry_out(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            self._count()
            if not self._is_running:
                return
            if isinstance(command, SendPing | SendPreload | SendUnload):
                if isinstance(command, SendPing) and self.life.snatches:
                    self.life.snatch(command)
                if isinstance(command, SendPreload) and self.life.jam:
                    self.life.jams(*self.life.jam)
                self.life.witness.sends(command, self.loop)
            self.life.tell_judges("carries_out", command)
            self.life.witness.is_sending = True
            super()._carry_out((command,))
            self.life.witness.is_sending = False

    def _report(self, event: Event) -> None:
        if not self._is_running:
            return
        self._count()
        if not self._is_running:
            return
        if self._is_lost(event):
            super()._report(event)  # warmset hears that it took too long, and not of this
            return
        running = self.loop.state.orders.running
        is_end = not isinstance(event, Started)
        if is_end and running is not None and running.number == event.number:
            self.life.witness.order_ends()
        known = len(self.log.findings)
        if isinstance(event, Done) and event.asked_at is not None and event.residents is not None:
            self.life.witness.reads(event.asked_at - self.began_ahead - START)
        self.life.tell_judges("ends", event)
        super()._report(event)
        found = [finding for _, finding in self.log.findings[known:]]
        self.life.tell_judges("found", found)
        if found and self.recorder is not None:
            self.recorder.findings(found, self.host.timeline.now)

    def _is_lost(self, event: Event) -> bool:
        is_reply = isinstance(event, Done) and event.residents is None
        return is_reply and self.faults.lost_replies > 0

    def _count(self) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left <= 0:
                self.steps_left = None
                self.life.crash(self.life.restart_after)


class Watcher(Sidecar):
    """A second warmset on the same host: `serve --observe`."""

    def __init__(self, life: Living, loop: Loop) -> None:
        super().__init__(life.host, loop, sees_processes=life.story.sees_processes, keeps_log=False)
        self.life = life

    def _carry_out(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            self.life.witness.breaks(f"one that only looks on: {type(command).__name__}")
