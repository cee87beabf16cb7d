"""A twin host served over HTTP on loopback, in real, accelerated or held time.

One lock guards the host: requests, the clock's driver and whoever holds the server in process
(`TwinServer.locked`) take turns. Time moves by itself at `speed`, or only by `advance`.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from warmset.core.twin.api import Api
from warmset.core.twin.host import TwinHost
from warmset.errors import ConfigError
from warmset.shell.twin_asgi import TwinApp

if TYPE_CHECKING:
    import uvicorn

LOOPBACK: Final = "127.0.0.1"
_LONGEST_NAP_SECONDS: Final = 60.0
_SHUTDOWN_SECONDS: Final = 10.0


class TwinServer:
    """An Ollama look-alike on a loopback port.

    Args:
        api: the host's interface. Its timeline should start at the Unix time to pretend.
        port: 0 for any free one.
        speed: pretended seconds per real second; `None` holds time until `advance`.
    """

    def __init__(self, api: Api, *, port: int = 0, speed: float | None = 1.0) -> None:
        self.api = api
        self._port = port
        self._speed = speed
        self._lock = threading.RLock()
        self._started_at = time.monotonic()
        self._virtual_start = api.host.timeline.now
        self._app = TwinApp(self)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None

    @property
    def url(self) -> str:
        """The address to connect to."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def port(self) -> int:
        """The port, known once the server has started."""
        return self._port

    @contextmanager
    def locked(self) -> Iterator[TwinHost]:
        """Gives the host to the caller alone, at the present moment of its clock."""
        with self._lock:
            self.catch_up()
            yield self.api.host
            self.settle()

    def advance(self, until: float) -> None:
        """Moves held time to a moment."""
        with self._lock:
            self.api.host.timeline.advance(until)

    def catch_up(self) -> None:
        """Moves running time to the present; the caller holds the lock."""
        if self._speed is not None:
            gone = (time.monotonic() - self._started_at) * self._speed
            self.api.host.timeline.advance(self._virtual_start + gone)

    def settle(self) -> None:
        """Delivers what is due this very moment, and lets the driver look at its timers anew."""
        timeline = self.api.host.timeline
        timeline.advance(timeline.now)
        if self._loop is not None and self._wake is not None:
            self._loop.call_soon_threadsafe(self._wake.set)

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> str:
        """Serves in a thread of its own; returns the address once it accepts connections."""
        listener = self._listen()
        self._server = self._configure()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener)), name="twin-server", daemon=True
        )
        self._thread.start()
        return self.url

    def stop(self) -> None:
        """Ends the thread and every connection; the host's state stays as it is."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        server.should_exit = server.force_exit = True
        thread.join(_SHUTDOWN_SECONDS)
        self._server = self._thread = self._loop = self._wake = None

    def run(self, ready: Callable[[str], None]) -> None:
        """Serves in the calling thread until interrupted; `ready` is told the address."""
        listener = self._listen()
        self._server = self._configure()
        ready(self.url)
        asyncio.run(self._serve(listener))

    def __enter__(self) -> Self:
        """Starts."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stops."""
        self.stop()

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, self._port))
        except (OSError, OverflowError) as problem:
            listener.close()
            raise ConfigError(
                f"the twin cannot listen on {LOOPBACK}:{self._port}: {problem}",
                hint="choose another port with --port, or 0 for any free one",
            ) from problem
        listener.listen(512)
        self._port = listener.getsockname()[1]
        return listener

    def _configure(self) -> uvicorn.Server:
        import uvicorn

        config = uvicorn.Config(
            self._app,
            log_level="critical",
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",
            timeout_graceful_shutdown=1,
            server_header=False,
        )
        return uvicorn.Server(config)

    async def _serve(self, listener: socket.socket) -> None:
        assert self._server is not None
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        driver = asyncio.create_task(self._drive(self._wake))
        try:
            await self._server.serve(sockets=[listener])
        finally:
            driver.cancel()
            listener.close()

    async def _drive(self, wake: asyncio.Event) -> None:
        """Moves running time to each planned moment as it comes."""
        speed = self._speed
        if speed is None:
            return
        while True:
            wake.clear()
            with self._lock:
                self.catch_up()
                timeline = self.api.host.timeline
                nap = max(timeline.next_at - timeline.now, 0.0) / speed
            try:
                await asyncio.wait_for(wake.wait(), min(nap, _LONGEST_NAP_SECONDS))
            except TimeoutError:
                continue

    # -- what the application needs ---------------------------------------------------------------

    @property
    def lock(self) -> threading.RLock:
        """Guards the host."""
        return self._lock

    @property
    def is_stopping(self) -> bool:
        """Whether open exchanges should be given up."""
        return self._server is not None and self._server.should_exit

    @property
    def abandoned(self) -> int:
        """Exchanges so far whose client went away."""
        return self._app.abandoned

    @property
    def is_sending(self) -> bool:
        """Whether some client was not sent yet what is ready for it."""
        return self._app.is_sending

    @property
    def accepted(self) -> int:
        """Requests so far that the host has taken."""
        return self._app.accepted

    def hang_up(self, client: Any) -> None:  # noqa: ANN401 - an address of the event loop
        """Closes the connection of a client without an answer, as a dying server does."""
        assert self._server is not None
        for connection in tuple(self._server.server_state.connections):
            if getattr(connection, "client", None) == client:
                transport: Any = getattr(connection, "transport", None)
                if transport is not None:
                    transport.close()
