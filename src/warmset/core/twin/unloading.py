"""The other half of Ollama's scheduler: ends of requests, timers, unloads, one at a time.

One loop handles all of these in order. While it waits for the memory of an unloaded model to
come back (up to 5 s), ends of requests and expired timers pile up behind it.

Source: Ollama v0.33 `server/sched.go: processCompleted, waitForVRAMRecovery, expireRunner`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from warmset.core.twin.cards import Cards
from warmset.core.twin.clock import Timeline
from warmset.core.twin.discovery import Discovery
from warmset.core.twin.events import Event, Unloaded
from warmset.core.twin.runner import Runner

RETRY_SECONDS: Final = 0.010
"""A busy runner's expiry is looked at again after this. Source: `processCompleted`."""
POLL_SECONDS: Final = 0.250
RECOVERED_RATIO: Final = 0.75
"""Source: `waitForVRAMRecovery`."""
GO_LONGEST_SECONDS: Final = ((1 << 63) - 1) / 1e9
"""What "for ever" is added to a moment as. Source: Go's largest duration; transcript 05."""


class Unloader:
    """Takes runners out of `loaded` when they expire, and says so when memory is back.

    Args:
        loaded: key -> runner, shared with the scheduler.
        on_unloaded: called once per completed unload (Ollama's `unloadedCh`).
        tell: the listener for events.
        recovery_timeout: seconds to wait for memory at most.
    """

    def __init__(
        self,
        timeline: Timeline,
        cards: Cards,
        discovery: Discovery,
        loaded: dict[str, Runner],
        *,
        on_unloaded: Callable[[], None],
        tell: Callable[[Event], None],
        recovery_timeout: float,
    ) -> None:
        self._timeline = timeline
        self._cards = cards
        self._discovery = discovery
        self._loaded = loaded
        self._on_unloaded = on_unloaded
        self._tell = tell
        self._recovery_timeout = recovery_timeout
        self._inbox: deque[Callable[[], None]] = deque()
        self.is_blocked = False
        self._is_running = False
        self._epoch = 0

    def finished(self, runner: Runner) -> None:
        """Takes note that a request of this runner has ended."""
        self._inbox.append(lambda: self._handle_finished(runner))

    def expire_soon(self, runner: Runner) -> None:
        """Sets the duration to 0: unload now if idle, else after the last request."""
        runner.stop_timer()
        runner.duration = 0.0
        if runner.refs <= 0:
            self._expired(runner)

    def stop(self) -> None:
        """Forgets everything, as an exit of the server does."""
        self._inbox.clear()
        self.is_blocked = False
        self._epoch += 1

    def run(self) -> None:
        """Handles what has come in, until a wait for memory blocks the loop."""
        if self._is_running:
            return
        self._is_running = True
        while self._inbox and not self.is_blocked:
            self._inbox.popleft()()
        self._is_running = False

    def _expired(self, runner: Runner) -> None:
        self._inbox.append(lambda: self._handle_expired(runner))

    def _handle_finished(self, runner: Runner) -> None:
        assert self._loaded.get(runner.model.key) is runner, "unloaded while in use"
        runner.refs -= 1
        if runner.refs > 0:
            return
        if runner.expires_when_idle:
            # The expiry that found it busy comes back within 10 ms, whatever the duration now.
            runner.expires_when_idle = False
            self._timeline.after(RETRY_SECONDS, lambda: self._wake_expired(runner))
        runner.stop_timer()
        if runner.duration <= 0:
            self._expired(runner)
            return
        runner.expires_at = self._timeline.now + min(runner.duration, GO_LONGEST_SECONDS)
        if math.isfinite(runner.duration):
            runner.timer = self._timeline.after(runner.duration, lambda: self._wake_expired(runner))

    def _wake_expired(self, runner: Runner) -> None:
        self._expired(runner)
        self.run()

    def _handle_expired(self, runner: Runner) -> None:
        if self._loaded.get(runner.model.key) is not runner:
            return  # a second event for one unload
        if runner.refs > 0:
            runner.expires_when_idle = True
            return
        free_before = self._believed_free(tuple(self._loaded.values()))
        runner.stop_timer()
        del self._loaded[runner.model.key]
        self._cards.release(runner.pid)
        self._tell(
            Unloaded(
                key=runner.model.key,
                name=runner.model.name,
                pid=runner.pid,
                is_evicted=runner.is_evicted,
            )
        )
        if runner.has_discrete_gpu:
            self._wait_for_memory(runner, free_before)
        else:
            self._on_unloaded()

    def _wait_for_memory(self, runner: Runner, free_before: int) -> None:
        """Blocks the loop until most of the memory is back, or for the time-out.

        Those that are asked for free memory are the runners of this moment, as in Ollama: one
        that is loaded during the wait is not.
        """
        self.is_blocked = True
        asked, epoch = tuple(self._loaded.values()), self._epoch
        deadline = self._timeline.now + self._recovery_timeout

        def look_later() -> None:
            self._timeline.at(min(self._timeline.now + POLL_SECONDS, deadline), look)

        def look() -> None:
            if epoch != self._epoch:
                return  # the server was stopped
            gained = self._believed_free(asked) - free_before
            # Unsigned in Ollama: less free than before counts as an enormous gain.
            is_back = gained < 0 or gained > runner.vram_bytes * RECOVERED_RATIO
            if not is_back and self._timeline.now < deadline:
                look_later()
                return
            self.is_blocked = False
            self._on_unloaded()
            self.run()

        look_later()

    def _believed_free(self, runners: Sequence[Runner]) -> int:
        gpus = self._discovery.refresh([runner.view for runner in runners])
        return sum(gpu.free_bytes for gpu in gpus)
