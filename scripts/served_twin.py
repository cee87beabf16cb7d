"""A trace on a pretended host, and the loop of `serve` beside it, which learns what it sees."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf

from warmset.adapters.journal import Demand, Departure, LoadSeen, ModelRow, UseRow
from warmset.core.control.actions import Decision
from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.control.orders import Event as Told
from warmset.core.control.orders import SendPing, SendPreload, SendUnload
from warmset.core.demand.trace import Trace
from warmset.core.loads import Learnt
from warmset.core.model import Observation
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.types import Gpu
from warmset.core.policy import ModelCost
from warmset.core.twin.clock import Timeline
from warmset.core.twin.events import Event, LoadEnded, LoadStarted, Unloaded
from warmset.core.twin.host import HostSpec, News, Refusal, TwinHost
from warmset.core.twin.library import InstalledModel, Weights, digest_of
from warmset.core.twin.physics import FootprintPhysics
from warmset.core.twin.replay import LINGER_SECONDS
from warmset.core.twin.runner import LoadOrder, LoadResult
from warmset.core.twin.score import THRASH_SECONDS
from warmset.core.twin.sidecar import Sidecar
from warmset.core.units import GIB
from warmset.shell.demand_keeper import DemandKeeper
from warmset.shell.lessons import REFRESH_SECONDS, learn_from
from warmset.shell.telemetry.listening import Step

EPOCH = 1_700_000_000.0  # of every trace, in Unix seconds
SPARE = 1 << 30  # above its file, for what else a runner holds
RELEASE_LAG_SECONDS = 0.8  # as the hosts by name have it
FACTS = {  # a model with a small cache: what it holds is nearly its file
    "general.architecture": "llama",
    "llama.block_count": 16,
    "llama.context_length": 4096,
    "llama.embedding_length": 2048,
    "llama.feed_forward_length": 5632,
    "llama.attention.head_count": 16,
    "llama.attention.head_count_kv": 2,
    "llama.vocab_size": 32000,
}


def key_of(name: str) -> str:
    """The digest of a model's weights."""
    return f"sha256:{digest_of(name)}"


class TracePhysics(FootprintPhysics):
    """Loads take the bytes of the footprint, and the seconds of the trace."""

    def __init__(self, models: Mapping[str, ModelCost]) -> None:
        super().__init__({key_of(name): FACTS for name in models})
        self._seconds = {key_of(name): cost.load_seconds for name, cost in models.items()}

    def load(self, order: LoadOrder) -> LoadResult:
        """Returns what a load takes."""
        return replace(super().load(order), seconds=self._seconds[order.model.key])


def host_of(models: Mapping[str, ModelCost], card_bytes: int) -> HostSpec:
    """One card, no limit of models, Ollama's own keep-alive."""
    card = Gpu(library="CUDA", id="0", total_bytes=card_bytes, free_bytes=card_bytes, name="card")
    return HostSpec(
        name="trace",
        gpus=(card,),
        system_total_bytes=512 * GIB,
        models=tuple(
            InstalledModel(
                name=f"{name}:latest",
                weights=Weights(digest=key_of(name), size_bytes=cost.bytes, facts=FACTS),
                family="llama",
            )
            for name, cost in models.items()
        ),
        env=ServerEnv(max_loaded_models=len(models)),
        release_lag_seconds=RELEASE_LAG_SECONDS,
    )


@dataclass
class Cost:
    """What a replay cost. Units: seconds, counts."""

    requests: int = 0
    failed: int = 0
    cold: float = 0.0
    loads: int = 0
    load_seconds: float = 0.0
    reloads: int = 0
    pings: int = 0
    preloads: int = 0
    unloads: int = 0
    cpu_seconds: float = 0.0


@dataclass
class Meter:
    """Counts while a host lives: whose loads were waited for, since when."""

    cost: Cost = field(default_factory=Cost)
    waiting: dict[str, int] = field(default_factory=dict)  # key -> requests without a runner
    since: dict[str, float] = field(default_factory=dict)  # key -> begin of the load in progress
    left: dict[str, float] = field(default_factory=dict)  # key -> its last unload
    asked: dict[str, float] = field(default_factory=dict)  # key -> who waits for that load, since

    def hear(self, event: Event, now: float) -> None:
        """Takes news of the scheduler."""
        if isinstance(event, LoadStarted):
            key = event.order.model.key
            self.cost.loads += 1
            self.cost.reloads += now - self.left.get(key, -inf) <= THRASH_SECONDS
            self.since[key] = now
            if self.waiting.get(key):
                self.asked[key] = now
        elif isinstance(event, LoadEnded):
            key = event.order.model.key
            self.cost.load_seconds += now - self.since.pop(key)
            self.cost.cold += now - self.asked.pop(key, now)
        elif isinstance(event, Unloaded):
            self.left[event.key] = now

    def ask(self, key: str, now: float) -> None:
        """A user asks."""
        self.cost.requests += 1
        self.waiting[key] = self.waiting.get(key, 0) + 1
        if key in self.since:
            self.asked.setdefault(key, now)

    def answer(self, key: str, news: News) -> None:
        """A user has his runner, or will have none."""
        self.cost.failed += isinstance(news, Refusal)
        self.waiting[key] -= 1


@dataclass
class ListStore:
    """A demand store in memory, for `DemandKeeper`."""

    models: dict[str, ModelRow] = field(default_factory=dict)
    uses: list[UseRow] = field(default_factory=list)
    loads: list[LoadSeen] = field(default_factory=list)

    def note_model(self, row: ModelRow) -> None:
        """Keeps what is known of some weights."""
        self.models[row.key] = row

    def add_use(self, row: UseRow) -> int:
        """Keeps one use; returns its number."""
        self.uses.append(row)
        return len(self.uses) - 1

    def import_use(self, at: float, cost: ModelCost, seconds: float) -> None:
        """Keeps what was known before: a use, and what a load of the model took at its first."""
        key = key_of(cost.id)
        self.add_use(UseRow(at=at, key=key, seconds=seconds, source="import"))
        if key not in self.models:
            self.note_model(ModelRow(key=key, name=cost.id, file_bytes=cost.bytes))
            self.add_load(LoadSeen(at=at, key=key, cause="demand", seconds=cost.load_seconds))

    def lengthen(self, number: int, seconds: float) -> None:
        """Notes that a use still lasts."""
        self.uses[number] = replace(self.uses[number], seconds=seconds)

    def add_load(self, row: LoadSeen) -> None:
        """Keeps one load."""
        self.loads.append(row)

    def add_departure(self, _: Departure) -> None:
        """Nothing is learnt from those."""

    def learnt(self) -> Learnt:
        """What `serve` would read of it."""
        uses = tuple(sorted(self.uses, key=lambda row: row.at))
        demand = Demand(models=self.models, uses=uses, loads=tuple(self.loads), departures=())
        return learn_from(demand, counts_gaps=True)


class LearningSidecar(Sidecar):
    """The loop beside a twin; what its looks show is kept and learnt from, as `serve` does it."""

    def __init__(self, host: TwinHost, loop: Loop, store: ListStore) -> None:
        super().__init__(host, loop, keeps_log=False, on_look=self._keep)
        self._store = store
        self._keeper = DemandKeeper(store)  # type: ignore[arg-type]
        self._read_at = -inf
        self._seen: Observation | None = None

    def observe(self) -> Observation:
        """One look, with what was learnt by the last full hour, and with when processes began."""
        if self.now - self._read_at >= REFRESH_SECONDS:
            self._read_at, self.learnt = self.now, self._store.learnt()
        seen = super().observe()
        began = {runner.pid: runner.started_at for runner in self.host.scheduler.loaded.values()}
        runners = tuple(
            replace(one, started_at=began.get(one.pid, self.now)) for one in seen.runners or ()
        )
        self._seen = replace(seen, runners=runners)
        return self._seen

    def _keep(self, decision: Decision) -> None:
        assert self._seen is not None
        step = Step(
            observation=self._seen,
            picture=None,
            config=self.loop.config,
            state=self.loop.state,
            decision=decision,
            planned=self.loop.planned,
            seconds=0.0,
        )
        self._keeper.stepped(step)

    def _report(self, event: Told) -> None:
        known = len(self.log.findings)
        super()._report(event)
        self._keeper.heard([finding for _, finding in self.log.findings[known:]])


def replay(
    trace: Trace,
    models: Mapping[str, ModelCost],
    card_bytes: int,
    *,
    span: tuple[float, float],
    config: Config | None = None,
) -> Cost:
    """Returns what the requests of a span cost; those before are known as a log is.

    Args:
        trace: of which requests for models that alone are too large for the card are left out.
        models: what they cost.
        card_bytes: the memory.
        span: its begin and end in seconds of the trace.
        config: of the loop beside it; `None`: there is none.
    """
    begin, end = span
    timeline, meter, store = Timeline(EPOCH + begin), Meter(), ListStore()
    fits = {name: cost for name, cost in models.items() if cost.bytes + SPARE <= card_bytes}
    host = TwinHost(
        host_of(fits, card_bytes),
        TracePhysics(fits),
        timeline,
        on_event=lambda event: meter.hear(event, timeline.now),
    )

    def ask(name: str, seconds: float, keep_alive: float | None) -> None:
        meter.ask(key_of(name), timeline.now)
        told = partial(meter.answer, key_of(name))
        host.use(f"{name}:latest", seconds, keep_alive=keep_alive, then=told)

    sent = trace.keep_alives or (None,) * len(trace)
    for at, name, seconds, keep in zip(trace.times, trace.models, trace.seconds, sent, strict=True):
        if name in fits and at < begin:
            store.import_use(EPOCH + at, fits[name], seconds)
        elif name in fits and at < end:
            timeline.at(EPOCH + at, partial(ask, name, seconds, keep))
    sidecar = None if config is None else LearningSidecar(host, Loop(config), store)
    began = time.process_time()
    if sidecar is not None:
        sidecar.start()
    timeline.advance(EPOCH + end + LINGER_SECONDS)
    cost = meter.cost
    cost.cpu_seconds = time.process_time() - began
    if sidecar is not None:
        cost.pings = sidecar.log.count(SendPing)
        cost.preloads = sidecar.log.count(SendPreload)
        cost.unloads = sidecar.log.count(SendUnload)
    return cost
