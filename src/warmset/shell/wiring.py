"""Which real thing stands behind each port: an Ollama over HTTP, or a twin under a virtual clock.

A remote server never gets this machine's GPUs or RAM attributed to it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from warmset.core.model import Device, HostMemory, Reading, ServerSettings, unknown
from warmset.core.settings import Settings
from warmset.ports import Clock, ModelServer

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
        known_settings: how the server was started, where that can be seen.
        notes: what the operator should know about the connection itself.
    """

    server: ModelServer
    clock: Clock
    is_local: bool
    read_devices: Callable[[], Sequence[Device]]
    read_memory: Callable[[], HostMemory]
    known_settings: ServerSettings = field(default_factory=ServerSettings)
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
    local = is_local(address)
    return Connection(
        server=server,
        clock=SystemClock(),
        is_local=local,
        read_devices=_read_local_devices if local else lambda: (),
        read_memory=_read_local_memory if local else lambda: _unknown_memory(address.host),
        notes=address.notes,
        close=server.close,
    )


def _read_local_devices() -> Sequence[Device]:
    """Asks every probe that can answer on this system; none found means CPU only."""
    if sys.platform == "darwin":
        from warmset.adapters.apple import AppleProbe

        return AppleProbe().read()
    from warmset.adapters.drm import DrmProbe
    from warmset.adapters.hostmem import HostMemoryProbe
    from warmset.adapters.nvml import NvmlProbe

    probe = NvmlProbe(HostMemoryProbe())
    try:
        nvidia = probe.read()
    finally:
        probe.close()
    taken = {device.pci_id for device in nvidia if device.pci_id}
    others = tuple(device for device in DrmProbe().read() if device.pci_id not in taken)
    return (*nvidia, *others)


def _read_local_memory() -> HostMemory:
    from warmset.adapters.hostmem import HostMemoryProbe

    return HostMemoryProbe().read()


def _unknown_memory(host: str) -> HostMemory:
    reading: Reading[int] = unknown("none", f"the RAM of {host} cannot be read from here")
    return HostMemory(total_bytes=reading, available_bytes=reading)
