"""The machine warmset runs on, when Ollama runs there too: GPUs, RAM and the server's settings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from warmset.core.model import Device, HostMemory, ServerSettings

if TYPE_CHECKING:
    from warmset.adapters.hostmem import HostMemoryProbe
    from warmset.core.host.processes import ProcessFacts


class LocalHost:
    """One look at this machine; the process table is read once.

    Args:
        port: on which the server listens, to tell it from others.
    """

    def __init__(self, port: int) -> None:
        self._port = port

    @cached_property
    def _server(self) -> ProcessFacts | None:
        """The server's process, if it can be named safely."""
        from warmset.adapters.procs import ProcessTable
        from warmset.core.host.processes import choose_server

        return choose_server(ProcessTable().read(), self._port)

    @cached_property
    def _memory_probe(self) -> HostMemoryProbe:
        from warmset.adapters.hostmem import HostMemoryProbe

        return HostMemoryProbe(lambda: self._server.pid if self._server else None)

    def memory(self) -> HostMemory:
        """Returns RAM under the limits of the server's control groups."""
        return self._memory_probe.read()

    def settings(self) -> ServerSettings:
        """Returns what the server's own environment says; nothing where it cannot be read.

        Another user's environment is not readable: then the operator's word counts.
        """
        from warmset.core.ollama.env import ServerEnv

        environment = self._server.environment if self._server else None
        if not environment:
            return ServerSettings()
        return ServerEnv.from_environ(environment).to_settings()

    def devices(self) -> Sequence[Device]:
        """Asks every probe that can answer on this system; none found means CPU only."""
        if sys.platform == "darwin":
            from warmset.adapters.apple import AppleProbe

            return AppleProbe(self._memory_probe).read()
        from warmset.adapters.drm import DrmProbe
        from warmset.adapters.nvml import NvmlProbe

        probe = NvmlProbe(self._memory_probe)
        try:
            nvidia = probe.read()
        finally:
            probe.close()
        taken = {device.pci_id for device in nvidia if device.pci_id}
        others = DrmProbe(host=self._memory_probe).read()
        return (*nvidia, *(device for device in others if device.pci_id not in taken))
