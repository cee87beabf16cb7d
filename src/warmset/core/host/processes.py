"""Processes as the host's table shows them, and whose PIDs those are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from warmset.core.host.commands import Command, Role
from warmset.core.host.readings import Trouble


class PidSpace(StrEnum):
    """Whether a PID here means the same to the driver, which knows only the host's PIDs."""

    HOST = "host"
    INNER = "inner"  # a container: PIDs of the driver are someone else's numbers
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    """One process. `None` where another user's process may not be asked.

    Units:
        `started_at` is Unix seconds; with the PID it tells a process from a later one of the
        same number.
    """

    pid: int
    parent_pid: int | None
    name: str
    command: Command
    started_at: float
    is_zombie: bool = False
    cpu_seconds: float | None = None
    resident_bytes: int | None = None
    anonymous_bytes: int | None = None  # not backed by files: mapped weights are left out
    listen_ports: frozenset[int] | None = None
    environment: Mapping[str, str] | None = None  # OLLAMA_*, CUDA_* and their like only

    @property
    def identity(self) -> tuple[int, float]:
        """PID and start: the same process at two looks."""
        return self.pid, self.started_at


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessView:
    """The processes that matter: Ollama's, and those that were asked for by PID."""

    processes: Mapping[int, ProcessFacts] = field(default_factory=dict)
    pid_space: PidSpace = PidSpace.UNKNOWN
    is_readable: bool = True  # otherwise a missing process proves nothing
    troubles: tuple[Trouble, ...] = ()

    def of_role(self, *roles: Role) -> tuple[ProcessFacts, ...]:
        """Returns the processes of these roles, by PID."""
        return tuple(
            self.processes[pid]
            for pid in sorted(self.processes)
            if self.processes[pid].command.role in roles
        )


def choose_server(view: ProcessView, port: int | None) -> ProcessFacts | None:
    """Returns the server that listens on `port`, or `None` if no process can be named safely.

    Listening ports are visible to the same user and root only. Where they are not, a lone server
    is taken; of several none is.
    """
    servers = view.of_role(Role.SERVER)
    if port is not None:
        matching = [s for s in servers if s.listen_ports is not None and port in s.listen_ports]
        if matching:
            return matching[0]
        servers = tuple(s for s in servers if not s.listen_ports)
    return servers[0] if len(servers) == 1 else None
