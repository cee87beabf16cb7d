"""What can go wrong between a warmset and its host: eyes, wires, loads.

A `Frail` sidecar is the usual one with faults that are switched on and off while it runs. Faults
of the host itself (restarts, foreign programs, killed runners) are methods of `TwinHost`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

from warmset.core.control.actions import Decision
from warmset.core.control.loop import Loop
from warmset.core.control.orders import (
    Command,
    Done,
    Event,
    Failed,
    SendPing,
    SendPreload,
    SendUnload,
    Started,
    TimedOut,
)
from warmset.core.control.state import LeverName
from warmset.core.model import Device, DeviceId, Observation, Quality, Reading, unknown
from warmset.core.twin.host import TwinHost
from warmset.core.twin.physics import OUT_OF_MEMORY, Physics
from warmset.core.twin.runner import LoadOrder, LoadResult
from warmset.core.twin.sidecar import Sidecar

_LEVERS: Final[dict[type, LeverName]] = {
    SendPing: "ping",
    SendPreload: "preload",
    SendUnload: "unload",
}
DriverFault = Literal["well", "hung", "lost", "upgraded", "reshaped"]

REPLY_PATIENCE_SECONDS: Final = 20.0
"""A reply that was lost counts as late after this long. Source: ollama-behaviour 1.4 advises 15 to
30 s for `/api/ps`, and nothing but a load takes longer."""


@dataclass(slots=True, kw_only=True)
class Faults:
    """What is wrong now; at first nothing is. Counts are used up by the commands they hit.

    Attributes:
        driver: `hung`: old values, marked stale; `lost`, `upgraded`: no values; `reshaped`: the
            card is two slices with other names.
        look_seconds: how long a look takes: what it shows is of its beginning, its time of its
            end.
        lost_replies: the server does what it is told, and nobody hears of it.
        without_effect: the server says 200 and does nothing.
        broken: levers that have no effect any more, however often they are used.
        refused: the server answers 503.
        doubled: events that are told twice.
    """

    driver: DriverFault = "well"
    look_seconds: float = 0.0
    lost_replies: int = 0
    without_effect: int = 0
    broken: frozenset[LeverName] = frozenset()
    refused: int = 0
    doubled: int = 0

    def heal(self) -> None:
        """Ends everything that is wrong."""
        healthy = Faults()
        for name in self.__slots__:
            setattr(self, name, getattr(healthy, name))


class Frail(Sidecar):
    """A warmset whose looks and connections can fail.

    Args:
        host, loop, sees_processes, on_look: as of `Sidecar`.
        faults: what is wrong; shared with whoever switches it.
    """

    def __init__(
        self,
        host: TwinHost,
        loop: Loop,
        *,
        faults: Faults | None = None,
        sees_processes: bool = True,
        on_look: Callable[[Decision], None] = lambda _: None,
    ) -> None:
        super().__init__(host, loop, sees_processes=sees_processes, on_look=on_look)
        self.faults = faults or Faults()
        self._devices: tuple[Device, ...] = ()
        self._devices_at = 0.0
        self._heard = 0

    # -- eyes -----------------------------------------------------------------------------------

    def observe(self) -> Observation:
        """Returns one look through whatever is wrong with driver and eyes."""
        seen = super().observe()
        now = self.host.timeline.now
        if self.faults.driver == "well":
            self._devices, self._devices_at = seen.devices, now
            return seen
        if self.faults.driver == "reshaped":
            return replace(seen, devices=_sliced(seen.devices), located={})
        if self.faults.driver == "hung":
            devices = tuple(_aged(d, now - self._devices_at) for d in self._devices)
        else:
            devices = tuple(_blind(d, self.faults.driver) for d in seen.devices)
        return replace(seen, devices=devices or seen.devices, located={})

    def _look(self) -> None:
        if self.faults.look_seconds <= 0:
            super()._look()
            return
        self.log.reads += 1
        seen, heard = self.observe(), self._heard

        def arrive() -> None:
            if not self._is_running:
                return
            if self._heard == heard:
                at = self.host.timeline.now + self.clock_ahead  # as the shell stamps it: at its end
                self._decide(replace(seen, at=at))
            else:  # an order ended meanwhile, so what was seen may be of before
                self._look()

        self._timer = self.host.timeline.after(self.faults.look_seconds, arrive)

    # -- wires ----------------------------------------------------------------------------------

    def _carry_out(self, commands: tuple[Command, ...]) -> None:
        for command in commands:
            if not self._is_spoilt(command):
                super()._carry_out((command,))

    def _is_spoilt(self, command: Command) -> bool:
        """Answers a command in the server's place, if something is wrong with it."""
        if not isinstance(command, SendPing | SendPreload | SendUnload) or not self.host.is_up:
            return False
        now, faults = self.now, self.faults
        if faults.refused:
            faults.refused -= 1
            error = "server busy, please try again.  maximum pending requests exceeded"
            self._answer(command, Failed(number=command.number, at=now, error=error, status=503))
        elif _LEVERS[type(command)] in faults.broken:
            self._answer(command, Done(number=command.number, at=now))
        elif faults.without_effect:
            faults.without_effect -= 1
            self._answer(command, Done(number=command.number, at=now))
        else:
            return False
        return True

    def _answer(self, command: SendPing | SendPreload | SendUnload, event: Event) -> None:
        self.log.sent.append((self.now, command))
        self._later(event)

    def _report(self, event: Event) -> None:
        is_end = not isinstance(event, Started)
        if isinstance(event, Done) and event.residents is None and self.faults.lost_replies:
            self.faults.lost_replies -= 1
            late = TimedOut(number=event.number, at=event.at + REPLY_PATIENCE_SECONDS)
            self.host.timeline.after(REPLY_PATIENCE_SECONDS, lambda: self._report(late))
            return
        self._heard += is_end
        super()._report(event)
        if is_end and self.faults.doubled:
            self.faults.doubled -= 1
            super()._report(event)


def _aged(device: Device, seconds: float) -> Device:
    def old(reading: Reading[int]) -> Reading[int]:
        return replace(reading, quality=Quality.STALE, age_seconds=seconds, reason="driver hangs")

    if seconds <= 0:
        return device
    return replace(device, total_bytes=old(device.total_bytes), free_bytes=old(device.free_bytes))


def _blind(device: Device, why: str) -> Device:
    nothing: Reading[int] = unknown("twin", f"driver: {why}")
    return replace(device, total_bytes=nothing, free_bytes=nothing)


def _sliced(devices: tuple[Device, ...]) -> tuple[Device, ...]:
    """Returns the first card as two halves, as MIG shows it, each with half of what is free."""

    def half(reading: Reading[int]) -> Reading[int]:
        return reading if reading.value is None else replace(reading, value=reading.value // 2)

    first, *rest = devices
    slices = tuple(
        replace(
            first,
            id=DeviceId(f"MIG-{n}-{first.id}"),
            total_bytes=half(first.total_bytes),
            free_bytes=half(first.free_bytes),
        )
        for n in (0, 1)
    )
    return (*slices, *rest)


@dataclass(slots=True, kw_only=True)
class FrailPhysics:
    """Loads that can be slow, fail, or run out of memory.

    Attributes:
        inner: the loads as they are without a fault.
        failing: loads that fail with `error` from now on.
        slowness: how many times longer a load takes.
    """

    inner: Physics
    failing: int = 0
    error: str = OUT_OF_MEMORY
    slowness: float = 1.0

    def load(self, order: LoadOrder) -> LoadResult:
        """Returns how this load ends."""
        result = self.inner.load(order)
        if self.failing:
            self.failing -= 1
            return LoadResult(seconds=result.seconds / 2 * self.slowness, error=self.error)
        return replace(result, seconds=result.seconds * self.slowness)
