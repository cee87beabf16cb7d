"""HTTP with an Ollama server: one exchange, bounded in bytes and time.

No httpx error leaves this file. Without a time limit (loads) the reply is waited for as long as
it takes, since Ollama gives up a load when its client goes away (ollama-behaviour 1.7); TCP
keep-alive probes end the wait for a machine that has died.
"""

from __future__ import annotations

import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Final
from weakref import WeakSet

from warmset.adapters.ollama.address import Address
from warmset.adapters.ollama.facts import printable
from warmset.adapters.ollama.lean_httpx import httpx
from warmset.adapters.ollama.meaning import status_error
from warmset.adapters.ollama.wire import bad_payload
from warmset.errors import BackendError, BackendTimeout, ConfigError, Unreachable

CONNECT_SECONDS: Final = 3.0
WRITE_SECONDS: Final = 10.0
_ERROR_BYTES: Final = 64 << 10
_CONNECTIONS: Final = 16
_GRACE: Final = 1.0  # for the limits of reads to have their own say first
_ENCODED: Final = "it is encoded ({}), though not asked to be"


class Http:
    """Exchanges with one server.

    Args:
        address: where it listens.
        transport: replaces the network, in tests.
        monotonic: the clock of time limits, seconds.
    """

    def __init__(
        self,
        address: Address,
        *,
        transport: httpx.BaseTransport | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._url = address.url
        self._notes = address.notes
        self._client = _open_client(address, transport)
        self._monotonic = monotonic
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._is_hung_up = False
        self._waiting = 0  # exchanges without a time limit

    def close(self) -> None:
        """Closes idle connections."""
        self._client.close()

    def hang_up(self) -> None:
        """Ends every exchange, from any thread: each raises `Unreachable`, and so do later ones.

        To close a socket would not wake a thread that waits for an answer on it; to shut it down
        does, and tells the server that its client is gone.
        """
        self._is_hung_up = True
        for each in tuple(self._sockets):
            _shut(each)

    def exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        seconds: float | None,
        limit_bytes: int,
    ) -> bytes:
        """Returns the body of a reply with status 200.

        Args:
            method: HTTP method.
            path: below the server's URL, with its slash.
            body: sent as JSON.
            seconds: limit of each read and of the whole body; `None`: wait without limit.
            limit_bytes: a longer reply is refused.

        Raises:
            BackendError: for everything else.
        """
        endpoint = f"{method} {path}"
        model = None if body is None else str(body.get("model", ""))
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS, write=WRITE_SECONDS)
        deadline = None if seconds is None else self._monotonic() + seconds
        cut = _Cut(self._idle_sockets, seconds)
        self._waiting += seconds is None
        try:
            with (
                cut,
                self._client.stream(
                    method,
                    f"{self._url}{path}",
                    json=body,
                    timeout=timeout,
                    extensions={"trace": lambda event, facts: self._notice(event, facts, cut)},
                ) as reply,
            ):
                is_good = reply.status_code == 200
                encoding = _encoding(reply)
                limit = limit_bytes if is_good else _ERROR_BYTES
                content = b"" if encoding else self._read(reply, limit, deadline)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            if cut.is_done:
                raise self._timed_out(endpoint) from error
            raise self._translate(error, endpoint) from error
        except TimeoutError as error:
            raise self._timed_out(endpoint) from error
        finally:
            self._waiting -= seconds is None
        if not is_good:
            raise status_error(
                reply.status_code, content[:_ERROR_BYTES], endpoint=endpoint, model=model
            )
        if encoding:
            raise bad_payload(endpoint, "", _ENCODED.format(encoding))
        if len(content) > limit_bytes:
            raise bad_payload(endpoint, "", f"it is larger than {limit_bytes >> 20} MiB")
        return content

    def lines(self, path: str, body: Mapping[str, object], *, limit_bytes: int) -> Iterator[bytes]:
        """Yields the lines of a streamed reply to a POST as they come, however long that takes.

        Raises:
            BackendError: as `exchange`; also in the middle.
        """
        endpoint, model = f"POST {path}", str(body.get("model", ""))
        timeout = httpx.Timeout(None, connect=CONNECT_SECONDS, write=WRITE_SECONDS)
        size = 0
        try:
            with self._client.stream(
                "POST",
                f"{self._url}{path}",
                json=body,
                timeout=timeout,
                extensions={"trace": self._notice},
            ) as reply:
                encoding = _encoding(reply)
                if encoding:
                    raise bad_payload(endpoint, "", _ENCODED.format(encoding))
                if reply.status_code != 200:
                    content = self._read(reply, _ERROR_BYTES, None)
                    raise status_error(reply.status_code, content, endpoint=endpoint, model=model)
                begun: list[bytes] = []  # a line in parts, so that a long one is copied once
                for part in reply.iter_bytes():
                    size += len(part)
                    if size > limit_bytes:
                        raise bad_payload(
                            endpoint, "", f"it is larger than {limit_bytes >> 20} MiB"
                        )
                    *ended, rest = part.split(b"\n")
                    for line in ended:
                        yield b"".join((*begun, line))
                        begun.clear()
                    begun.append(rest)
                yield b"".join(begun)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise self._translate(error, endpoint) from error

    def _idle_sockets(self) -> tuple[socket.socket, ...]:
        """Returns the sockets that an exchange may be on which opened none; none if in doubt."""
        return () if self._waiting else tuple(self._sockets)

    def _notice(self, event: str, facts: Mapping[str, object], cut: _Cut | None = None) -> None:
        """Keeps each socket as it is opened, for `hang_up` and for the end of an exchange.

        Source: httpcore 1.0, "trace" request extension: `connection.connect_tcp.complete` and
        `connection.start_tls.complete` carry the stream as `return_value`.
        """
        if not event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            return
        told = getattr(facts.get("return_value"), "get_extra_info", None)
        opened = told("socket") if callable(told) else None
        if isinstance(opened, socket.socket):
            self._sockets.add(opened)
            if cut is not None:
                cut.sockets.add(opened)
            if self._is_hung_up:
                _shut(opened)

    def _read(self, reply: httpx.Response, limit_bytes: int, deadline: float | None) -> bytes:
        """Returns a body, cut soon after `limit_bytes`. It is never one that unpacks."""
        parts: list[bytes] = []
        size = 0
        for part in reply.iter_bytes():
            parts.append(part)
            size += len(part)
            if size > limit_bytes:
                break
            if deadline is not None and self._monotonic() > deadline:
                raise TimeoutError
        return b"".join(parts)

    def _translate(self, error: Exception, endpoint: str) -> BackendError:
        """Returns the warmset error for what went wrong below HTTP."""
        reason = printable(str(error), 300) or type(error).__name__
        if isinstance(error, httpx.TimeoutException) and not isinstance(
            error, httpx.ConnectTimeout
        ):
            return self._timed_out(endpoint)
        is_cut_off = isinstance(error, httpx.RemoteProtocolError)
        if is_cut_off and "disconnected without sending" not in reason:
            return bad_payload(endpoint, "", f"it is cut off or not HTTP ({reason})")
        return Unreachable(
            f"no connection to Ollama at {self._url} ({endpoint}): {reason}",
            hint="; ".join((f"is Ollama running? OLLAMA_HOST={self._url}", *self._notes)),
            context={"url": self._url, "endpoint": endpoint},
        )

    def _timed_out(self, endpoint: str) -> BackendTimeout:
        return BackendTimeout(
            f"Ollama at {self._url} did not answer {endpoint} in time",
            hint="the state is unknown, not empty; a load or a hung runner may hold it up",
            context={"url": self._url, "endpoint": endpoint},
        )


class _Cut:
    """Ends an exchange whose answer does not even begin in time.

    httpx limits each read, not their sum: a header that drips, or interim answers without end,
    would hold a look for ever. The connection is shut from outside.

    Args:
        others: returns the sockets that may be meant when the exchange opened none of its own.
        seconds: after these; `None`: never.
    """

    def __init__(
        self, others: Callable[[], tuple[socket.socket, ...]], seconds: float | None
    ) -> None:
        self.is_done = False
        self.sockets: WeakSet[socket.socket] = WeakSet()
        self._others = others
        self._timer = None if seconds is None else threading.Timer(seconds + _GRACE, self._shut)

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _shut(self) -> None:
        self.is_done = True
        for each in tuple(self.sockets) or self._others():
            _shut(each)


def _shut(opened: socket.socket) -> None:
    with suppress(OSError):  # closed already
        opened.shutdown(socket.SHUT_RDWR)


def _encoding(reply: httpx.Response) -> str:
    """Returns how a body is packed; empty if it is not."""
    told: str = reply.headers.get("content-encoding", "").strip().lower()
    return "" if told == "identity" else told


def _open_client(address: Address, transport: httpx.BaseTransport | None) -> httpx.Client:
    """Returns a client without redirects, compression, and without proxies for loopback.

    For plain HTTP a bare TLS context stands in, so that no CA bundle is read.
    """
    plain = address.scheme == "http"
    verify: ssl.SSLContext | bool = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True
    trusts_env = not address.is_loopback
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=4)
    is_proxied = trusts_env and not {address.scheme, "all"}.isdisjoint(urllib.request.getproxies())
    try:
        if transport is None and not is_proxied:
            transport = httpx.HTTPTransport(
                verify=verify,
                limits=limits,
                trust_env=trusts_env,
                socket_options=_keep_alive_options(),
            )
        return httpx.Client(
            verify=verify,
            limits=limits,
            transport=transport,
            trust_env=trusts_env,
            follow_redirects=False,
            headers={"accept-encoding": "identity", "user-agent": "warmset"},
        )
    except (ValueError, ImportError, OSError) as error:
        raise ConfigError(
            f"no HTTP client for {address.url}: {printable(str(error), 300)}",
            hint="check the proxy and certificate variables (HTTP_PROXY, SSL_CERT_FILE, …)",
        ) from error


def _keep_alive_options() -> list[tuple[int, int, int]]:
    """Returns socket options that notice a dead peer within about two minutes."""
    options = [
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    ]
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options
