"""What a running daemon answers over HTTP: metrics, health, status, the page. It only reads.

On loopback unless the operator said otherwise in so many words: names of models are nobody's
business, and there are no passwords here.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from warmset.core.settings import Listen, Settings
from warmset.errors import ConfigError

if TYPE_CHECKING:
    from warmset.shell.telemetry.calm_server import CalmServer

_END_SECONDS: Final = 0.3
_MOST_CONNECTIONS: Final = 64
"""More at a time are told to come back (503). Our choice: scrapers and probes are few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a path gives."""

    body: bytes
    kind: str = "text/plain; charset=utf-8"
    status: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is known of a request.

    Attributes:
        accept: the header.
        is_local: whether it came from this machine.
    """

    accept: str
    is_local: bool


Answerer = Callable[[Asked], Answer]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[Any]]
App = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""


def check_listen(settings: Settings) -> None:
    """Refuses an address that other machines reach, unless that is allowed in so many words.

    Raises:
        ConfigError: it is one, or a page is asked for that has no address.
    """
    listen = settings.serve.listen
    if listen is None and settings.serve.page:
        origin = settings.origins.get("serve.page", "default")
        raise ConfigError(
            f"{origin}: the status page needs an address, and `listen` is off",
            hint="let `[serve] listen` be an address (--listen HOST:PORT), or leave the page out",
        )
    if listen is None or settings.serve.allow_remote or is_loopback(listen.host):
        return
    origin = settings.origins.get("serve.listen", "default")
    raise ConfigError(
        f"{origin}: {listen.address} can be reached from other machines, without a password",
        hint="listen on 127.0.0.1, or say `[serve] allow_remote = true` (--allow-remote)",
    )


def is_loopback(host: str) -> bool:
    """Returns whether an address, or `localhost`, is reached from this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Web:
    """Answers in a thread of its own.

    Args:
        paths: path -> what it gives, asked at every request.
        site: answers all other paths, if there is a page.
    """

    def __init__(self, paths: Mapping[str, Answerer], site: App | None = None) -> None:
        self._paths = paths
        self._site = site
        self._guards_names = True
        self._server: CalmServer | None = None
        self._thread: threading.Thread | None = None

    def start(self, listen: Listen) -> str:
        """Begins to answer; returns the URL.

        Raises:
            OSError: the address is taken, or not one of this machine.
        """
        import uvicorn

        from warmset.shell.telemetry.calm_server import CalmServer

        listener = _bind(listen)
        self._guards_names = is_loopback(listen.host)
        port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            proxy_headers=False,
            access_log=False,
            server_header=False,
            date_header=False,  # said in `_answer`, so that no clock has to run for it
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=0,
        )
        self._server = server = CalmServer(config)
        self._thread = threading.Thread(
            target=lambda: server.run(sockets=[listener]), name="web", daemon=True
        )
        self._thread.start()
        return f"http://{Listen(host=listen.host, port=port).address}"

    def stop(self) -> None:
        """Ends the thread; connections that are open are closed."""
        if self._server is not None and self._thread is not None:
            with suppress(RuntimeError):  # its loop has ended by itself
                self._server.end()
            self._thread.join(_END_SECONDS)

    async def _answer(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        assert scope["type"] == "http", scope
        answer = self._find(scope)
        if answer is None:
            assert self._site is not None
            await self._site(scope, receive, send)
            return
        length = str(len(answer.body)).encode()
        headers = [
            (b"date", formatdate(usegmt=True).encode()),
            (b"content-type", answer.kind.encode()),
            (b"content-length", length),
        ]
        start = {"type": "http.response.start", "status": answer.status, "headers": headers}
        body = b"" if scope["method"] == "HEAD" else answer.body
        await send(start)
        await send({"type": "http.response.body", "body": body})

    def _find(self, scope: Mapping[str, Any]) -> Answer | None:
        """Returns the answer, `None` where the site has it."""
        if scope["method"] not in ("GET", "HEAD"):
            return Answer(body=b"only GET and HEAD\n", status=405)
        path = scope["path"]
        if (path == "/" or path.startswith("/api/")) and not self._is_meant(scope):
            return Answer(body=b"not by this name\n", status=421)
        answerer = self._paths.get(path)
        if answerer is not None:
            peer = (scope.get("client") or ("",))[0]
            accept = b", ".join(_values(scope, b"accept")).decode("latin-1")
            return answerer(Asked(accept=accept, is_local=is_loopback(peer)))
        if self._site is not None:
            return None
        known = "\n".join(self._paths)
        status = 200 if path == "/" else 404
        return Answer(body=f"warmset answers at:\n{known}\n".encode(), status=status)

    def _is_meant(self, scope: Mapping[str, Any]) -> bool:
        """Whether a request names this machine, where only this machine can reach us.

        A foreign web page may let its own name lead to 127.0.0.1, to read what is there with the
        visitor's browser (DNS rebinding); the `Host` header is then its name.
        """
        if not self._guards_names:
            return True
        hosts = _values(scope, b"host")
        try:
            name = urlsplit(f"//{hosts[0].decode('latin-1')}").hostname if hosts else None
        except ValueError:
            return False
        return name is not None and is_loopback(name)


def _values(scope: Mapping[str, Any], header: bytes) -> list[bytes]:
    return [value for key, value in scope["headers"] if key == header]


def _bind(listen: Listen) -> socket.socket:
    """Returns a listener, bound here: so that an address in use is an error at the start."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_MOST_CONNECTIONS)
    except OSError:
        listener.close()
        raise
    return listener
