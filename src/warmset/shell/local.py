"""The machine warmset runs on, when Ollama runs there too: GPUs, RAM, processes, settings.

One object lives as long as the connection, so that one NVML session serves every look.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from warmset.core.host.processes import ProcessFacts, choose_server
from warmset.core.host.readings import GpuSurvey
from warmset.core.host.survey import HostSurvey
from warmset.core.host.vantage import System
from warmset.core.model import ServerSettings
from warmset.errors import ConfigError

if TYPE_CHECKING:
    from warmset.adapters.apple import AppleProbe
    from warmset.adapters.drm import DrmProbe
    from warmset.adapters.hostmem import HostMemoryProbe
    from warmset.adapters.nvml import NvmlProbe
    from warmset.adapters.procs import ProcessTable
    from warmset.core.settings import Budget

_SYSTEMS: Final[dict[str, System]] = {"linux": "linux", "darwin": "darwin", "win32": "windows"}


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineRoots:
    """Where the kernel's file systems of the machine are: ours, or the host's in a container."""

    proc: Path | None = None  # our own
    sys: Path = Path("/sys")

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> MachineRoots:
        """Returns what HOST_PROC and HOST_SYS name, as other monitors in containers take them.

        Raises:
            ConfigError: one names no folder.
        """
        found = {}
        for name in ("HOST_PROC", "HOST_SYS"):
            path = environ.get(name, "")
            if path and not Path(path).is_dir():
                raise ConfigError(
                    f"{name}={path}: there is no such folder",
                    hint="mount the host's there (-v /proc:/host/proc:ro), or unset it",
                )
            found[name] = Path(path) if path else None
        return cls(proc=found["HOST_PROC"], sys=found["HOST_SYS"] or Path("/sys"))


class LocalHost:
    """Surveys of this machine, as often as asked.

    Args:
        port: on which the server listens, to tell it from others.
        budget: states the size of GPUs whose driver does not tell.
        roots: where the machine's own /proc and /sys are mounted, if we are in a container.
    """

    def __init__(
        self, port: int, budget: Budget | None = None, roots: MachineRoots | None = None
    ) -> None:
        self._port = port
        self._roots = roots or MachineRoots()
        self._stated = {
            name: gpu.stated_bytes
            for name, gpu in (budget.gpus if budget else {}).items()
            if gpu.stated_bytes is not None
        }
        self._server: ProcessFacts | None = None
        self._table: ProcessTable | None = None
        self._memory: HostMemoryProbe | None = None
        self._nvml: NvmlProbe | None = None
        self._others: AppleProbe | DrmProbe | None = None

    def survey(self) -> HostSurvey:
        """Returns what this machine says now; never raises for what it cannot read."""
        table, memory = self._open()
        view = table.read()
        self._server = choose_server(view, self._port)
        gpus = self._survey_gpus()
        view = table.name(view, _pids(gpus))
        return HostSurvey(
            memory=memory.survey(),
            gpus=gpus,
            processes=view,
            server=self._server,
            settings=_settings(self._server),
            system=_SYSTEMS.get(sys.platform, "other"),
            is_wsl="microsoft" in platform.release().lower(),
        )

    def clients(self) -> tuple[str, ...] | None:
        """Returns who is connected to the server now; `None`: it cannot be seen."""
        from warmset.adapters.procs import read_clients

        return read_clients(self._port)

    def close(self) -> None:
        """Ends the NVML session."""
        if self._nvml is not None:
            self._nvml.close()
            self._nvml = None

    def _open(self) -> tuple[ProcessTable, HostMemoryProbe]:
        """Makes the probes at the first look; they keep what makes later looks cheap."""
        if self._table is None or self._memory is None:
            from warmset.adapters.hostmem import HostMemoryProbe
            from warmset.adapters.procs import ProcessTable

            proc = self._roots.proc
            self._table = ProcessTable(proc_root=proc)
            self._memory = HostMemoryProbe(
                lambda: self._server.pid if self._server else None,
                proc_root=proc,
                cgroup_root=self._roots.sys / "fs/cgroup",
            )
        if self._others is None:
            if sys.platform == "darwin":
                from warmset.adapters.apple import AppleProbe

                self._others = AppleProbe(self._memory)
            else:
                from warmset.adapters.drm import DrmProbe

                self._others = DrmProbe(
                    host=self._memory,
                    intel_total_bytes=self._stated,
                    proc_root=self._roots.proc,
                )
        if self._nvml is None and sys.platform != "darwin":
            from warmset.adapters.nvml import NvmlProbe

            self._nvml = NvmlProbe(self._memory)
        return self._table, self._memory

    def _survey_gpus(self) -> tuple[GpuSurvey, ...]:
        """Asks every driver; a card that NVML has told is not told again by its PCI slot."""
        assert self._others is not None
        others = self._others.survey()
        if self._nvml is None:
            return (others,)
        nvidia = self._nvml.survey()
        taken = {reading.device.pci_id for reading in nvidia.devices if reading.device.pci_id}
        rest = tuple(r for r in others.devices if r.device.pci_id not in taken)
        return (nvidia, replace(others, devices=rest))


def _pids(gpus: tuple[GpuSurvey, ...]) -> set[int]:
    readings = (reading for survey in gpus for reading in survey.devices)
    return {process.pid for reading in readings for process in reading.processes.value or ()}


def _settings(server: ProcessFacts | None) -> ServerSettings:
    """Returns what the server's own environment says; nothing where it cannot be read.

    Another user's environment is not readable: then the operator's word counts.
    """
    from warmset.core.ollama.env import ServerEnv

    environment = server.environment if server else None
    if not environment:
        return ServerSettings()
    return ServerEnv.from_environ(environment).to_settings()
