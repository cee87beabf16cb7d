"""One HTTP request of the twin server: bytes in, exchange out, disconnects noticed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from warmset.core.twin.api import Exchange
    from warmset.shell.twin_server import TwinServer

MAX_BODY_BYTES: Final = 64 << 20
"""Of a request. Our choice: some pictures for a model that sees; Ollama itself has no limit."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class TwinApp:
    """The ASGI application of a twin server.

    Attributes:
        accepted: requests that the host has taken.
        abandoned: exchanges whose client went away, counted once the host knows.
    """

    def __init__(self, server: TwinServer) -> None:
        self.accepted = 0
        self.abandoned = 0
        self._sending = 0
        self._server = server
        self._live: set[Exchange] = set()

    @property
    def is_sending(self) -> bool:
        """Whether some open exchange has content that its client was not sent yet."""
        return any(exchange.has_unsent for exchange in self._live) or self._sending > 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            return
        body = await _read_body(receive)
        if body is None:
            return
        if len(body) > MAX_BODY_BYTES:
            await send({"type": "http.response.start", "status": 413, "headers": []})
            await send(_part(b"", is_last=True))
            return
        changed = asyncio.Event()
        exchange = self._handle(scope, body, changed)
        gone = asyncio.create_task(_wait_for_disconnect(receive))
        self._live.add(exchange)
        try:
            await self._carry(scope, exchange, changed, gone, send)
        finally:
            gone.cancel()
            self._live.discard(exchange)

    def _handle(self, scope: Message, body: bytes, changed: asyncio.Event) -> Exchange:
        loop = asyncio.get_running_loop()
        headers = {
            key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]
        }
        with self._server.lock:
            self._server.catch_up()
            exchange = self._server.api.handle(scope["method"], scope["path"], body, headers)
            exchange.on_change = lambda: _set(loop, changed)
            changed.set()
            self._server.settle()
            self.accepted += 1
        return exchange

    async def _carry(
        self,
        scope: Message,
        exchange: Exchange,
        changed: asyncio.Event,
        gone: asyncio.Task[None],
        send: Send,
    ) -> None:
        """Sends what the exchange has, as it gets it, until it ends or the client leaves."""
        has_head = False
        while True:
            waiting = asyncio.create_task(changed.wait())
            await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            changed.clear()
            with self._server.lock:
                if gone.done() and not exchange.is_done:
                    self._abandon(exchange)
                    return
                self._sending += 1
                content, is_done = exchange.take(), exchange.is_done
            try:
                if exchange.is_dropped:
                    self._server.hang_up(scope.get("client"))
                    return
                if exchange.status and not has_head:
                    await send(_head(exchange, len(content) if is_done else None))
                    has_head = True
                if has_head and (content or is_done):
                    shown = b"" if scope["method"] == "HEAD" else content
                    await send(_part(shown, is_last=is_done))
            finally:
                self._sending -= 1
            if is_done:
                return

    def _abandon(self, exchange: Exchange) -> None:
        self._server.catch_up()
        exchange.abandon()
        self._server.settle()
        self.abandoned += 1


async def _read_body(receive: Receive) -> bytes | None:
    """Returns the body of a request, cut soon after its limit; `None`: the client left before."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES or not message.get("more_body", False):
            return b"".join(parts)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _part(content: bytes, *, is_last: bool) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": not is_last}


def _head(exchange: Exchange, length: int | None) -> Message:
    headers = []
    if exchange.content_type:
        headers.append((b"content-type", exchange.content_type.encode("latin-1")))
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    return {"type": "http.response.start", "status": exchange.status, "headers": headers}


def _set(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    """Sets an event from any thread; a loop that has ended needs none."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(event.set)
