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
    net_space: str | None = None  # names its network namespace; of servers only
    addresses: frozenset[str] | None = (
        None  # IPv4 addresses of that namespace, where it is not ours
    )

    @property
    def identity(self) -> tuple[int, float]:
        """PID and start: the same process at two looks."""
        return self.pid, self.started_at


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessView:
    """The processes that matter: Ollama's, and those that were asked for by PID.

    Attributes:
        net_space: names the network namespace in which addresses are meant: our own.
    """

    processes: Mapping[int, ProcessFacts] = field(default_factory=dict)
    pid_space: PidSpace = PidSpace.UNKNOWN
    is_readable: bool = True  # otherwise a missing process proves nothing
    troubles: tuple[Trouble, ...] = ()
    net_space: str | None = None

    def of_role(self, *roles: Role) -> tuple[ProcessFacts, ...]:
        """Returns the processes of these roles, by PID."""
        return tuple(
            self.processes[pid]
            for pid in sorted(self.processes)
            if self.processes[pid].command.role in roles
        )


def choose_server(view: ProcessView, port: int | None) -> ProcessFacts | None:
    """Returns the server behind `port` of this machine, or `None` if none can be named safely.

    Two containers may both listen on 11434, each in its own network namespace. So who listens in
    ours comes first, then whom Docker forwards the port to, then a lone one that listens on it.
    Listening ports are visible to the same user and root only. Where they are not, a lone server
    is taken; of several none is.
    """
    servers = view.of_role(Role.SERVER)
    if port is None:
        return _only(servers)
    listening = tuple(s for s in servers if s.listen_ports is not None and port in s.listen_ports)
    ours = tuple(s for s in listening if s.net_space is not None and s.net_space == view.net_space)
    if ours:
        return _only(ours)
    forwards = [each for each in map(_forward, view.of_role(Role.FORWARD)) if each[0] == port]
    if forwards:
        listening = tuple(s for s in servers if any(_is_end(s, *each) for each in forwards))
    return _only(listening or tuple(s for s in servers if not s.listen_ports))


def _only(servers: tuple[ProcessFacts, ...]) -> ProcessFacts | None:
    return servers[0] if len(servers) == 1 else None


def _forward(process: ProcessFacts) -> tuple[int | None, str, int | None]:
    """Returns the host's port, the container's address and its port.

    Source: moby `cmd/docker-proxy/main_linux.go: parseFlags`.
    """
    options = process.command.options

    def number(name: str) -> int | None:
        text = options.get(name, "")
        return int(text) if text.isdecimal() and text.isascii() else None

    return number("-host-port"), options.get("-container-ip", ""), number("-container-port")


def _is_end(server: ProcessFacts, _: int | None, address: str, port: int | None) -> bool:
    """Whether a forwarded port ends at this server."""
    return (
        address in (server.addresses or ())
        and server.listen_ports is not None
        and port in server.listen_ports
    )
