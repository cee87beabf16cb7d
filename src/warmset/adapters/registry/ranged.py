"""A remote file, read range by range."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from warmset.adapters.registry.web import Web, bad_payload, raise_for_status
from warmset.errors import BadPayload

if TYPE_CHECKING:
    import httpx

_MAX_RESUMES: Final = 3
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_WHOLE: Final = re.compile(r"bytes \*/(\d{1,18})")


class RangedFile:
    """A remote file read forwards, range by range; nothing is asked before the first read.

    A server that ignores ranges sends the file from its start: then that one reply is kept open
    and read on, and closed once the reader has what it wants.
    """

    def __init__(self, web: Web, url: str) -> None:
        self._web = web
        self._url = self._final = url
        self._size: int | None = None
        self._stream: Iterator[bytes] | None = None
        self._reply: httpx.Response | None = None
        self._held = b""
        self._position = 0  # of the stream
        self.transferred_bytes = 0

    @property
    def name(self) -> str:
        """The URL without its query, which may hold a signature."""
        return self._url.partition("?")[0]

    @property
    def size_bytes(self) -> int | None:
        """The whole size, once a reply has told it."""
        return self._size

    def close(self) -> None:
        """Ends a reply that is still open."""
        if self._reply is not None:
            self._reply.close()

    def read(self, offset: int, count: int) -> bytes:
        """Returns `count` bytes at `offset`; fewer only at the end of the file.

        Raises:
            BackendError: they are not to be had.
        """
        got = b""
        for _ in range(_MAX_RESUMES):
            begin, missing = offset + len(got), count - len(got)
            if self._size is not None:
                missing = min(missing, self._size - begin)
            if missing <= 0:
                return got
            got += self._read_on(begin, missing) if self._stream else self._ask(begin, missing)
        if len(got) < min(count, (self._size or offset + count) - offset):
            raise bad_payload(self.name, f"it breaks off at byte {offset + len(got)}")
        return got

    def _ask(self, offset: int, count: int) -> bytes:
        headers = {"range": f"bytes={offset}-{offset + count - 1}"}
        reply, self._final = self._web.open(self._final, headers)
        try:
            raise_for_status(reply, (200, 206, 416))
            if reply.status_code == 200:
                self._keep(reply)
                return self._read_on(offset, count)
            self._read_size(reply, offset)
            return b"" if reply.status_code == 416 else self._take(reply, count)
        finally:
            if reply is not self._reply:
                reply.close()

    def _take(self, reply: httpx.Response, count: int) -> bytes:
        """Returns at most `count` bytes of a reply: a server may send more than was asked for."""
        content = b""
        try:
            for piece in self._web.pieces(reply):
                content += piece
                self.transferred_bytes += len(piece)
                if len(content) >= count:
                    break
        except BadPayload:
            if not content:  # what came before it broke off still counts
                raise
        return content[:count]

    def _keep(self, reply: httpx.Response) -> None:
        length = reply.headers.get("content-length", "")
        self._size = int(length) if length.isdecimal() and len(length) < 19 else None
        self._reply, self._stream = reply, self._web.pieces(reply)

    def _read_on(self, offset: int, count: int) -> bytes:
        """Reads the open reply up to `offset + count`, dropping what comes before `offset`."""
        assert self._stream is not None
        while self._position + len(self._held) < offset + count:
            piece = next(self._stream, b"")
            if not piece:
                self._size = self._position + len(self._held)
                break
            self.transferred_bytes += len(piece)
            self._held += piece
            gone = min(max(offset - self._position, 0), len(self._held))
            self._held, self._position = self._held[gone:], self._position + gone
        skipped = max(offset - self._position, 0)
        taken = self._held[skipped : skipped + count]
        self._held = self._held[skipped + len(taken) :]
        self._position += skipped + len(taken)
        return taken

    def _read_size(self, reply: httpx.Response, offset: int) -> None:
        """Learns the whole size; a range other than the one asked for is refused."""
        told = reply.headers.get("content-range", "")
        if reply.status_code == 416:
            match = _WHOLE.fullmatch(told)
            self._size = int(match[1]) if match else offset
            return
        match = _RANGE.fullmatch(told)
        if match is None or int(match[1]) != offset:
            raise bad_payload(
                self.name, f"it sends the range {told[:60]!r}, not from byte {offset}"
            )
        if match[3] != "*":
            self._size = int(match[3])
