"""Messages to the outside, sent by a thread of their own: a few tries each, a bounded queue."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, Literal

from warmset.errors import WarmsetError

PAUSES_SECONDS: Final = (1.0, 5.0, 20.0)
"""Before the second, third and fourth try. Our choice: who is gone for half a minute has
monitoring of his own to tell him."""

MOST_WAITING: Final = 50
_END_SECONDS: Final = 0.3

Outcome = Literal["sent", "failed", "dropped"]
Message = Mapping[str, object]


class Outbox:
    """Takes messages and returns at once.

    Args:
        send: delivers one; raises `WarmsetError`, `retryable` if another try may help.
        told: hears of each outcome, with the reason of a bad one; in the outbox's thread.
        pauses: between tries.
    """

    def __init__(
        self,
        send: Callable[[Message], None],
        told: Callable[[Outcome, str], None],
        *,
        pauses: tuple[float, ...] = PAUSES_SECONDS,
    ) -> None:
        self._send = send
        self._told = told
        self._pauses = pauses
        self._waiting: deque[Message] = deque()
        self._changed = threading.Condition()
        self._is_closed = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, message: Message) -> None:
        """Takes a message; the oldest gives way when too many wait."""
        dropped = False
        with self._changed:
            if len(self._waiting) >= MOST_WAITING:
                self._waiting.popleft()
                dropped = True
            self._waiting.append(message)
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
                self._thread.start()
        if dropped:
            self._told("dropped", f"more than {MOST_WAITING} wait")

    def close(self) -> None:
        """Takes nothing more; what can be sent at once still is."""
        self._is_closed.set()
        with self._changed:
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._is_closed.is_set():
                    self._changed.wait()
                if not self._waiting:
                    return
                message = self._waiting.popleft()
            self._deliver(message)

    def _deliver(self, message: Message) -> None:
        reason = ""
        for pause in (0.0, *self._pauses):
            if pause and self._is_closed.wait(pause):
                break
            try:
                self._send(message)
            except WarmsetError as error:
                reason = error.message
                if not error.retryable:
                    break
            else:
                self._told("sent", "")
                return
        self._told("failed", reason)
