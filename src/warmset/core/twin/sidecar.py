"""Warmset beside a pretended Ollama: the loop that runs on metal, under virtual time.

The sidecar is a driver and nothing more: it looks when the loop wants to look, carries out its
commands as a client of the twin, and reports what became of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from warmset.core.control.actions import Decision, Finding
from warmset.core.control.loop import Loop
from warmset.core.control.orders import (
    Aborted,
    Cancel,
    Command,
    Done,
    Event,
    Failed,
    ReadResidents,
    SendPing,
    SendPreload,
    SendUnload,
    Started,
)
from warmset.core.loads import Learnt
from warmset.core.model import Entry, Observation
from warmset.core.ollama.types import OptionValues
from warmset.core.twin.clock import Timer
from warmset.core.twin.host import Crash, Disconnected, Grant, News, Refusal, TwinHost
from warmset.core.twin.library import InstalledModel
from warmset.core.twin.sidecar_view import list_entries, list_residents, observe_twin

EMBED_BATCH = 2048
"""Below, an embedding model gets no `num_ctx` with a ping. Source: ollama-behaviour 3.6."""


@dataclass(slots=True)
class Log:
    """What a sidecar did and saw. `sent` holds moment and command of everything that writes."""

    sent: list[tuple[float, SendPing | SendPreload | SendUnload]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    findings: list[tuple[float, Finding]] = field(default_factory=list)
    reads: int = 0
    cancels: list[Cancel] = field(default_factory=list)

    def count(self, kind: type[Command], since: float = 0.0) -> int:
        """Returns how many commands of a kind were sent since a moment."""
        return sum(isinstance(command, kind) for at, command in self.sent if at >= since)


class Sidecar:
    """One running warmset.

    Args:
        host: the twin that it lives beside.
        loop: step and executor, with the state of an earlier process if there was one.

    Attributes:
        clock_ahead: how far the wall clock was set ahead.
        began_ahead: the same when this process began: its steady time goes on from there.
        sees_processes: whether driver and process table can be read.
        answers_ps: whether `/api/ps` answers.
        ps_seconds: how long `/api/ps` takes.
        learnt: what is known of the host from before.
        keeps_log: whether decisions are kept; a long replay needs the counts only.
    """

    def __init__(
        self,
        host: TwinHost,
        loop: Loop,
        *,
        sees_processes: bool = True,
        keeps_log: bool = True,
        on_look: Callable[[Decision], None] = lambda _: None,
    ) -> None:
        self.host = host
        self.loop = loop
        self.log = Log()
        self.clock_ahead = 0.0
        self.began_ahead = 0.0
        self.sees_processes = sees_processes
        self.answers_ps = True
        self.ps_seconds = 0.0
        self.learnt = Learnt()
        self.keeps_log = keeps_log
        self._on_look = on_look
        self._timer: Timer | None = None
        self._open: tuple[int, int] | None = None  # the command, and the twin's request
        self._installed: tuple[tuple[InstalledModel, ...], tuple[Entry, ...]] | None = None
        self._is_running = False

    @property
    def now(self) -> float:
        """The steady time of this process: the wall clock's of its begin, and what passed since."""
        return self.host.timeline.now + self.began_ahead

    def start(self) -> None:
        """Begins to look, at once."""
        self._is_running = True
        self._arm()

    def stop(self) -> None:
        """Ends as on SIGTERM: decides nothing more, calls off its own load, leaves the rest."""
        self._carry_out(self.loop.stop())
        self._end()

    def kill(self) -> None:
        """Ends as on SIGKILL: connections break, nothing is said."""
        if self._open is not None:
            self.host.cancel(self._open[1])
            self._open = None
        self._end()

    def _end(self) -> None:
        self._is_running = False
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._is_running:
            self._timer = self.host.timeline.at(self.loop.wake_at - self.began_ahead, self._look)

    def observe(self) -> Observation:
        """Returns one look, as it would be taken now."""
        return observe_twin(
            self.host,
            clock_ahead=self.clock_ahead,
            sees_processes=self.sees_processes,
            answers_ps=self.answers_ps,
            entries=self._entries(),
            learnt=self.learnt,
        )

    def _look(self) -> None:
        self.log.reads += 1
        self._decide(self.observe())

    def _decide(self, observation: Observation) -> None:
        now = self.now
        commands = self.loop.look(observation, now)
        decision = self.loop.decision
        assert decision is not None
        self.log.findings += [(now, finding) for finding in decision.findings]
        if self.keeps_log:
            self.log.decisions.append(decision)
        self._on_look(decision)
        self._carry_out(commands)
        self._arm()

    def _entries(self) -> tuple[Entry, ...]:
        """Returns what is installed, made anew only when the library has changed."""
        models = self.host.library.models()
        if self._installed is None or self._installed[0] != models:
            self._installed = (models, list_entries(self.host))
        return self._installed[1]

    # -- commands ---------------------------------------------------------------------------

    def _carry_out(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            if isinstance(command, ReadResidents):
                self._read(command.number)
            elif isinstance(command, SendPing | SendPreload):
                self._load(command)
            elif isinstance(command, SendUnload):
                self._unload(command)
            elif isinstance(command, Cancel):
                self._cancel(command)
            else:
                assert_never(command)

    def _read(self, number: int) -> None:
        self.log.reads += 1
        timeline = self.host.timeline
        asked_at = self.now

        def answer() -> None:
            if not self.host.is_up:
                self._report(Failed(number=number, at=self.now, error="connection refused"))
                return
            wall_at = timeline.now + self.clock_ahead
            rows = list_residents(self.host, self.clock_ahead) if self.answers_ps else None
            self._report(
                Done(
                    number=number,
                    at=self.now,
                    asked_at=asked_at,
                    wall_at=wall_at,
                    residents=rows,
                )
            )

        timeline.after(self.ps_seconds, answer)

    def _load(self, command: SendPing | SendPreload) -> None:
        now, number = self.now, command.number
        self.log.sent.append((now, command))
        loaded = command.resident.name if isinstance(command, SendPing) else command.name
        model = self.host.library.find(loaded) or self.host.library.find(command.name)
        if not self.host.is_up:
            self._later(Failed(number=number, at=now, error="connection refused"))
            return
        if model is None:
            error = f"model '{command.name}' not found"
            self._later(Failed(number=number, at=now, error=error, status=404, is_final=True))
            return
        request = 0

        def on_news(news: News) -> None:
            self._open = None
            if isinstance(news, Grant | Crash):
                self.host.finish(request)
            self._report(_event(number, news, self.now))

        request = self.host.submit(
            model, on_news, keep_alive=command.keep_alive, options=_options(command, model)
        )
        self._open = (number, request)
        self._report(Started(number=number, at=now))

    def _unload(self, command: SendUnload) -> None:
        now = self.now
        self.log.sent.append((now, command))
        model = self.host.library.find(command.name)
        if not self.host.is_up or model is None:
            status = 404 if self.host.is_up else None
            error = f"model '{command.name}' not found" if status else "connection refused"
            failed = Failed(
                number=command.number, at=now, error=error, status=status, is_final=bool(status)
            )
            self._later(failed)
            return
        self.host.unload(model)
        self._later(Done(number=command.number, at=now))

    def _cancel(self, command: Cancel) -> None:
        self.log.cancels.append(command)
        if self._open is not None and self._open[0] == command.number:
            self.host.cancel(self._open[1])
            self._open = None
        self._report(Aborted(number=command.number, at=self.now))

    def _later(self, event: Event) -> None:
        self.host.timeline.after(0.0, lambda: self._report(event))

    def _report(self, event: Event) -> None:
        now = self.now
        commands, findings = self.loop.hear(event, now)
        self.log.findings += [(now, finding) for finding in findings]
        if self._is_running:
            self._carry_out(commands)
            self._arm()


def _options(command: SendPing | SendPreload, model: InstalledModel) -> OptionValues:
    """Returns the load options to send: those that do not reload a resident model."""
    if isinstance(command, SendPreload):
        return {} if command.num_ctx is None else {"num_ctx": command.num_ctx}
    context = command.resident.context or 0
    shortest = 1 if "embedding" not in model.capabilities else EMBED_BATCH
    return {"num_ctx": context} if context >= shortest else {}


def _event(number: int, news: News, now: float) -> Event:
    if isinstance(news, Grant):
        return Done(number=number, at=now)
    if isinstance(news, Refusal):
        return Failed(number=number, at=now, error=news.error, status=news.status)
    if isinstance(news, Crash):
        return Failed(number=number, at=now, error=news.error, status=500)
    if isinstance(news, Disconnected):
        return Failed(number=number, at=now, error="connection reset")
    assert_never(news)
