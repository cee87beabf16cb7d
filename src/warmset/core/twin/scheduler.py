"""Ollama's scheduler as a discrete-event machine: the queue and its one load at a time.

Rules that must change together with `loading.py` and `unloading.py`
(Ollama v0.33 `server/sched.go`):

- One queue, first in first out, one load at a time. A request for a compatible resident model
  never queues. While the head waits for an unload, everything behind it waits too.
- The head waits for *any* unload event, without time-out. If its victim is given a positive
  keep-alive meanwhile, no event may ever come: the deadlock of issue #17408 follows from the
  rules, it is not put in by hand.

Nothing here knows HTTP. Requests come in by `submit`, `finish`, `cancel`, `unload`; what happens
goes to the listener as `events`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from warmset.core.ollama.admission import max_loaded
from warmset.core.ollama.belief import subtract_known
from warmset.core.ollama.context import effective_context, next_lower_auto_context
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.generation import NEWEST, Generation
from warmset.core.ollama.keepalive import duration_on_reuse
from warmset.core.ollama.reload import reload_reason
from warmset.core.ollama.types import Gpu
from warmset.core.ollama.victim import Candidate, choose_victim, is_out_of_memory
from warmset.core.twin.cards import Cards
from warmset.core.twin.clock import Timeline
from warmset.core.twin.discovery import Discovery
from warmset.core.twin.events import Event, Failed, Granted
from warmset.core.twin.loading import Loader, SystemMemory
from warmset.core.twin.physics import Physics
from warmset.core.twin.runner import LoadOrder, Request, Runner
from warmset.core.twin.unloading import Unloader

QUEUE_FULL = "server busy, please try again.  maximum pending requests exceeded"


class Scheduler:
    """Residents, queue and loads of one Ollama server.

    Args:
        timeline: the clock that everything happens on.
        cards: the GPUs' truth.
        discovery: what the server learns of it.
        physics: bytes and seconds of loads.
        env: the server's settings.
        system: RAM as the server sees it, asked for at each load.
        listener: is told every event, in order.
        recovery_timeout: seconds that an unload waits at most for its memory to come back.
        generation: of Ollama, where its versions differ.
    """

    def __init__(
        self,
        timeline: Timeline,
        cards: Cards,
        discovery: Discovery,
        physics: Physics,
        env: ServerEnv,
        *,
        system: Callable[[], SystemMemory],
        listener: Callable[[Event], None],
        recovery_timeout: float = 5.0,
        first_pid: int = 1000,
        generation: Generation = NEWEST,
    ) -> None:
        self.timeline = timeline
        self.env = env
        self.generation = generation
        self.loaded: dict[str, Runner] = {}
        self._cards = cards
        self._discovery = discovery
        self._tell = listener
        self._max_loaded = env.max_loaded_models
        self._pending: deque[Request] = deque()
        self._head: Request | None = None
        self._signals_wanted = 0
        self._signals = 0
        self._attached: dict[int, Runner] = {}
        self._unloader = Unloader(
            timeline,
            cards,
            discovery,
            self.loaded,
            on_unloaded=self._on_unloaded,
            tell=listener,
            recovery_timeout=recovery_timeout,
        )
        self._loader = Loader(
            timeline,
            cards,
            discovery,
            physics,
            env=env,
            loaded=self.loaded,
            system=system,
            on_end=self._on_load_end,
            tell=listener,
            first_pid=first_pid,
        )

    # -- what clients can do ---------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Takes a request: served at once by a compatible resident, else queued or refused."""
        runner = self.loaded.get(request.model.key)
        if runner is not None and self._is_usable(runner, request):
            self._use(runner, request, was_cold=False)
        elif len(self._pending) < self.env.max_queue or self._accepts_directly():
            self._pending.append(request)
        else:
            self._tell(Failed(request_id=request.id, error=QUEUE_FULL, status=503))
        self._run()

    def finish(self, request_id: int) -> None:
        """Says that the HTTP exchange of a granted request is over."""
        runner = self._attached.pop(request_id, None)
        if runner is not None:
            self._unloader.finished(runner)
        self._run()

    def cancel(self, request_id: int) -> None:
        """Says that the client is gone: skips a queued request, aborts its load."""
        if self._loader.is_for(request_id):
            self._loader.abort()
        elif request_id in self._attached:
            self.finish(request_id)
        else:
            for request in (*self._pending, *([self._head] if self._head else ())):
                if request.id == request_id:
                    request.is_cancelled = True
        self._run()

    def unload(self, key: str) -> None:
        """Does what an empty request with keep_alive 0 does; nothing when not resident."""
        runner = self.loaded.get(key)
        if runner is not None:
            runner.expires_at = self.timeline.now
            self._unloader.expire_soon(runner)
        self._run()

    def runtime_oom(self) -> None:
        """Does what an out-of-memory error during inference does: every model is let go."""
        for runner in tuple(self.loaded.values()):
            self._unloader.expire_soon(runner)
        self._run()

    def kill(self, key: str) -> None:
        """Lets the runner process of a model die; the server notices at the next request."""
        runner = self.loaded.get(key)
        if runner is not None and runner.is_alive:
            runner.is_alive = False
            self._cards.release(runner.pid)

    def shutdown(self) -> None:
        """Stops everything as a server exit does: processes die, nothing is answered."""
        self._loader.stop()
        for runner in self.loaded.values():
            runner.stop_timer()
            self._cards.release(runner.pid)
        self.loaded.clear()
        self._pending.clear()
        self._attached.clear()
        self._head = None
        self._unloader.stop()

    # -- what can be seen -------------------------------------------------------------------

    @property
    def loading(self) -> LoadOrder | None:
        """The load in progress, if any."""
        return self._loader.order

    @property
    def loading_since(self) -> float | None:
        """When the process of the load in progress began, if there is one."""
        return self._loader.since

    @property
    def is_working(self) -> bool:
        """Whether a load or the recovery of freed memory is in progress."""
        return self._loader.order is not None or self._unloader.is_blocked

    @property
    def waiting(self) -> int:
        """Requests that have neither a runner nor an answer."""
        return len(self._pending) + (self._head is not None)

    def runner_of(self, request_id: int) -> Runner | None:
        """Returns the runner a granted request is attached to."""
        return self._attached.get(request_id)

    # -- the queue loop (`processPending`) --------------------------------------------------

    def _accepts_directly(self) -> bool:
        """A queue of no length still hands a request over when the loop is idle."""
        return self.env.max_queue == 0 and self._head is None and not self._pending

    def _run(self) -> None:
        """Goes on until the loop has to wait for time or for an unload."""
        self._unloader.run()
        while self._loader.order is None:
            if self._head is None:
                self._signals = 0
                if not self._pending:
                    return
                request = self._pending.popleft()
                if request.is_cancelled:
                    continue
                self._head = request
            elif self._signals_wanted:
                if not self._signals:
                    return
                self._signals -= 1
                self._signals_wanted -= 1
                continue
            self._consider(self._head)
            self._unloader.run()

    def _on_unloaded(self) -> None:
        self._signals += 1
        self._run()

    def _consider(self, request: Request) -> None:
        """One round of the inner loop: use, evict and wait, or start a load."""
        runner = self.loaded.get(request.model.key)
        if runner is not None:
            if self._is_usable(runner, request):
                self._head = None
                self._use(runner, request, was_cold=False)
            else:
                self._evict(runner)
            return
        if 0 < self._max_loaded <= len(self.loaded):
            self._evict_one()
            return
        gpus = self._believed_gpus(request)
        if request.model.broken:
            self._fail(request, request.model.broken)
        elif not self._loader.try_start(request, gpus):
            if request.has_retried_oom:
                self._evict_all(request.model.key)
            else:
                self._evict_one()

    def _believed_gpus(self, request: Request) -> tuple[Gpu, ...]:
        views = [runner.view for runner in self.loaded.values()]
        wants_gpu = request.shape.options.num_gpu != 0
        if not wants_gpu and self._max_loaded > 0:
            return ()
        gpus = self._discovery.refresh(views)
        if self._max_loaded <= 0:
            self._max_loaded = max_loaded(0, len(gpus), self.generation)
        return subtract_known(gpus, views) if wants_gpu else ()

    def _is_usable(self, runner: Runner, request: Request) -> bool:
        reason = reload_reason(runner.shape, request.shape, self.generation)
        return runner.is_alive and reason is None

    def _use(self, runner: Runner, request: Request, *, was_cold: bool) -> None:
        runner.refs += 1
        runner.is_evicted = False
        runner.stop_timer()
        if not was_cold:
            runner.duration = duration_on_reuse(
                request.keep_alive, runner.duration, self.env.keep_alive, self.generation
            )
        self._attached[request.id] = runner
        self._tell(Granted(request_id=request.id, pid=runner.pid, was_cold=was_cold))

    def _evict_one(self) -> None:
        victim = choose_victim(
            [
                Candidate(path=key, duration=runner.duration, is_busy=runner.refs > 0)
                for key, runner in self.loaded.items()
            ]
        )
        assert victim is not None, "only residents stand in the way of a load"
        self._evict(self.loaded[victim.path])

    def _evict(self, runner: Runner) -> None:
        runner.is_evicted = True
        self._unloader.expire_soon(runner)
        self._signals_wanted = 1

    def _evict_all(self, keep: str) -> None:
        others = [runner for key, runner in self.loaded.items() if key != keep]
        for runner in others:
            runner.is_evicted = True
            self._unloader.expire_soon(runner)
        self._signals_wanted = len(others)

    # -- the end of a load ------------------------------------------------------------------

    def _on_load_end(self, request: Request, runner: Runner | None, error: str) -> None:
        if runner is None:
            self._after_failure(request, error)
        else:
            self.loaded[request.model.key] = runner
            self._head = None
            self._use(runner, request, was_cold=True)
        self._run()

    def _after_failure(self, request: Request, error: str) -> None:
        """Retries once after lack of memory: with less automatic context, without the others."""
        if not request.has_retried_oom and is_out_of_memory(error):
            options = request.shape.options
            effective = effective_context(options.num_ctx, request.model.file.trained_context)
            lower = next_lower_auto_context(effective)
            if request.shape.num_ctx_auto and lower is not None and lower < options.num_ctx:
                request.shape = replace(request.shape, options=replace(options, num_ctx=lower))
                request.has_retried_oom = True
            elif self.loaded:
                request.has_retried_oom = True
            if request.has_retried_oom:
                self._evict_all(request.model.key)
                return
        status = 499 if request.is_cancelled else 500
        self._fail(request, error, status=status)

    def _fail(self, request: Request, error: str, *, status: int = 500) -> None:
        self._head = None
        self._tell(Failed(request_id=request.id, error=error, status=status))
