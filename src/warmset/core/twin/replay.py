"""Demand on a twin host, with and without somebody who keeps ranks: what users waited for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from warmset.core.control.keep import Held, Preload, Renew, keep
from warmset.core.control.leases import assign_slots
from warmset.core.model import FOREVER, ModelKey
from warmset.core.ollama.admission import forecast_load, max_loaded
from warmset.core.ollama.context import slots
from warmset.core.twin.demand import Arrival
from warmset.core.twin.events import Event, LoadStarted, Unloaded
from warmset.core.twin.host import Grant, HostSpec, News, Refusal, TwinHost
from warmset.core.twin.physics import Physics
from warmset.core.twin.runner import Runner

TICK_SECONDS: Final = 5.0
CALM_SECONDS: Final = 60.0
"""Nothing is preloaded for so long after a load was seen: users' loads come in bursts."""
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
    answers: list[Answer] = field(default_factory=list)

    def of(self, models: Collection[str]) -> Part:
        """Returns the part of some models."""
        return Part(answers=tuple(a for a in self.answers if a.model in models))


def replay(
    spec: HostSpec, physics: Physics, arrivals: Sequence[Arrival], keeper: Keeper | None = None
) -> Score:
    """Returns what the demand cost: stock Ollama, or with ranks kept by `keeper`."""
    score = Score()

    def count(event: Event) -> None:
        score.loads += isinstance(event, LoadStarted)
        score.evictions += isinstance(event, Unloaded)

    host = TwinHost(spec, physics, on_event=count)
    start = host.timeline.now
    for arrival in arrivals:
        host.timeline.at(start + arrival.at, partial(_ask, host, arrival, score))
    end = start + (arrivals[-1].at if arrivals else 0.0) + LINGER_SECONDS
    if keeper is not None:
        keeper.run(host, score, until=end)
    host.timeline.advance(end)
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


class Keeper:
    """Keeps ranks on a twin host by the same rule as on a real one (`control.keep`).

    What it looks at is what a local warmset can see: `/api/ps`, the driver's free memory, runner
    processes (a load in progress, a runner at work).

    Args:
        ranked: names of the models whose rank is kept, the first to go first.
        wanted: names of the warm set, in the order in which it shall be loaded.
    """

    def __init__(self, ranked: Sequence[str], wanted: Sequence[str]) -> None:
        self._ranked = tuple(ranked)
        self._wanted = tuple(wanted)

    def run(self, host: TwinHost, score: Score, *, until: float) -> None:
        """Looks at the host every few seconds, from now on."""
        names = {self._key(host, name): name for name in self._ranked}
        slot_of = assign_slots([self._key(host, name) for name in self._ranked], {})
        wanted = [self._key(host, name) for name in self._wanted]

        calm_since = host.timeline.now

        def tick() -> None:
            nonlocal calm_since
            now = host.timeline.now
            if host.scheduler.loading is not None:
                calm_since = now
            if host.is_up:
                actions = keep(
                    wanted,
                    slot_of,
                    [_held(runner, now) for runner in _runners(host)],
                    is_load_pending=host.scheduler.loading is not None,
                    admits=lambda key: (
                        now - calm_since >= CALM_SECONDS and _admits(host, names[key])
                    ),
                )
                for action in actions:
                    self._send(host, score, names[action.key], action)
            if host.timeline.now + TICK_SECONDS <= until:
                host.timeline.after(TICK_SECONDS, tick)

        tick()

    @staticmethod
    def _key(host: TwinHost, name: str) -> ModelKey:
        model = host.library.find(name)
        assert model is not None, name
        return ModelKey(model.key)

    @staticmethod
    def _send(host: TwinHost, score: Score, name: str, action: Renew | Preload) -> None:
        options: dict[str, object] = {}
        if isinstance(action, Renew):
            score.pings += 1
            runner = host.scheduler.loaded[action.key]
            context = runner.shape.options.num_ctx
            # The safe ping of a resident model: its own context, embedders only from 2048 on.
            if runner.model.completes or context >= 2048:
                options["num_ctx"] = context
        else:
            score.preloads += 1
        host.use(name, 0.0, keep_alive=action.keep_alive, options=options)


def _runners(host: TwinHost) -> tuple[Runner, ...]:
    return tuple(host.scheduler.loaded.values())


def _held(runner: Runner, now: float) -> Held:
    remaining = None if runner.expires_at is None else runner.expires_at - now
    if runner.duration == FOREVER:
        remaining = FOREVER
    return Held(key=ModelKey(runner.model.key), remaining=remaining, is_busy=runner.refs > 0)


def _admits(host: TwinHost, name: str) -> bool:
    """Whether Ollama lets the model in without an eviction, by the driver's free memory."""
    model = host.library.find(name)
    assert model is not None, name
    gpus = [replace(gpu, free_bytes=host.cards.free(gpu.device)) for gpu in host.spec.gpus]
    seen = model.as_loaded()
    loaded = host.scheduler.loaded
    if len(loaded) >= max_loaded(host.env.max_loaded_models, len(gpus)):
        return False
    return forecast_load(
        seen.file,
        host.shape(model, {}),
        gpus,
        parallel=slots(seen.file, host.env.num_parallel, completes=seen.completes),
        completes=seen.completes,
        others_loaded=bool(loaded),
        spread=host.env.sched_spread,
        flash_setting=host.env.flash_attention,
        system_free_bytes=host.system_memory().free_bytes,
    ).admits
