"""Everything one look at a machine returns, before Ollama's own word is joined to it.

Rule: a server on another machine gets the empty survey, whatever this machine has.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from warmset.core.host.draining import Leaving
from warmset.core.host.processes import ProcessFacts, ProcessView
from warmset.core.host.readings import GpuReading, GpuSurvey, MemorySurvey, Trouble
from warmset.core.host.vantage import Sight, System, judge_vantage, sight_of_twin
from warmset.core.model import HostMemory, Reading, ServerSettings, unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSurvey:
    """What the drivers, the kernel and the process table of one machine say.

    Attributes:
        memory: RAM as the server may use it.
        server: The Ollama server's process, if it can be named safely.
        settings: How the server was started, as far as its environment can be read.
        is_own_address: The server's URL names the machine that was surveyed.
        leaving: Runners known to have gone whose bytes are not back; a twin knows, a real host
            shows it only to who looks twice.
    """

    memory: MemorySurvey
    gpus: tuple[GpuSurvey, ...] = ()
    processes: ProcessView = field(default_factory=ProcessView)
    server: ProcessFacts | None = None
    settings: ServerSettings = field(default_factory=ServerSettings)
    system: System = "other"
    is_own_address: bool = True
    is_wsl: bool = False
    is_twin: bool = False
    leaving: tuple[Leaving, ...] = ()

    @property
    def readings(self) -> tuple[GpuReading, ...]:
        """Every GPU of every driver."""
        return tuple(reading for survey in self.gpus for reading in survey.devices)

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """What could not be read, drivers first."""
        drivers = tuple(trouble for survey in self.gpus for trouble in survey.troubles)
        return drivers + self.processes.troubles + self.memory.troubles

    def sight(self, *, is_server_seen: bool) -> Sight:
        """Returns what may be known and done from here."""
        if self.is_twin:
            return sight_of_twin()
        return judge_vantage(
            is_own_address=self.is_own_address,
            system=self.system,
            is_wsl=self.is_wsl,
            pid_space=self.processes.pid_space,
            is_server_seen=is_server_seen,
        )


def survey_of_elsewhere(host: str) -> HostSurvey:
    """Returns the survey of a machine that cannot be seen from here."""
    return HostSurvey(
        memory=plain_memory(_nothing(host), _nothing(host), reason=f"{host} is another machine"),
        is_own_address=False,
    )


def plain_memory(
    total: Reading[int], available: Reading[int], *, reason: str, source: str = "none"
) -> MemorySurvey:
    """Returns a survey of RAM that holds two numbers and says of all others why they lack."""
    return MemorySurvey(
        memory=HostMemory(total_bytes=total, available_bytes=available),
        host_total_bytes=total,
        host_available_bytes=available,
        limit_bytes=unknown(source, reason),
        is_limited=None,
        swap_free_bytes=unknown(source, reason),
        pressure_ratio=unknown(source, reason),
        reclaimable_cache_bytes=unknown(source, reason),
    )


def _nothing(host: str) -> Reading[int]:
    return unknown("none", f"the RAM of {host} cannot be read from here")
