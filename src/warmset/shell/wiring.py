"""Which real thing stands behind each port: an Ollama over HTTP, or a twin under a virtual clock.

A remote server never gets this machine's GPUs or RAM attributed to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from warmset.core.model import Device, HostMemory, Reading, ServerSettings, unknown
from warmset.core.settings import Settings
from warmset.ports import Clock, ModelServer
from warmset.shell.local import LocalHost

TWIN_SCHEME = "twin://"


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's clocks. Implements `ports.Clock`."""

    def now(self) -> float:
        """Returns Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Returns seconds that never step back."""
        return time.monotonic()


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One host that warmset looks at.

    Attributes:
        is_local: whether the GPUs and the RAM read are those of the server.
        read_devices, read_memory: the probes, already chosen for this host.
        read_settings: how the server was started, as far as that can be seen.
        notes: what the operator should know about the connection itself.
    """

    server: ModelServer
    clock: Clock
    is_local: bool
    read_devices: Callable[[], Sequence[Device]]
    read_memory: Callable[[], HostMemory]
    read_settings: Callable[[], ServerSettings] = ServerSettings
    notes: tuple[str, ...] = ()
    close: Callable[[], None] = field(default=lambda: None)


def connect(settings: Settings, *, environ: Mapping[str, str]) -> Connection:
    """Returns a connection to the host that the settings name; opens nothing yet.

    Raises:
        ConfigError: the address or the twin's name cannot be used.
    """
    if settings.url.startswith(TWIN_SCHEME):
        from warmset.shell.twin_link import connect_twin

        return connect_twin(settings.url.removeprefix(TWIN_SCHEME), settings)
    from warmset.adapters.ollama.address import is_local, parse_address
    from warmset.adapters.ollama.client import connect as connect_server

    address = parse_address(settings.url)
    server = connect_server(address, environ=environ)
    here = LocalHost(address.port) if is_local(address) else None
    return Connection(
        server=server,
        clock=SystemClock(),
        is_local=here is not None,
        read_devices=here.devices if here else lambda: (),
        read_memory=here.memory if here else lambda: _unknown_memory(address.host),
        read_settings=here.settings if here else ServerSettings,
        notes=address.notes,
        close=server.close,
    )


def _unknown_memory(host: str) -> HostMemory:
    reading: Reading[int] = unknown("none", f"the RAM of {host} cannot be read from here")
    return HostMemory(total_bytes=reading, available_bytes=reading)
