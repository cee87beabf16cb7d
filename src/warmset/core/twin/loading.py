"""One load at a time: from Ollama's forecast to a runner in the list, or to an error.

Source: Ollama v0.33 `server/sched.go: load, applyLlamaServerMmapDefaults`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from warmset.core.ollama.admission import Forecast, forecast_load, mmap_off_reason
from warmset.core.ollama.context import effective_context, slots
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.keepalive import duration_on_load
from warmset.core.ollama.types import Gpu, LoadShape
from warmset.core.twin.cards import Cards
from warmset.core.twin.clock import Timeline, Timer
from warmset.core.twin.discovery import Discovery
from warmset.core.twin.events import Event, LoadEnded, LoadStarted
from warmset.core.twin.physics import Physics
from warmset.core.twin.runner import LoadOrder, LoadResult, Request, Runner

LOAD_CANCELED: Final = "timed out waiting for llama-server to start: context canceled"
"""Source: `llm/llama_server.go: WaitUntilRunning`; the client, being gone, never reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemMemory:
    """RAM as Ollama sees it. Units: bytes; 0 = unknown."""

    total_bytes: int
    free_bytes: int


@dataclass(slots=True, kw_only=True)
class _Load:
    """The load in progress."""

    request: Request
    order: LoadOrder
    shape: LoadShape
    result: LoadResult
    pid: int
    started_at: float
    timer: Timer


class Loader:
    """Starts runner processes; knows the load in progress.

    Args:
        loaded: key -> runner, shared with the scheduler; read here only.
        on_end: is told the request, and its runner or the error (one of both).
        tell: the listener for events.
    """

    def __init__(
        self,
        timeline: Timeline,
        cards: Cards,
        discovery: Discovery,
        physics: Physics,
        *,
        env: ServerEnv,
        loaded: Mapping[str, Runner],
        system: Callable[[], SystemMemory],
        on_end: Callable[[Request, Runner | None, str], None],
        tell: Callable[[Event], None],
        first_pid: int,
    ) -> None:
        self._timeline = timeline
        self._cards = cards
        self._discovery = discovery
        self._physics = physics
        self._env = env
        self._loaded = loaded
        self._system = system
        self._on_end = on_end
        self._tell = tell
        self._next_pid = first_pid
        self._load: _Load | None = None

    @property
    def order(self) -> LoadOrder | None:
        """What is being loaded."""
        return self._load.order if self._load else None

    @property
    def since(self) -> float | None:
        """When its process began."""
        return self._load.started_at if self._load else None

    def is_for(self, request_id: int) -> bool:
        """Whether the load in progress is this request's."""
        return self._load is not None and self._load.request.id == request_id

    def try_start(self, request: Request, gpus: tuple[Gpu, ...]) -> bool:
        """Starts a load; `False` when something must be evicted first.

        The batch that was chosen stays on the request even if the load has to wait, as in Ollama.
        """
        must_be_full = bool(self._loaded)
        forecast = self._forecast(request, gpus)
        request.shape = forecast.shape
        if must_be_full and not forecast.admits:
            return False
        request.shape = self._with_mmap_default(request, forecast)
        options = replace(request.shape.options, main_gpu=forecast.placement.main_gpu)
        order = LoadOrder(
            model=request.model,
            shape=replace(request.shape, options=options),
            parallel=forecast.parallel,
            gpus=forecast.placement.gpus,
            must_be_full=must_be_full,
            free_bytes=self._cards.all_free(),
            ram_free_bytes=self._system().free_bytes,
        )
        self._start(request, order)
        return True

    def abort(self) -> None:
        """Ends the load in progress, because its client has gone away."""
        assert self._load is not None
        self._load.request.is_cancelled = True
        self._load.timer.cancel()
        self._end(replace(self._load.result, error=LOAD_CANCELED))

    def stop(self) -> None:
        """Kills the process of the load in progress; nobody is told."""
        if self._load is not None:
            self._load.timer.cancel()
            self._cards.release(self._load.pid)
            self._load = None

    def _forecast(self, request: Request, gpus: tuple[Gpu, ...]) -> Forecast:
        model = request.model
        return forecast_load(
            model.file,
            request.shape,
            gpus,
            parallel=slots(model.file, self._env.num_parallel, completes=model.completes),
            completes=model.completes,
            others_loaded=bool(self._loaded),
            spread=self._env.sched_spread,
            flash_setting=self._env.flash_attention,
            system_free_bytes=self._system().free_bytes,
        )

    def _with_mmap_default(self, request: Request, forecast: Forecast) -> LoadShape:
        shape, system = request.shape, self._system()
        mapped = sum(
            runner.model.file.file_bytes or runner.total_bytes
            for runner in self._loaded.values()
            if runner.shape.options.use_mmap is not False
        )
        if shape.is_mlx or not mmap_off_reason(
            forecast,
            request.model.file,
            mapped_bytes=mapped,
            system_total_bytes=system.total_bytes,
            system_free_bytes=system.free_bytes,
        ):
            return shape
        options = replace(shape.options, use_mmap=False)
        return replace(shape, options=options, use_mmap_auto=True)

    def _start(self, request: Request, order: LoadOrder) -> None:
        pid, self._next_pid = self._next_pid, self._next_pid + 1
        result = self._physics.load(order)
        if request.is_cancelled:
            # Its turn came although the client is gone: the process starts and is stopped at once.
            result = LoadResult(seconds=0.0, error=LOAD_CANCELED)
        self._cards.allocate(
            pid, {g.device: n for g, n in zip(order.gpus, result.by_position, strict=False)}
        )
        self._tell(LoadStarted(order=order, pid=pid))
        self._load = _Load(
            request=request,
            order=order,
            shape=request.shape,
            result=result,
            pid=pid,
            started_at=self._timeline.now,
            timer=self._timeline.after(result.seconds, lambda: self._end(result)),
        )

    def _end(self, result: LoadResult) -> None:
        load, self._load = self._load, None
        assert load is not None
        self._tell(LoadEnded(order=load.order, pid=load.pid, error=result.error))
        if result.error:
            self._cards.release(load.pid)
            self._on_end(load.request, None, result.error)
        else:
            self._on_end(load.request, self._runner(load), "")

    def _runner(self, load: _Load) -> Runner:
        order = load.order
        num_ctx = effective_context(load.shape.options.num_ctx, load.shape.trained_context)
        return Runner(
            model=load.request.model,
            shape=replace(load.shape, options=replace(load.shape.options, num_ctx=num_ctx)),
            parallel=order.parallel,
            gpus=order.gpus,
            view=self._discovery.view(order, load.result.seen_by_ollama),
            vram_bytes=sum(load.result.seen_by_ollama),
            total_bytes=load.result.total_bytes,
            duration=duration_on_load(load.request.keep_alive, self._env.keep_alive),
            pid=load.pid,
            started_at=load.started_at,
            has_discrete_gpu=any(
                not gpu.integrated and gpu.library != "Metal" for gpu in order.gpus
            ),
        )
