"""Reading a file that somebody names: whatever it is, it takes bounded memory and bounded time."""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from pathlib import Path
from typing import Final, Protocol

PIPE_SECONDS: Final = 20.0
"""How long a pipe may take for all that it gives. Our choice: `<(journalctl …)` has taken less, and
a pipe that nobody writes into would be waited for until somebody does."""


class _Raw(Protocol):
    def fileno(self) -> int: ...
    def read(self, size: int, /) -> bytes | None: ...


def read_bounded(path: Path, *, limit_bytes: int) -> bytes:
    """Returns the content, or its beginning with one byte more than the limit.

    What a file says of its size is not asked: a device says 0, and has no end.

    Raises:
        OSError: it cannot be read; `TimeoutError`: it is a pipe, and its end did not come in time.
    """
    with open(path, "rb", buffering=0, opener=_open_at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return _read_in_time(file, path, limit_bytes + 1)
        with open(file.fileno(), "rb", closefd=False) as plain:
            return plain.read(limit_bytes + 1)


def _open_at_once(path: str, flags: int) -> int:
    """Opens; a pipe without a writer would otherwise be waited for here, and for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read_in_time(file: _Raw, path: Path, count: int) -> bytes:
    parts: list[bytes] = []
    deadline = time.monotonic() + PIPE_SECONDS
    while count > 0:
        ready, _, _ = select.select([file], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            text = f"a pipe that has not ended within {PIPE_SECONDS:.0f} s"
            raise TimeoutError(errno.ETIMEDOUT, text, str(path))
        part = file.read(count)
        if part == b"":
            break
        if part is not None:  # None: another reader was quicker
            parts.append(part)
            count -= len(part)
    return b"".join(parts)
