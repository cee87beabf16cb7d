"""Where header bytes come from, and a cursor that only moves forward over them.

A header is read once from front to back. So memory is one chunk, whatever the file claims, and
work is bounded by `MAX_HEADER_BYTES`: past it the file is refused.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from struct import Struct
from typing import Final, Protocol, Self

from warmset.core.units import MIB
from warmset.errors import ConfigError, FactsError

MAX_HEADER_BYTES: Final = 64 * MIB
"""Headers of known models take 2 to 20 MiB, nearly all of it tokenizer. Source: footprint.md 1."""
_CHUNK_BYTES: Final = 1 * MIB
_LENGTH_BYTES: Final = 8


class ByteSource(Protocol):
    """Bytes by position: a file, or a remote file with ranged reads."""

    @property
    def name(self) -> str:
        """What to call it in messages."""
        ...

    @property
    def size_bytes(self) -> int | None:
        """Its whole size, `None` where that is not known."""
        ...

    def read(self, offset: int, count: int) -> bytes:
        """Returns `count` bytes at `offset`; fewer only where the source ends.

        A caller reads forwards: `offset` never lies before the end of the last read.
        """
        ...


class FileSource:
    """A local file. Implements `ByteSource`; closes with the `with` block.

    Args:
        path: a regular file; pipes and devices are refused, since they could block for ever.

    Raises:
        ConfigError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._file = os.fdopen(os.open(path, flags), "rb", buffering=0)
        except (OSError, ValueError) as error:
            raise _unusable(path, getattr(error, "strerror", None) or str(error)) from error
        status = os.fstat(self._file.fileno())
        if not stat.S_ISREG(status.st_mode):
            self._file.close()
            raise _unusable(path, "not a regular file")
        self._size = status.st_size

    @property
    def name(self) -> str:
        """The path."""
        return str(self._path)

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        return self._size

    def read(self, offset: int, count: int) -> bytes:
        """Returns `count` bytes at `offset`; fewer only at the end.

        Raises:
            ConfigError: the file cannot be read.
        """
        try:
            self._file.seek(offset)
            parts, missing = [], count
            while missing and (part := self._file.read(missing)):
                parts.append(part)
                missing -= len(part)
        except OSError as error:
            raise _unusable(self._path, error.strerror or str(error)) from error
        return b"".join(parts)

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the file."""
        self._file.close()


class Cursor:
    """Takes bytes off a source, forwards, at most `limit_bytes` of them.

    Raises:
        FactsError: from every method, where the source ends or the limit is passed.
    """

    def __init__(self, source: ByteSource, limit_bytes: int = MAX_HEADER_BYTES) -> None:
        self._source = source
        self._limit = limit_bytes
        self._buffer = b""
        self._start = 0  # position of the buffer in the source
        self._at = 0  # position in the buffer

    @property
    def position(self) -> int:
        """Bytes from the start of the source."""
        return self._start + self._at

    def take(self, count: int) -> bytes:
        """Returns the next `count` bytes."""
        if self._at + count > len(self._buffer):
            self._fill(count)
        taken = self._buffer[self._at : self._at + count]
        self._at += count
        return taken

    def skip(self, count: int) -> None:
        """Moves on; what lies beyond the buffer is never read."""
        self._check(self.position + count)
        self._at += count

    def skip_texts(self, count: int, length: Struct) -> None:
        """Moves over `count` texts, each a length and its bytes."""
        buffer, at, end = self._buffer, self._at, len(self._buffer)
        unpack = length.unpack_from
        for _ in range(count):
            if at + _LENGTH_BYTES > end:
                self._at = at
                self._fill(_LENGTH_BYTES)
                buffer, at, end = self._buffer, self._at, len(self._buffer)
            (size,) = unpack(buffer, at)
            at += _LENGTH_BYTES + size
            if at > end:
                self._check(self._start + at)
        self._at = at

    def _fill(self, count: int) -> None:
        """Reads on, so that `count` bytes are in the buffer."""
        self._check(self.position + count)
        rest = self._buffer[self._at :]
        begin = self.position + len(rest)
        wanted = max(count - len(rest), _CHUNK_BYTES)
        size = self._source.size_bytes
        wanted = min(wanted, self._limit - begin, wanted if size is None else size - begin)
        self._start, self._at = self.position, 0
        self._buffer = rest + self._source.read(begin, wanted)
        if len(self._buffer) < count:
            raise self.refuse(f"it ends at byte {self._start + len(self._buffer)}")

    def _check(self, end: int) -> None:
        size = self._source.size_bytes
        if size is not None and end > size:
            raise self.refuse(f"it ends at byte {size}, inside its header")
        if end > self._limit:
            raise self.refuse(f"its header is longer than {self._limit // MIB} MiB")

    def refuse(self, why: str) -> FactsError:
        """Returns the refusal of this source, with the position reached."""
        return FactsError(
            f"{self._source.name}: no sound GGUF header: {why}",
            hint="download the file again, or give the name of an installed model",
            context={"source": self._source.name, "at_bytes": self.position},
        )


def _unusable(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{path}: {why}",
        hint="give the path of a GGUF file, a URL, or a model's name",
        context={"path": str(path)},
    )
