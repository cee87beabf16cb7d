"""One daemon thread that runs one job, over and over, on demand.

A call into a driver cannot be cancelled. So one thread makes all of them, callers wait for it
no longer than they choose, and no second thread is started while the first one hangs. The
thread is a daemon: a hung driver does not keep the program from ending.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Worker:
    """Runs `job` in its own thread, one run at a time.

    Args:
        name: The thread's name.
        job: Called without arguments for each run; an exception it raises is a bug and is raised
            again in whoever waits for the run.
        monotonic: The clock; real waits use real time.
    """

    def __init__(
        self, name: str, job: Callable[[], None], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._job = job
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._wanted = False
        self._runs = 0
        self._running_since: float | None = None
        self._bug: Exception | None = None

    @property
    def running_since(self) -> float | None:
        """The instant at which the present run began, `None` while idle."""
        return self._running_since

    def run(self, timeout_seconds: float) -> bool:
        """Runs the job, or joins the run under way; returns whether it ended in time.

        A run that is already older than `timeout_seconds` is not waited for again, so a command
        that looks twice pays for a hung driver once.
        """
        with self._changed:
            since = self._running_since
            if since is None:
                self._wanted = True
                self._start()
                wait_seconds = timeout_seconds
            else:
                wait_seconds = timeout_seconds - (self._monotonic() - since)
            target = self._runs + 1
            done = self._changed.wait_for(
                lambda: self._runs >= target, timeout=max(0.0, wait_seconds)
            )
            if done and self._bug is not None:
                raise self._bug
            return done

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted)
                self._wanted = False
                self._running_since = self._monotonic()
            bug: Exception | None = None
            try:
                self._job()
            except Exception as error:  # noqa: BLE001 - handed to the waiter, never swallowed
                bug = error
            with self._changed:
                self._bug = bug
                self._running_since = None
                self._runs += 1
                self._changed.notify_all()
