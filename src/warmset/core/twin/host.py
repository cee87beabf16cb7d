"""A whole host with Ollama on it: GPUs, installed models, scheduler, server restarts.

`HostSpec` says what the host is; `TwinHost` lives. It knows neither HTTP nor wall time: requests
come in as values, news of them comes back through a callback, and everything happens on the
timeline. News never comes inside the call that causes it, always when the timeline next moves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from warmset.core.ollama.context import default_context
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.generation import generation_of
from warmset.core.ollama.options import load_shape
from warmset.core.ollama.types import Gpu, LoadShape, OptionValues
from warmset.core.twin.cards import Cards
from warmset.core.twin.clock import Timeline
from warmset.core.twin.discovery import Discovery, RunnerDiscovery
from warmset.core.twin.events import Event, Failed, Granted
from warmset.core.twin.library import VISION, InstalledModel, Library
from warmset.core.twin.loading import SystemMemory
from warmset.core.twin.physics import Physics
from warmset.core.twin.runner import Request, Runner
from warmset.core.twin.scheduler import Scheduler
from warmset.core.twin.unloading import GO_LONGEST_SECONDS

RUNNER_DIED: Final = "an error was encountered while running the model: unexpected EOF"
"""Source: transcript 29, a runner killed under its request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSpec:
    """What a pretended host has.

    Attributes:
        gpus: with all of their memory free; `foreign_bytes` takes from it.
        foreign_bytes: device (`LIBRARY:ID`) -> bytes held by other programs.
        release_lag_seconds: until the driver shows freed memory as free.
        seed: of whatever is drawn at random on this host.

    Units:
        Bytes and seconds. `system_used_bytes` is RAM that other programs hold.
    """

    name: str
    gpus: tuple[Gpu, ...] = ()
    system_total_bytes: int
    system_used_bytes: int = 0
    models: tuple[InstalledModel, ...] = ()
    env: ServerEnv = field(default_factory=ServerEnv)
    foreign_bytes: Mapping[str, int] = field(default_factory=dict)
    release_lag_seconds: float = 0.0
    version: str = "0.33.0-rc2"
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The request has its runner; its client must call `finish` at the end."""

    runner: Runner
    was_cold: bool
    waited_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """The request ends without a runner, with Ollama's status and text."""

    error: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """The runner died under the request; its client must still call `finish`."""

    error: str = RUNNER_DIED


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """The server went away; there is no answer."""


News = Grant | Refusal | Crash | Disconnected


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentRow:
    """One row of `/api/ps`. Units: `expires_at` is Unix seconds."""

    model: InstalledModel
    runner: Runner
    expires_at: float


@dataclass(slots=True, kw_only=True)
class _Ticket:
    """A request on its way. `is_open` until its client finishes or cancels it."""

    model: InstalledModel
    on_news: Callable[[News], None]
    submitted_at: float
    is_open: bool = True


class TwinHost:
    """A host that lives on a timeline.

    Args:
        spec: what it has.
        physics: bytes and seconds of its loads.
        timeline: shared with whoever drives it; Unix seconds.
        on_event: is told every event of the scheduler.
        discovery: what the server learns of free memory; as in Ollama unless given.
    """

    def __init__(
        self,
        spec: HostSpec,
        physics: Physics,
        timeline: Timeline | None = None,
        *,
        on_event: Callable[[Event], None] = lambda _: None,
        discovery: Callable[[Cards], Discovery] = RunnerDiscovery,
        recovery_timeout: float = 5.0,
    ) -> None:
        self.spec = spec
        self.env = spec.env
        self.timeline = timeline or Timeline()
        self.cards = Cards(self.timeline, spec.gpus, release_lag_seconds=spec.release_lag_seconds)
        for device, count in spec.foreign_bytes.items():
            self.cards.set_foreign(device, count)
        self.library = Library(spec.models)
        self._generation = generation_of(spec.version)
        self.default_num_ctx = default_context(
            (gpu.total_bytes for gpu in spec.gpus), spec.env.gpu_overhead_bytes, self._generation
        )
        self.is_up = True
        self.starts = 1
        self._physics = physics
        self._on_event = on_event
        self._discovery = discovery
        self._recovery_timeout = recovery_timeout
        self._tickets: dict[int, _Ticket] = {}
        self._asked: dict[tuple[str, str], InstalledModel] = {}  # by name and digest, as asked for
        self.requests_made = 0
        self.scheduler = self._new_scheduler(first_pid=1000)

    # -- requests ---------------------------------------------------------------------------

    def shape(
        self, model: InstalledModel, options: OptionValues, shift: bool | None = None
    ) -> LoadShape:
        """Returns how a request with these options wants the model loaded.

        Raises:
            OptionError: an option has the wrong type.
        """
        seen = model.as_loaded()
        return load_shape(
            seen.file,
            request=options,
            modelfile=model.parameters,
            default_num_ctx=self.default_num_ctx,
            context_length_env=self.env.context_length,
            is_embedding=seen.embeds,
            has_vision=VISION in model.capabilities,
            shift=shift,
            adapters=seen.adapters,
            projectors=seen.projectors,
        )

    def submit(
        self,
        model: InstalledModel,
        on_news: Callable[[News], None],
        *,
        keep_alive: float | None = None,
        options: OptionValues | None = None,
        shift: bool | None = None,
    ) -> int:
        """Asks for a runner, as every load-type call does; returns the request's number.

        Raises:
            OptionError: an option has the wrong type.
        """
        assert self.is_up, "a stopped server takes no requests"
        shape = self.shape(model, options or {}, shift)
        self.requests_made += 1
        number, now = self.requests_made, self.timeline.now
        self._tickets[number] = _Ticket(model=model, on_news=on_news, submitted_at=now)
        self._asked[model.name, model.digest] = model
        self.scheduler.submit(
            Request(
                id=number,
                model=model.as_loaded(),
                shape=shape,
                keep_alive=keep_alive,
                submitted_at=now,
            )
        )
        return number

    def finish(self, number: int) -> None:
        """Says that the exchange of a granted request is over."""
        self._close(number)
        self.scheduler.finish(number)

    def cancel(self, number: int) -> None:
        """Says that the client went away, wherever its request is."""
        self._close(number)
        self.scheduler.cancel(number)

    def use(
        self,
        name: str,
        busy_seconds: float,
        *,
        keep_alive: float | None = None,
        options: OptionValues | None = None,
        then: Callable[[News], None] = lambda _: None,
    ) -> int:
        """Keeps a model's runner in use for a time, as one client's request does.

        `then` is told the grant when it comes, or why there is none.
        """
        model = self.library.find(name)
        assert model is not None, f"{name} is not installed on {self.spec.name}"
        number = 0

        def on_news(news: News) -> None:
            if isinstance(news, Grant):
                self.timeline.after(busy_seconds, lambda: self.finish(number))
            elif isinstance(news, Crash):
                self.finish(number)
            then(news)

        number = self.submit(model, on_news, keep_alive=keep_alive, options=options)
        return number

    def unload(self, model: InstalledModel) -> None:
        """Does what an empty request with keep_alive 0 does."""
        self.scheduler.unload(model.key)

    # -- what can be seen -------------------------------------------------------------------

    def residents(self) -> tuple[ResidentRow, ...]:
        """Returns the rows of `/api/ps`, the latest expiry (in whole seconds) first."""
        rows = [
            ResidentRow(
                model=self._asked[runner.model.name, runner.model.digest],
                runner=runner,
                expires_at=self._expires_at(runner),
            )
            for runner in self.scheduler.loaded.values()
        ]
        return tuple(sorted(rows, key=lambda row: -math.floor(row.expires_at)))

    def _expires_at(self, runner: Runner) -> float:
        """A runner that was never idle shows its whole duration from now (transcript 10)."""
        if runner.expires_at is None:
            return self.timeline.now + min(runner.duration, GO_LONGEST_SECONDS)
        return runner.expires_at

    def system_memory(self) -> SystemMemory:
        """Returns RAM as the server sees it: what runners and other programs hold is gone.

        GPUs that live in RAM take all they hold from it.
        """
        held = sum(r.total_bytes - r.vram_bytes for r in self.scheduler.loaded.values())
        shared = (gpu for gpu in self.spec.gpus if gpu.integrated)
        held += sum(gpu.total_bytes - self.cards.free(gpu.device) for gpu in shared)
        free = self.spec.system_total_bytes - self.spec.system_used_bytes - held
        return SystemMemory(total_bytes=self.spec.system_total_bytes, free_bytes=max(free, 0))

    def free_bytes(self, gpu: Gpu) -> int:
        """Returns what the driver shows as free on a GPU; in RAM that is no more than RAM has."""
        free = self.cards.free(gpu.device)
        return min(free, self.system_memory().free_bytes) if gpu.integrated else free

    # -- what can go wrong ------------------------------------------------------------------

    def kill_runner(self, key: str) -> None:
        """Kills a runner's process: its requests fail, `/api/ps` goes on listing it."""
        self.scheduler.kill(key)
        for number, ticket in tuple(self._tickets.items()):
            runner = self.scheduler.runner_of(number)
            if runner is not None and runner.model.key == key:
                self._tell(ticket, Crash())

    def stop(self) -> None:
        """Stops the server: processes die, open requests end without an answer."""
        self.is_up = False
        self.scheduler.shutdown()
        for ticket in self._tickets.values():
            self._tell(ticket, Disconnected())
        self._tickets.clear()

    def start(self) -> None:
        """Starts the server again; it remembers nothing but what is installed."""
        assert not self.is_up, "the server is running"
        self.scheduler = self._new_scheduler(first_pid=1000 * (self.starts + 1))
        self.starts += 1
        self.is_up = True

    def restart(self, down_seconds: float = 0.0) -> None:
        """Stops the server now and starts it again after a while."""
        self.stop()
        self.timeline.after(down_seconds, self.start)

    # -- inside -----------------------------------------------------------------------------

    def _new_scheduler(self, first_pid: int) -> Scheduler:
        return Scheduler(
            self.timeline,
            self.cards,
            self._discovery(self.cards),
            self._physics,
            self.env,
            system=self.system_memory,
            listener=self._hear,
            recovery_timeout=self._recovery_timeout,
            first_pid=first_pid,
            generation=self._generation,
        )

    def _hear(self, event: Event) -> None:
        self._on_event(event)
        if isinstance(event, Granted):
            ticket = self._tickets.get(event.request_id)
            runner = self.scheduler.runner_of(event.request_id)
            if ticket is not None and runner is not None:
                waited = self.timeline.now - ticket.submitted_at
                grant = Grant(runner=runner, was_cold=event.was_cold, waited_seconds=waited)
                self._tell(ticket, grant)
        elif isinstance(event, Failed):
            ticket = self._tickets.pop(event.request_id, None)
            if ticket is not None:
                self._tell(ticket, Refusal(error=event.error, status=event.status))

    def _tell(self, ticket: _Ticket, news: News) -> None:
        def deliver() -> None:
            if ticket.is_open:
                ticket.on_news(news)

        self.timeline.after(0.0, deliver)

    def _close(self, number: int) -> None:
        ticket = self._tickets.pop(number, None)
        if ticket is not None:
            ticket.is_open = False
