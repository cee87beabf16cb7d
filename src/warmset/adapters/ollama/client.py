"""`OllamaServer`: an Ollama server over HTTP. The only file that imports httpx.

No httpx error leaves this file. Time limits stand per call below. A load has no read limit: if
the client goes away while a model loads, Ollama gives up the load (ollama-behaviour 1.7). TCP
keep-alive probes end the wait for a machine that has died.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import httpx

from warmset.adapters.ollama import levers, wire
from warmset.adapters.ollama.address import Address, is_local
from warmset.adapters.ollama.cache import ShowCache, default_folder
from warmset.adapters.ollama.catalogue import Catalogue
from warmset.adapters.ollama.facts import printable
from warmset.adapters.ollama.meaning import Meaning, status_error
from warmset.adapters.ollama.modelfile import blob_digest
from warmset.core.model import Entry, ModelKey, Resident, normalise_name
from warmset.core.ollama.generation import generation_of
from warmset.errors import BackendError, BackendTimeout, BadPayload, BadStatus, Unreachable

MIB: Final = 1 << 20
CONNECT_SECONDS: Final = 3.0
WRITE_SECONDS: Final = 10.0
VERSION_SECONDS: Final = 5.0
TAGS_SECONDS: Final = 30.0  # blocks at server start until its list is read
SHOW_SECONDS: Final = 60.0  # reads headers from disk, cold
PS_SECONDS: Final = 20.0  # waits for runner locks; ollama-behaviour 1.4 asks for 15 to 30
UNLOAD_SECONDS: Final = 30.0  # answers at once, but after the same locks
SMALL_BYTES: Final = 1 * MIB
LIST_BYTES: Final = 32 * MIB
SHOW_BYTES: Final = 256 * MIB
_ERROR_BYTES: Final = 64 << 10
_CONNECTIONS: Final = 16

FormT = TypeVar("FormT", wire.VersionReply, wire.TagsReply, wire.ShowReply, wire.PsReply)


class OllamaServer:
    """Implements `warmset.ports.ModelServer` for a real server.

    Args:
        address: where it listens, from `parse_address`.
        cache_folder: where show replies are kept; `None` keeps them in memory only.
        transport: replaces the network, in tests.
        now: wall clock, Unix seconds.
        monotonic: the clock of time limits.
    """

    def __init__(
        self,
        address: Address,
        *,
        cache_folder: Path | None = None,
        transport: httpx.BaseTransport | None = None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._now = now
        self._monotonic = monotonic
        self._version: str | None = None
        self._http = _open_client(address, transport)
        self._catalogue = Catalogue(
            show=self._show,
            cache=ShowCache(cache_folder, address.url),
            blob_bytes=_blob_bytes if is_local(address) else lambda _path: None,
        )

    @property
    def url(self) -> str:
        """The base URL, for messages."""
        return self._address.url

    def close(self) -> None:
        """Closes idle connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Returns the server itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Closes idle connections."""
        self.close()

    def version(self) -> str:
        """Returns the version text."""
        reply = self._ask(
            wire.VersionReply,
            "GET",
            "/api/version",
            seconds=VERSION_SECONDS,
            limit_bytes=SMALL_BYTES,
        )
        self._version = printable(reply.version)
        return self._version

    def entries(self) -> tuple[Entry, ...]:
        """Returns the installed models, one entry per weights blob, cloud stubs left out."""
        version = self._known_version()
        reply = self._ask(
            wire.TagsReply, "GET", "/api/tags", seconds=TAGS_SECONDS, limit_bytes=LIST_BYTES
        )
        return self._catalogue.entries(reply.models or (), version)

    def residents(self, entries: tuple[Entry, ...]) -> tuple[Resident, ...]:
        """Returns the rows of `/api/ps`, matched with `entries` by manifest.

        A manifest that no tag has any more (changed or deleted) is matched by the weights it stood
        for; if those are not installed either, the row's key is `None`.
        """
        reply = self._ask(
            wire.PsReply, "GET", "/api/ps", seconds=PS_SECONDS, limit_bytes=LIST_BYTES
        )
        now = self._now()
        return tuple(self._resident(row, entries, now) for row in reply.models or ())

    def preload(self, entry: Entry, *, keep_alive: float, num_ctx: int | None = None) -> None:
        """Loads a model without a prompt; waits as long as the load takes."""
        self._load(levers.preload_call(entry, keep_alive=keep_alive, num_ctx=num_ctx))

    def ping(self, entry: Entry, resident: Resident, *, keep_alive: float) -> None:
        """Renews the keep-alive of a resident model in the form that does not reload it.

        It has no read limit either: if the model vanished meanwhile, the ping is a load.
        """
        generation = generation_of(self._known_version())
        self._load(levers.ping_call(entry, resident, keep_alive=keep_alive, generation=generation))

    def unload(self, name: str) -> None:
        """Asks for an unload; returns before the memory is back."""
        call = levers.unload_call(name)
        body = self._exchange(
            "POST", call.path, call.body, seconds=UNLOAD_SECONDS, limit_bytes=SMALL_BYTES
        )
        self._check_done(call, body, ("unload", "load", ""))  # before 0.3.11: "load", then gone

    def _known_version(self) -> str:
        if self._version is None:
            try:
                self.version()
            except (BadStatus, BadPayload):
                self._version = ""  # counts as the newest
        return self._version or ""

    def _show(self, name: str) -> wire.Shown:
        body = {"model": name, "verbose": True}
        reply = self._ask(
            wire.ShowReply, "POST", "/api/show", body, seconds=SHOW_SECONDS, limit_bytes=SHOW_BYTES
        )
        return wire.to_shown(reply)

    def _resident(self, row: wire.PsRow, entries: tuple[Entry, ...], now: float) -> Resident:
        digest = wire.bare_digest(row.digest)
        return Resident(
            name=printable(row.name),
            manifest_digest=digest,
            key=self._key_of(digest, printable(row.name), entries),
            size_bytes=row.size,
            size_vram_bytes=row.size_vram,
            context=row.context_length or None,
            expires_at=wire.expiry_of(row, now),
        )

    def _key_of(self, digest: str, name: str, entries: tuple[Entry, ...]) -> ModelKey | None:
        if not digest:  # older servers and look-alikes: the name is all there is
            wanted = normalise_name(name)
            named = (e.key for e in entries if wanted in map(normalise_name, e.names))
            return next(named, None)
        matching = (e.key for e in entries if digest in e.manifest_digests.values())
        key = next(matching, None)
        if key is None:
            former = self._catalogue.key_of(digest, self._version or "")
            key = next((e.key for e in entries if e.key == former), None)
        return key

    def _load(self, call: levers.Call) -> None:
        """Sends a load-type call; a model that turns out to only embed goes through embed."""
        try:
            body = self._exchange(
                "POST", call.path, call.body, seconds=None, limit_bytes=SMALL_BYTES
            )
        except BadStatus as error:
            if error.context.get("meaning") is not Meaning.EMBEDDING_ONLY:
                raise
            call = levers.through_embed(call)
            body = self._exchange(
                "POST", call.path, call.body, seconds=None, limit_bytes=SMALL_BYTES
            )
        if call.path == levers.EMBED:
            self._refuse_error_line(call, body)
            wire.parse_reply(wire.EmbedReply, body, f"POST {call.path}")
        else:
            self._check_done(call, body, ("load", ""))  # before 0.1.38 there is no reason

    def _check_done(self, call: levers.Call, body: bytes, reasons: tuple[str, ...]) -> None:
        endpoint = f"POST {call.path}"
        self._refuse_error_line(call, body)
        reply = wire.parse_reply(wire.GenerateReply, body, endpoint)
        if not reply.done or (reply.done_reason or "") not in reasons:
            problem = f"done={reply.done}, expected done_reason {reasons[0]!r}"
            raise wire.bad_payload(endpoint, "done_reason", f"{reply.done_reason!r}, {problem}")

    def _refuse_error_line(self, call: levers.Call, body: bytes) -> None:
        if body.lstrip()[:9].startswith(b'{"error"'):
            raise status_error(200, body, endpoint=f"POST {call.path}", model=call.model)

    def _ask(
        self,
        form: type[FormT],
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        seconds: float,
        limit_bytes: int,
    ) -> FormT:
        content = self._exchange(method, path, body, seconds=seconds, limit_bytes=limit_bytes)
        return wire.parse_reply(form, content, f"{method} {path}")

    def _exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        seconds: float | None,
        limit_bytes: int,
    ) -> bytes:
        """Returns the body of a reply with status 200.

        Raises:
            BackendError: for everything else.
        """
        endpoint = f"{method} {path}"
        model = None if body is None else str(body.get("model", ""))
        timeout = httpx.Timeout(seconds, connect=CONNECT_SECONDS, write=WRITE_SECONDS)
        deadline = None if seconds is None else self._monotonic() + seconds
        try:
            with self._http.stream(
                method, f"{self.url}{path}", json=body, timeout=timeout
            ) as response:
                if response.status_code != 200:
                    text = self._read(response, _ERROR_BYTES, deadline, endpoint, cut=True)
                    raise status_error(response.status_code, text, endpoint=endpoint, model=model)
                return self._read(response, limit_bytes, deadline, endpoint)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise self._translate(error, endpoint) from error

    def _read(
        self,
        response: httpx.Response,
        limit_bytes: int,
        deadline: float | None,
        endpoint: str,
        *,
        cut: bool = False,
    ) -> bytes:
        """Returns at most `limit_bytes` of a body, unpacked by nobody."""
        encoding = response.headers.get("content-encoding", "identity").strip().lower()
        if encoding not in ("", "identity"):
            raise wire.bad_payload(endpoint, "", f"it is encoded ({encoding}), unasked")
        parts: list[bytes] = []
        size = 0
        for part in response.iter_raw():
            size += len(part)
            if size > limit_bytes:
                if cut:
                    parts.append(part[: limit_bytes - (size - len(part))])
                    break
                raise wire.bad_payload(endpoint, "", f"it is larger than {limit_bytes >> 20} MiB")
            parts.append(part)
            if deadline is not None and self._monotonic() > deadline:
                raise self._timed_out(endpoint)
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
            return wire.bad_payload(endpoint, "", f"it is cut off or not HTTP ({reason})")
        return Unreachable(
            f"no connection to Ollama at {self.url} ({endpoint}): {reason}",
            hint=f"is Ollama running? OLLAMA_HOST={self.url}",
            context={"url": self.url, "endpoint": endpoint},
        )

    def _timed_out(self, endpoint: str) -> BackendTimeout:
        return BackendTimeout(
            f"Ollama at {self.url} did not answer {endpoint} in time",
            hint="the state is unknown, not empty; a load or a hung runner may hold it up",
            context={"url": self.url, "endpoint": endpoint},
        )


def connect(address: Address, *, environ: Mapping[str, str] | None = None) -> OllamaServer:
    """Returns a server whose show replies are cached in the usual folder."""
    folder = default_folder(os.environ if environ is None else environ)
    return OllamaServer(address, cache_folder=folder)


def _open_client(address: Address, transport: httpx.BaseTransport | None) -> httpx.Client:
    """Returns a client without redirects, compression, and without proxies for loopback.

    For plain HTTP a bare TLS context stands in, so that no CA bundle is read.
    """
    plain = address.scheme == "http"
    verify: ssl.SSLContext | bool = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=4)
    proxied = not address.is_loopback and address.scheme in urllib.request.getproxies()
    if transport is None and not proxied:
        transport = httpx.HTTPTransport(
            verify=verify,
            limits=limits,
            trust_env=not address.is_loopback,
            socket_options=_keep_alive_options(),
        )
    return httpx.Client(
        verify=verify,
        limits=limits,
        transport=transport,
        trust_env=not address.is_loopback,
        follow_redirects=False,
        headers={"accept-encoding": "identity", "user-agent": "warmset"},
    )


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


def _blob_bytes(path: str) -> int | None:
    """Returns the size of a blob of a server on this machine, if we may see it."""
    if blob_digest(path) is None or not Path(path).is_absolute():
        return None
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):
        return None
