"""Accidents of pings: each is found, written down within a bounded time, and stays rare.

A ping is a use. Between the list that it goes by and the ping itself a race remains: the model may
have gone, so that the ping loads it, or have been told to go, so that the ping keeps it and holds
up whom it should make room for. The twin knows each of them by the number of the request.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from soak.earlier import events_of
from soak.judge import Judge
from warmset.core.control.actions import Decision, Finding
from warmset.core.control.orders import Cancel, Command, SendPing
from warmset.core.control.state import State
from warmset.core.model import normalise_name
from warmset.core.twin.events import Granted, LoadStarted

if TYPE_CHECKING:
    from soak.life import Life

TOLD_WITHIN_SECONDS: Final = 60.0
"""An accident is found by then: the slowest look of a story takes 15 s."""
LOOK_LIMIT_SECONDS: Final = 16.0
ACCIDENTS: Final = 2
"""Of a kind within ten minutes: after the second there is a pause. The third is too many."""
LOADED: Final = frozenset({"ping_raced", "ping_reloaded"})
KEPT: Final = LOADED | {"ping_met_request", "ping_unchecked"}
"""What is written of a ping that met a request in flight, a victim's or not: nobody can tell."""
LOST: Final = frozenset({"ping_failed"})
"""Whose answer is lost, where no process shows that a runner is new, or the server ended with its
load: nobody can tell more."""


@dataclass(frozen=True)
class Accident:
    """What a ping did: it loaded a model, or kept one that was told to go."""

    at: float
    name: str
    is_load: bool


class Races(Judge):
    """Judges what pings do to models that were gone, or on their way out."""

    def __init__(self, life: Life, tell: Callable[[str], None]) -> None:
        super().__init__(life, tell)
        self.accidents: list[Accident] = []
        self._told: list[tuple[float, str, str]] = []  # when, which kind, of whom
        self._lost_at = -math.inf  # when the journal was lost, or could not be written
        self._ping: SendPing | None = None  # the last one
        self._request = 0  # its number at the server
        self._loaded: int | None = None  # the one that became a load last
        self._victim: int | None = None  # the process that was to go once it is idle
        self._server_ends: list[float] = []

    # -- what it is told --------------------------------------------------------------------------

    def breaks_off(self, *, is_server: bool = False) -> None:
        if is_server:
            self._server_ends.append(self.now)

    def carries_out(self, command: Command) -> None:
        if isinstance(command, Cancel):
            return
        if not isinstance(command, SendPing):
            self._ping = None  # it is over; a number may be given again, by a server begun anew
            return
        host = self.life.host
        runner = host.scheduler.loaded.get(command.key)
        is_victim = runner is not None and runner.refs > 0 and runner.duration <= 0
        self._victim = runner.pid if runner is not None and is_victim else None
        self._ping, self._request = command, host.requests_made + 1
        self._loaded = None

    def hears(self, event: object) -> None:
        ping = self._ping
        if ping is None:
            return
        if isinstance(event, LoadStarted):
            head = self.life.host.scheduler._head
            if head is None or head.id != self._request or head.is_cancelled:
                return  # one that was hung up on is told by then, and Ollama breaks it off
            is_retry = self._loaded == self._request  # without memory Ollama tries once more
            if head.keep_alive == ping.keep_alive and not is_retry:
                self._loaded = self._request
                self._happens(ping.name, is_load=True)
        elif isinstance(event, Granted):
            runner = self.life.host.scheduler.loaded.get(ping.key)
            is_its = event.request_id == self._request and event.pid == self._victim
            if is_its and runner is not None and runner.duration == ping.keep_alive:
                self._happens(ping.name, is_load=False)

    def decided(self, before: State, decision: Decision) -> None:
        del before
        self.found(decision.findings)

    def found(self, findings: Iterable[Finding]) -> None:
        if self.life.is_disk_full:
            self._lost_at = self.now
        self._told += [
            (self.now, f.kind, normalise_name(f.name)) for f in findings if f.kind in KEPT | LOST
        ]

    def loses_journal(self) -> None:
        """What was written down is damaged, or was never written."""
        self._lost_at = self.now

    # -- the laws ---------------------------------------------------------------------------------

    def _happens(self, name: str, *, is_load: bool) -> None:
        one = Accident(at=self.now, name=normalise_name(name), is_load=is_load)
        self.accidents.append(one)
        kind = "ping_loads" if is_load else "ping_keeps"
        counts = self.life.witness.counts
        counts[kind] = counts.get(kind, 0) + 1
        since = self.now - self.loop.fight_window
        recent = [
            a
            for a in self.accidents
            if a.at > since and a.is_load == is_load and not self._is_cut_off(a)
        ]
        if len(recent) > ACCIDENTS * (1 + self.life.witness.fresh_beginnings(since)):
            did = "loaded a model" if is_load else "kept a model that was to go"
            self.tell(f"{len(recent)} pings {did} in ten minutes")

    def _is_cut_off(self, one: Accident) -> bool:
        """Whether the process ended before it could find out, so that nobody counts it."""
        return self.life.witness.was_cut_off(
            one.at, forgotten=TOLD_WITHIN_SECONDS, killed=LOOK_LIMIT_SECONDS
        )

    def closes(self) -> None:
        """Each accident was told in time, and what was told can be read."""
        for one in self.accidents:
            kinds = LOADED if one.is_load else KEPT
            ended = any(0 <= at - one.at <= TOLD_WITHIN_SECONDS for at in self._server_ends)
            if ended or not self.life.story.sees_processes:
                kinds |= LOST
            is_told = any(
                one.at <= at <= one.at + TOLD_WITHIN_SECONDS and kind in kinds and name == one.name
                for at, kind, name in self._told
            )
            if is_told or self._is_cut_off(one):
                continue
            did = "loaded" if one.is_load else "kept"
            self.tell(f"a ping {did} {one.name} at {one.at:.1f}, and nobody found out")
        self._judge_journal()
        self._judge_earlier()

    def _judge_earlier(self) -> None:
        """What an earlier version wrote down is there still, unless the journal was lost since."""
        journal, name = self.life.journal, self.life.story.earlier
        if journal is None or not name or self._lost_at > -math.inf:
            return
        written = {(row.at, row.kind, row.name) for row in journal.events(limit=1_000_000)}
        if lost := [row for row in events_of(name) if row not in written]:
            self.tell(f"{len(lost)} rows of the journal of {name} are lost")

    def _judge_journal(self) -> None:
        journal = self.life.journal
        if journal is None:
            return
        told = Counter((kind, name) for at, kind, name in self._told if at > self._lost_at)
        written = Counter(
            (row.kind, normalise_name(row.name)) for row in journal.events(limit=1_000_000)
        )
        for (kind, name), count in sorted((told - written).items()):
            self.tell(f"{kind} of {name} was found and {count} times not written down")
