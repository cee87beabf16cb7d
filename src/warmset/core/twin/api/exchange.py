"""One HTTP exchange without any I/O: what is to be sent so far, and how it can end."""

from __future__ import annotations

from collections.abc import Callable


class Exchange:
    """An answer in the making.

    The server side calls `start`, `write`, `end` or `drop`; whoever carries the bytes looks at
    `status`, takes with `take`, and calls `abandon` when its client has gone away.

    Attributes:
        status: 0 until the head is known.
        is_done: nothing more will come.
        is_dropped: the connection broke before the answer was complete.
        on_change: called after each step of the server side.
        on_abandon: what the server side does when the client goes away.
    """

    def __init__(self) -> None:
        self.status = 0
        self.content_type = ""
        self.is_done = False
        self.is_dropped = False
        self.on_change: Callable[[], None] | None = None
        self.on_abandon: Callable[[], None] | None = None
        self._parts: list[bytes] = []

    def start(self, status: int, content_type: str = "") -> None:
        """Fixes the head of the answer."""
        assert self.status == 0, "the head was sent already"
        self.status = status
        self.content_type = content_type
        self._changed()

    def write(self, content: bytes) -> None:
        """Adds to the body."""
        if not self.is_done:
            self._parts.append(content)
            self._changed()

    def end(self) -> None:
        """Says that the answer is complete."""
        self.is_done = True
        self._changed()

    def drop(self) -> None:
        """Breaks the connection, as a server that exits does."""
        if not self.is_done:
            self.is_done = self.is_dropped = True
            self._changed()

    def reply(self, status: int, content_type: str, content: bytes) -> None:
        """Answers all at once."""
        self.start(status, content_type)
        self._parts.append(content)
        self.end()

    def abandon(self) -> None:
        """Says that the client is gone; the answer, if any, is not wanted any more."""
        if self.is_done:
            return
        self.is_done = True
        if self.on_abandon is not None:
            self.on_abandon()

    @property
    def has_unsent(self) -> bool:
        """Whether something waits to be taken."""
        return bool(self._parts)

    def take(self) -> bytes:
        """Returns what is ready to be sent and was not taken yet."""
        ready, self._parts = b"".join(self._parts), []
        return ready

    def _changed(self) -> None:
        if self.on_change is not None:
            self.on_change()
