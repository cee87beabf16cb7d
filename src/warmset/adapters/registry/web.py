"""HTTP with registries and file hosts, bounded in bytes and time. Alone imports httpx.

No httpx error leaves this file. Redirects are followed by hand: a few, never from https to http,
and the place they lead to is remembered, so that later ranges of a file go there directly.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
_PIECE_BYTES: Final = 64 << 10


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
                    raise bad_payload(url, f"it is longer than {limit_bytes >> 10} KiB")
            return content

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
        raise bad_payload(url, f"more than {_MAX_REDIRECTS} redirects")

    def pieces(self, reply: httpx.Response) -> Iterator[bytes]:
        """Gives the body as it comes, until the time is over."""
        if reply.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
            raise bad_payload(str(reply.url), "it is encoded, though not asked to be")
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

    def __exit__(self, *_: object) -> None:
        """Closes the connections."""
        if self._client is not None:
            self._client.close()


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
        raise bad_payload(shown, f"it is cut off or not HTTP ({error})") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, OSError) as error:
        raise Unreachable(
            f"no connection to {shown}: {str(error) or type(error).__name__}",
            hint="is the network there? --offline asks only this host and the cache",
            context={"url": shown},
        ) from error


def bad_payload(url: str, why: str) -> BackendError:
    """Returns the error for a reply that is not what it should be."""
    shown = url.partition("?")[0]
    return BadPayload(f"{shown}: {why}", hint="check the URL", context={"url": shown})


def _next_url(url: str, location: str) -> str:
    following = str(httpx.URL(url).join(location))
    scheme = urlsplit(following).scheme
    if not location or scheme not in ("http", "https"):
        raise bad_payload(url, f"it redirects to {location[:80]!r}")
    if scheme == "http" and url.startswith("https:"):
        raise bad_payload(url, "it redirects from https to http")
    return following


def _timed_out(url: str) -> BackendError:
    shown = url.partition("?")[0]
    return BackendTimeout(
        f"{shown} did not answer in time", hint="try again later", context={"url": shown}
    )
