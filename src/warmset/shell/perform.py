"""Carrying out the loop's commands: one at a time, in a thread of its own, each with its event.

Nothing is decided here. Whatever goes wrong becomes an event; a command that is called off is hung
up on, which makes Ollama give up a load (ollama-behaviour 1.7).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Final

from warmset.core.control.orders import (
    Aborted,
    Cancel,
    Command,
    Done,
    Event,
    Failed,
    ReadResidents,
    SendPing,
    SendPreload,
    SendUnload,
    Started,
    TimedOut,
)
from warmset.core.model import Entry, ModelKey
from warmset.errors import BackendError, BackendTimeout, UnknownModel, WarmsetError
from warmset.ports import Clock, ModelServer

Order = ReadResidents | SendPing | SendPreload | SendUnload
Hear = Callable[[Event], None]

_FINAL: Final = frozenset(
    {
        "unknown_model",
        "invalid_name",
        "name_required",
        "missing_capability",
        "image_model",
        "cloud_disabled",
        "cloud_unauthorized",
    }
)
"""Meanings of a refusal that another try does not change. Source: `adapters/ollama/meaning.py`."""

_NOTHING_MORE: Final = 1 << 62
"""Above every number of a command."""


@dataclass(frozen=True, slots=True)
class SteadyClock:
    """Unix seconds that run steadily: the wall clock at the start plus a clock that never steps.

    What `step` calls `now`.
    """

    clock: Clock
    offset: float = field(init=False)

    def __post_init__(self) -> None:
        """Takes the wall clock once."""
        object.__setattr__(self, "offset", self.clock.now() - self.clock.monotonic())

    def now(self) -> float:
        """Returns the present moment."""
        return self.clock.monotonic() + self.offset


class Performer:
    """Performs commands on one server.

    Args:
        open_server: returns a connection of its own, at first and after each hanging up.
        clock: for the moments in events.
        hear: is told each event, in the thread that performs.
    """

    def __init__(
        self, open_server: Callable[[], ModelServer], clock: SteadyClock, hear: Hear
    ) -> None:
        self._open_server = open_server
        self._clock = clock
        self._hear = hear
        self._server: ModelServer | None = None
        self._entries: Mapping[ModelKey, Entry] = {}
        self._guard = threading.Lock()
        self._is_busy = False
        self._cancelled = 0  # the number that was called off last

    @property
    def known(self) -> tuple[Entry, ...]:
        """The models that commands may name."""
        return tuple(self._entries.values())

    def know(self, entries: tuple[Entry, ...]) -> None:
        """Takes the models that commands may name."""
        self._entries = {entry.key: entry for entry in entries}

    def perform(self, order: Order) -> None:
        """Carries out one command, as long as it takes."""
        with self._guard:
            if order.number <= self._cancelled:
                self._hear(Aborted(number=order.number, at=self._clock.now()))
                return
            if self._server is None:
                self._server = self._open_server()
            server = self._server
            self._is_busy = True
        asked_at = self._clock.now()
        self._hear(Started(number=order.number, at=asked_at))
        try:
            event = self._send(server, order, asked_at)
        except Exception as error:  # noqa: BLE001 - the loop must hear of every end
            event = self._failure(order, error)
        finally:
            with self._guard:
                self._is_busy = False
                is_hung_up = self._server is not server
        if is_hung_up:
            _close(server)
        self._hear(event)

    def cancel(self, number: int) -> None:
        """Hangs up on a command; from any thread."""
        with self._guard:
            self._cancelled = number
            server = self._server
            self._server = None
            is_idle = not self._is_busy
        hang_up = getattr(server, "hang_up", None)
        if callable(hang_up):  # a twin inside this process answers before anybody could
            hang_up()
        if is_idle and server is not None:
            _close(server)

    def close(self) -> None:
        """Hangs up on whatever is open; nothing is performed afterwards."""
        self.cancel(_NOTHING_MORE)

    def _send(self, server: ModelServer, order: Order, asked_at: float) -> Event:
        if isinstance(order, ReadResidents):
            residents = server.residents(self.known)
            return Done(
                number=order.number,
                at=self._clock.now(),
                asked_at=asked_at,
                wall_at=self._clock.clock.now(),
                residents=residents,
            )
        entry = self._entries.get(order.key)
        if entry is None:
            raise UnknownModel(f"{order.name} is not installed any more")
        if isinstance(order, SendPing):
            server.ping(entry, order.resident, keep_alive=order.keep_alive)
        elif isinstance(order, SendPreload):
            server.preload(entry, keep_alive=order.keep_alive, num_ctx=order.num_ctx)
        else:
            server.unload(entry.name)
        return Done(number=order.number, at=self._clock.now(), asked_at=asked_at)

    def _failure(self, order: Order, error: Exception) -> Event:
        at = self._clock.now()
        if order.number <= self._cancelled:
            return Aborted(number=order.number, at=at)
        if isinstance(error, BackendTimeout):
            return TimedOut(number=order.number, at=at)
        if not isinstance(error, WarmsetError):
            return Failed(number=order.number, at=at, error=f"{type(error).__name__}: {error}")
        status = error.context.get("status")
        is_final = (
            isinstance(error, UnknownModel)
            or not isinstance(error, BackendError)
            or str(error.context.get("meaning", "")) in _FINAL
        )
        return Failed(
            number=order.number,
            at=at,
            error=str(error.context.get("error") or error.message),
            status=status if isinstance(status, int) else None,
            is_final=is_final,
        )


def _close(server: ModelServer) -> None:
    """Closes a connection that nobody waits on any more."""
    close = getattr(server, "close", None)
    if callable(close):
        close()


class Worker:
    """A thread that performs commands as they come. It never keeps the process from ending."""

    def __init__(self, performer: Performer) -> None:
        self._performer = performer
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="orders", daemon=True)
        self._thread.start()

    def take(self, command: Command) -> None:
        """Queues a command, or hangs up on the one that is open."""
        if isinstance(command, Cancel):
            self._performer.cancel(command.number)
        else:
            self._orders.put(command)

    def end(self, *, within_seconds: float) -> None:
        """Ends the thread if it is idle, and waits a little for it."""
        self._orders.put(None)
        self._thread.join(within_seconds)

    def _run(self) -> None:
        while (order := self._orders.get()) is not None:
            self._performer.perform(order)
