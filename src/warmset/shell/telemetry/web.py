"""What a running daemon answers over HTTP: `/metrics`, `/healthz`, `/readyz`. It only reads.

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


Answerer = Callable[[str], Answer]
"""Takes the `Accept` header."""


def check_listen(settings: Settings) -> None:
    """Refuses an address that other machines reach, unless that is allowed in so many words.

    Raises:
        ConfigError: it is one.
    """
    listen = settings.serve.listen
    if listen is None or settings.serve.allow_remote or _is_loopback(listen.host):
        return
    origin = settings.origins.get("serve.listen", "default")
    raise ConfigError(
        f"{origin}: {listen.address} can be reached from other machines, without a password",
        hint="listen on 127.0.0.1, or say `[serve] allow_remote = true` (--allow-remote)",
    )


def _is_loopback(host: str) -> bool:
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
    """

    def __init__(self, paths: Mapping[str, Answerer]) -> None:
        self._paths = paths
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

    async def _answer(
        self,
        scope: Mapping[str, Any],
        _receive: Callable[[], Awaitable[object]],
        send: Callable[[Mapping[str, Any]], Awaitable[None]],
    ) -> None:
        assert scope["type"] == "http", scope
        answer = self._find(scope)
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

    def _find(self, scope: Mapping[str, Any]) -> Answer:
        if scope["method"] not in ("GET", "HEAD"):
            return Answer(body=b"only GET and HEAD\n", status=405)
        answerer = self._paths.get(scope["path"])
        if answerer is None:
            known = "\n".join(self._paths)
            status = 200 if scope["path"] == "/" else 404
            return Answer(body=f"warmset answers at:\n{known}\n".encode(), status=status)
        accept = b", ".join(v for k, v in scope["headers"] if k == b"accept")
        return answerer(accept.decode("latin-1"))


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
