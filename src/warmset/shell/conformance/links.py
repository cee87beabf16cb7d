"""Two ways to send recorded requests to a twin: over HTTP on loopback, or in process.

Both hold the twin's time: it moves by `advance` alone, so a replay is the same on a busy machine.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from warmset.core.twin.api import Api, Exchange
from warmset.core.twin.host import TwinHost
from warmset.errors import NotConverged
from warmset.shell.conformance.recording import Step
from warmset.shell.twin_server import LOOPBACK, TwinServer

REFUSED: Final = "refused"
DISCONNECTED: Final = "disconnected"
GAVE_UP: Final = "gave up"
NO_ANSWER: Final = "no answer"
_PATIENCE_SECONDS: Final = 20.0
"""Real seconds that one exchange over loopback may take before the check itself has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a client got. `error` is one of the words of this module, or empty."""

    status: int = 0
    content_type: str = ""
    body: bytes = b""
    error: str = ""


@dataclass(slots=True, kw_only=True)
class _Local:
    """A request in process."""

    exchange: Exchange | None
    has_body: bool = True
    has_given_up: bool = False


class InProcess:
    """Calls the interface directly."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @contextmanager
    def locked(self) -> Iterator[TwinHost]:
        """Gives the host to the caller."""
        yield self._api.host
        self.advance(self._api.host.timeline.now)

    def advance(self, until: float) -> None:
        """Moves the twin's time."""
        self._api.host.timeline.advance(until)

    def send(self, step: Step) -> _Local:
        """Hands a request to the twin."""
        if not self._api.host.is_up:
            return _Local(exchange=None)
        exchange = self._api.handle(step.method, step.path, step.content)
        self.advance(self._api.host.timeline.now)
        return _Local(exchange=exchange, has_body=step.method != "HEAD")

    def give_up(self, sent: _Local) -> None:
        """Lets the client go away."""
        if sent.exchange is not None and not sent.exchange.is_done:
            sent.exchange.abandon()
            sent.has_given_up = True
            self.advance(self._api.host.timeline.now)

    def result(self, sent: _Local) -> Outcome:
        """Returns what the client has got."""
        exchange = sent.exchange
        if exchange is None:
            return Outcome(error=REFUSED)
        error = ""
        if sent.has_given_up:
            error = GAVE_UP
        elif exchange.is_dropped:
            error = DISCONNECTED
        elif not exchange.is_done:
            error = NO_ANSWER
        return Outcome(
            status=exchange.status,
            content_type=exchange.content_type,
            body=exchange.take() if sent.has_body else b"",
            error=error,
        )

    def stop_server(self) -> None:
        """Stops the server."""
        self._api.host.stop()
        self.advance(self._api.host.timeline.now)

    def start_server(self) -> None:
        """Starts the server again."""
        self._api.host.start()

    def close(self) -> None:
        """Nothing to close."""


class _Client(threading.Thread):
    """One client of the served twin: sends a request and reads until the end."""

    def __init__(self, port: int, step: Step) -> None:
        super().__init__(name=f"step-{step.index}", daemon=True)
        self.outcome = Outcome(error=NO_ANSWER)
        self.has_given_up = False
        self._step = step
        self._socket: socket.socket | None = None
        self._connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_PATIENCE_SECONDS)
        self._status = 0
        self._content_type = ""
        self._body = b""

    def run(self) -> None:
        """Fills `outcome`."""
        error = ""
        try:
            self._exchange()
        except ConnectionRefusedError:
            error = REFUSED
        except (http.client.HTTPException, OSError, ValueError, AttributeError):
            error = DISCONNECTED  # what Python raises differs with the moment of the break
        if self.has_given_up:
            error = GAVE_UP
        self._connection.close()
        self.outcome = Outcome(
            status=self._status, content_type=self._content_type, body=self._body, error=error
        )

    def _exchange(self) -> None:
        step = self._step
        self._connection.connect()
        self._socket = self._connection.sock  # the connection forgets it once it has an answer
        headers = {"Content-Type": "application/json", "Connection": "close"}
        content = step.content if step.method in ("POST", "PUT", "DELETE") else None
        self._connection.request(step.method, step.path, body=content, headers=headers)
        response = self._connection.getresponse()
        self._status = response.status
        self._content_type = response.getheader("content-type") or ""
        while part := response.read1(1 << 16):
            self._body += part
        response.close()

    def leave(self) -> None:
        """Closes the connection from outside."""
        self.has_given_up = True
        if self._socket is not None:
            self._socket.shutdown(socket.SHUT_RDWR)


class OverHttp:
    """Serves the twin on loopback and talks to it as any client does."""

    def __init__(self, api: Api) -> None:
        self._server = TwinServer(api, speed=None)
        self._server.start()

    @contextmanager
    def locked(self) -> Iterator[TwinHost]:
        """Gives the host to the caller alone."""
        with self._server.locked() as host:
            yield host

    def advance(self, until: float) -> None:
        """Moves the twin's time."""
        self._server.advance(until)

    def send(self, step: Step) -> _Client:
        """Sends a request and returns once the twin has it, or the client has failed."""
        before = self._server.accepted
        client = _Client(self._server.port, step)
        client.start()
        self._wait(lambda: self._server.accepted > before or not client.is_alive())
        return client

    def give_up(self, sent: _Client) -> None:
        """Closes a client's connection and returns once the twin has noticed."""
        before = self._server.abandoned
        self._wait(lambda: not self._server.is_sending)
        if sent.is_alive():
            sent.leave()
            self._wait(lambda: self._server.abandoned > before)

    def result(self, sent: _Client) -> Outcome:
        """Returns what a client has got, waiting for the last bytes on their way."""
        sent.join(1.0)
        if sent.is_alive():
            self.give_up(sent)
            sent.join(1.0)
            return Outcome(error=NO_ANSWER)
        return sent.outcome

    def stop_server(self) -> None:
        """Stops the server: open connections break, new ones are refused."""
        with self._server.locked() as host:
            host.stop()
        self._server.stop()

    def start_server(self) -> None:
        """Starts the server again on the same port."""
        with self._server.locked() as host:
            host.start()
        self._server.start()

    def close(self) -> None:
        """Ends the server."""
        self._server.stop()

    @staticmethod
    def _wait(is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not is_so():
            if time.monotonic() > deadline:
                raise NotConverged("the twin server did not take a request over loopback in time")
            time.sleep(0.0005)
