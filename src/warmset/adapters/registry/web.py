"""HTTP with registries and file hosts, bounded in bytes and time. Alone imports httpx.

No httpx error leaves this file. Redirects are followed by hand: a few, never from https to http,
and the place they lead to is remembered, so that later ranges of a file go there directly.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import httpx

from warmset.errors import (
    BackendError,
    BackendTimeout,
    BadPayload,
    BadStatus,
    ConfigError,
    UnknownModel,
    Unreachable,
)

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 15.0
TOTAL_SECONDS: Final = 90.0
"""Of all that one `Web` does: a slow host must not hold up the command for ever."""
_MAX_REDIRECTS: Final = 5
_MAX_RESUMES: Final = 3
_PIECE_BYTES: Final = 64 << 10
_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_WHOLE: Final = re.compile(r"bytes \*/(\d{1,18})")


class Web:
    """Reads things off the network. Closes with the `with` block.

    Args:
        transport: replaces the network, in tests.
        monotonic: the clock of the total time limit, seconds.
        total_seconds: that limit.
    """

    def __init__(
        self,
        *,
        transport: httpx.BaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._transport = transport
        self._monotonic = monotonic
        self._deadline = monotonic() + total_seconds
        self._client: httpx.Client | None = None

    def fetch(self, url: str, *, limit_bytes: int, accept: str = "*/*") -> bytes:
        """Returns a small document.

        Raises:
            BackendError: it is not to be had, or longer than `limit_bytes`.
        """
        with self.opened(url, {"accept": accept}) as (reply, _):
            raise_for_status(reply, (200,))
            content = b""
            for piece in self.pieces(reply):
                content += piece
                if len(content) > limit_bytes:
                    raise _bad(url, f"it is longer than {limit_bytes >> 10} KiB")
            return content

    @contextmanager
    def file(self, url: str) -> Iterator[RangedFile]:
        """Gives a remote file to read from; nothing is asked before the first read."""
        file = RangedFile(self, url)
        try:
            yield file
        finally:
            file.close()

    @contextmanager
    def opened(self, url: str, headers: dict[str, str]) -> Iterator[tuple[httpx.Response, str]]:
        """Gives the reply at the end of all redirects, its body still unread, and its URL."""
        reply, final = self.open(url, headers)
        with translated(final):
            try:
                yield reply, final
            finally:
                reply.close()

    def open(self, url: str, headers: dict[str, str]) -> tuple[httpx.Response, str]:
        """Returns an open reply, which the caller closes, and the URL it came from."""
        for _ in range(_MAX_REDIRECTS + 1):
            self._check_time(url)
            with translated(url):
                request = self._clients().build_request("GET", url, headers=headers)
                reply = self._clients().send(request, stream=True)
                if not reply.is_redirect:
                    return reply, url
                reply.close()
                url = _next_url(url, reply.headers.get("location", ""))
        raise _bad(url, f"more than {_MAX_REDIRECTS} redirects")

    def pieces(self, reply: httpx.Response) -> Iterator[bytes]:
        """Gives the body as it comes, until the time is over."""
        if reply.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            raise _bad(str(reply.url), "it is encoded, though not asked to be")
        with translated(str(reply.url)):
            for piece in reply.iter_raw(_PIECE_BYTES):
                self._check_time(str(reply.url))
                yield piece

    def _check_time(self, url: str) -> None:
        if self._monotonic() > self._deadline:
            raise _timed_out(url)

    def _clients(self) -> httpx.Client:
        if self._client is None:
            try:
                self._client = httpx.Client(
                    transport=self._transport,
                    timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
                    limits=httpx.Limits(max_connections=4, max_keepalive_connections=2),
                    follow_redirects=False,
                    headers={"accept-encoding": "identity", "user-agent": "warmset"},
                )
            except (ValueError, ImportError, OSError, ssl.SSLError) as error:
                raise ConfigError(
                    f"no HTTP client: {error}",
                    hint="check the proxy and certificate variables (HTTPS_PROXY, SSL_CERT_FILE)",
                ) from error
        return self._client

    def __enter__(self) -> Self:
        """Returns itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes the connections."""
        if self._client is not None:
            self._client.close()


class RangedFile:
    """A remote file read forwards, range by range.

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
            raise _bad(self.name, f"it breaks off at byte {offset + len(got)}")
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
            raise _bad(self.name, f"it sends the range {told[:60]!r}, not from byte {offset}")
        if match[3] != "*":
            self._size = int(match[3])


def raise_for_status(reply: httpx.Response, good: tuple[int, ...]) -> None:
    """Raises the error that a status stands for, unless it is one of `good`.

    Raises:
        UnknownModel: nothing is published there, or not for everybody.
        BadStatus: any other.
    """
    status, url = reply.status_code, str(reply.url).partition("?")[0]
    if status in good:
        return
    if status in (401, 403, 404, 410):
        why = "not there" if status in (404, 410) else "not there, or not public"
        raise UnknownModel(
            f"{url}: {why} (status {status})",
            hint="check the name and its tag; a private model must be pulled first",
            context={"url": url, "status": status},
        )
    raise BadStatus(
        f"{url} answered with status {status}",
        hint="try again later" if status >= 500 or status == 429 else "check the URL",
        context={"url": url, "status": status},
    )


@contextmanager
def translated(url: str) -> Iterator[None]:
    """Turns what goes wrong below HTTP into warmset's errors."""
    shown = url.partition("?")[0]
    try:
        yield
    except httpx.TimeoutException as error:
        raise _timed_out(shown) from error
    except (httpx.RemoteProtocolError, httpx.DecodingError) as error:
        raise _bad(shown, f"it is cut off or not HTTP ({error})") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
        raise Unreachable(
            f"no connection to {shown}: {str(error) or type(error).__name__}",
            hint="is the network there? --offline asks only this host and the cache",
            context={"url": shown},
        ) from error


def _next_url(url: str, location: str) -> str:
    following = str(httpx.URL(url).join(location))
    scheme = urlsplit(following).scheme
    if not location or scheme not in ("http", "https"):
        raise _bad(url, f"it redirects to {location[:80]!r}")
    if scheme == "http" and url.startswith("https:"):
        raise _bad(url, "it redirects from https to http")
    return following


def _bad(url: str, why: str) -> BackendError:
    shown = url.partition("?")[0]
    return BadPayload(f"{shown}: {why}", hint="check the URL", context={"url": shown})


def _timed_out(url: str) -> BackendError:
    shown = url.partition("?")[0]
    return BackendTimeout(
        f"{shown} did not answer in time", hint="try again later", context={"url": shown}
    )
