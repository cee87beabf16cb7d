"""Reading a file that somebody names: whatever it is, it takes a bounded memory."""

from __future__ import annotations

from pathlib import Path


def read_bounded(path: Path, *, limit_bytes: int) -> bytes:
    """Returns the content, or its beginning with one byte more than the limit.

    What a file says of its size is not asked: a device says 0, and has no end.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return file.read(limit_bytes + 1)
