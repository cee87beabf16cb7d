"""Demand on a twin host, with and without warmset beside it: what users waited for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.control.orders import SendPing, SendPreload, SendUnload
from warmset.core.twin.demand import Arrival
from warmset.core.twin.events import Event, LoadStarted, Unloaded
from warmset.core.twin.host import Grant, HostSpec, News, Refusal, TwinHost
from warmset.core.twin.physics import Physics
from warmset.core.twin.sidecar import Sidecar

LINGER_SECONDS: Final = 1800.0
"""A replay goes on for so long after the last arrival, so that late requests can end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answered request. Units: seconds until it had its runner."""

    model: str
    waited_seconds: float
    is_cold: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some of the answers, summed up."""

    answers: tuple[Answer, ...]

    @property
    def requests(self) -> int:
        """How many requests were answered."""
        return len(self.answers)

    @property
    def cold_starts(self) -> int:
        """How many of them had to wait for a load of their own."""
        return sum(answer.is_cold for answer in self.answers)

    @property
    def waited_seconds(self) -> float:
        """The sum of all waits, queueing behind other loads included."""
        return sum(answer.waited_seconds for answer in self.answers)

    @property
    def wait_p95_seconds(self) -> float:
        """The wait that 95 % of the requests stayed below."""
        ordered = sorted(answer.waited_seconds for answer in self.answers)
        return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] if ordered else 0.0


@dataclass(slots=True)
class Score:
    """What a demand cost on a host. Only requests of clients count, not warmset's own."""

    failed: int = 0
    loads: int = 0
    evictions: int = 0
    pings: int = 0
    preloads: int = 0
    unloads: int = 0
    answers: list[Answer] = field(default_factory=list)

    def of(self, models: Collection[str]) -> Part:
        """Returns the part of some models."""
        return Part(answers=tuple(a for a in self.answers if a.model in models))


def replay(
    spec: HostSpec, physics: Physics, arrivals: Sequence[Arrival], said: Config | None = None
) -> Score:
    """Returns what the demand cost: stock Ollama, or with a warmset beside it.

    Args:
        spec, physics: the host.
        arrivals: what its users ask for.
        said: the words of its operator; `None`: there is no warmset.
    """
    score = Score()

    def count(event: Event) -> None:
        score.loads += isinstance(event, LoadStarted)
        score.evictions += isinstance(event, Unloaded)

    host = TwinHost(spec, physics, on_event=count)
    start = host.timeline.now
    for arrival in arrivals:
        host.timeline.at(start + arrival.at, partial(_ask, host, arrival, score))
    sidecar = None if said is None else Sidecar(host, Loop(said), keeps_log=False)
    if sidecar is not None:
        sidecar.start()
    host.timeline.advance(start + (arrivals[-1].at if arrivals else 0.0) + LINGER_SECONDS)
    if sidecar is not None:
        score.pings = sidecar.log.count(SendPing)
        score.preloads = sidecar.log.count(SendPreload)
        score.unloads = sidecar.log.count(SendUnload)
    return score


def _ask(host: TwinHost, arrival: Arrival, score: Score) -> None:
    def hear(news: News) -> None:
        if isinstance(news, Grant):
            score.answers.append(
                Answer(
                    model=arrival.model,
                    waited_seconds=news.waited_seconds,
                    is_cold=news.was_cold,
                )
            )
        elif isinstance(news, Refusal):
            score.failed += 1

    host.use(arrival.model, arrival.seconds, keep_alive=arrival.keep_alive, then=hear)
