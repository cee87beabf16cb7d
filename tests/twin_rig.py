"""A scheduler of the twin on a bench: models of whole GiB, loads that end as they are told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.options import load_shape
from warmset.core.ollama.types import Gpu, WeightsFile
from warmset.core.twin.cards import Cards
from warmset.core.twin.clock import Timeline
from warmset.core.twin.discovery import Discovery, DriverDiscovery
from warmset.core.twin.events import Event, Failed, Granted, LoadStarted, Unloaded
from warmset.core.twin.loading import SystemMemory
from warmset.core.twin.runner import LoadOrder, LoadResult, Request, Runner, TwinModel
from warmset.core.twin.scheduler import Scheduler
from warmset.core.units import GIB

LOAD_SECONDS = 4.0
OOM = "cudaMalloc failed: out of memory"


def cards(*gib: int, integrated: bool = False) -> tuple[Gpu, ...]:
    return tuple(
        Gpu(
            library="CUDA",
            id=str(number),
            total_bytes=size * GIB,
            free_bytes=size * GIB,
            integrated=integrated,
        )
        for number, size in enumerate(gib)
    )


def model(name: str, gib: float, **facts: object) -> TwinModel:
    file = WeightsFile(file_bytes=int(gib * GIB), block_count=32, trained_context=131072)
    return TwinModel(key=f"sha256:{name}", name=name, file=file, **facts)


class Bench:
    """Loads take four seconds and the file's bytes, from the first GPU on, the rest to RAM.

    `errors` holds, per model, how its next loads fail; an empty text is a success.
    """

    def __init__(self) -> None:
        self.errors: dict[str, list[str]] = {}
        self.orders: list[LoadOrder] = []

    def load(self, order: LoadOrder) -> LoadResult:
        self.orders.append(order)
        planned = self.errors.get(order.model.name, [])
        error = planned.pop(0) if planned else ""
        rest, taken = order.model.file.file_bytes, []
        for gpu in order.gpus:
            share = min(rest, order.free_bytes[gpu.device])
            taken.append(share)
            rest -= share
        return LoadResult(
            seconds=LOAD_SECONDS,
            by_position=tuple(taken),
            total_bytes=order.model.file.file_bytes,
            error=error,
        )


class Rig:
    """One server with a listener that writes everything down."""

    def __init__(
        self,
        *models: TwinModel,
        gpus: tuple[Gpu, ...] = (),
        discovery: Callable[[Cards], Discovery] = DriverDiscovery,
        default_num_ctx: int = 4096,
        release_lag: float = 0.0,
        system_free: int = 0,
        **env: object,
    ) -> None:
        self.models = {m.name: m for m in models}
        self.timeline = Timeline()
        self.cards = Cards(self.timeline, gpus, release_lag_seconds=release_lag)
        self.bench = Bench()
        self.events: list[tuple[float, Event]] = []
        self.default_num_ctx = default_num_ctx
        self._asked = 0
        self.scheduler = Scheduler(
            self.timeline,
            self.cards,
            discovery(self.cards),
            self.bench,
            replace(ServerEnv(), **env),
            system=lambda: SystemMemory(total_bytes=64 * GIB, free_bytes=system_free),
            listener=lambda event: self.events.append((self.timeline.now, event)),
        )

    def ask(self, name: str, keep: float | None = None, **options: object) -> int:
        """Sends a request and returns its number."""
        self._asked += 1
        found = self.models[name]
        shape = load_shape(
            found.file,
            request=options,
            modelfile=found.modelfile,
            default_num_ctx=self.default_num_ctx,
            is_embedding=found.embeds,
            has_vision=found.has_vision,
            adapters=found.adapters,
            projectors=found.projectors,
        )
        self.scheduler.submit(
            Request(
                id=self._asked,
                model=found,
                shape=shape,
                keep_alive=keep,
                submitted_at=self.timeline.now,
            )
        )
        return self._asked

    def use(self, name: str, keep: float | None = None, **options: object) -> int:
        """Sends a request, waits until it is granted, and ends it."""
        number = self.ask(name, keep, **options)
        self.wait(60.0)
        assert self.answer(number) == "granted", self.answer(number)
        self.scheduler.finish(number)
        return number

    def wait(self, seconds: float) -> None:
        self.timeline.advance(self.timeline.now + seconds)

    def answer(self, number: int) -> str:
        """`granted`, the text of the failure, or `waiting`."""
        for _, event in self.events:
            if isinstance(event, Granted) and event.request_id == number:
                return "granted"
            if isinstance(event, Failed) and event.request_id == number:
                return event.error
        return "waiting"

    @property
    def resident(self) -> list[str]:
        """Names in the order of their loads."""
        return [runner.model.name for runner in self.scheduler.loaded.values()]

    def runner(self, name: str) -> Runner:
        return self.scheduler.loaded[self.models[name].key]

    @property
    def loads(self) -> list[str]:
        """Names of all loads so far."""
        return [
            event.order.model.name for _, event in self.events if isinstance(event, LoadStarted)
        ]

    @property
    def gone(self) -> list[str]:
        """Names of all unloads so far."""
        return [event.name for _, event in self.events if isinstance(event, Unloaded)]
