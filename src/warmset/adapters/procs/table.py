"""Processes through psutil: Ollama's own, and those that a GPU driver names.

Only what matters is asked, and what can have changed: command lines of who is new, times and bytes
of the few. Who was a stranger for some looks is asked again in turns only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from warmset.adapters.procs.asking import (
    ask,
    read_addresses,
    read_command,
    read_environment,
    read_listen_ports,
    read_net_space,
    read_ports_in_space,
)
from warmset.adapters.procs.pid_space import read_pid_space
from warmset.core.host.commands import Command, Role
from warmset.core.host.processes import PidSpace, ProcessFacts, ProcessView
from warmset.core.host.readings import Severity, Trouble

if TYPE_CHECKING:
    import psutil

STRANGER_LOOKS: Final = 3
"""Who was a stranger so many times is believed. A process that was only just forked shows the
command line of its parent, and a script may yet become a server by `exec`."""

TURNS: Final = 12
"""Then one stranger of so many is asked at each look: who became a second server late is found
within a minute at the usual tick. While no server is seen, all are asked. Our choice."""


@dataclass(frozen=True, slots=True)
class _Fixed:
    """What one of Ollama's processes keeps for as long as it runs one program."""

    started_at: float
    command: Command
    name: str
    parent_pid: int | None  # until that one ends
    environment: dict[str, str] | None
    listen_ports: frozenset[int] | None
    net_space: str | None = None
    addresses: frozenset[str] | None = None


OWN_PROC: Final = Path("/proc")


class ProcessTable:
    """Reads the process table of this machine, as often as asked.

    Args:
        proc_root: The process table to read instead of our own: the host's, mounted into our
            container.
    """

    def __init__(self, *, proc_root: Path | None = None) -> None:
        self._proc_root = proc_root
        self._proc = proc_root or OWN_PROC
        self._strangers: dict[int, int] = {}  # PID -> looks at which it was one
        self._fixed: dict[int, _Fixed] = {}  # Ollama's processes at the last look
        self._there: Collection[int] = ()
        self._turn = 0

    def read(self, also: Collection[int] = ()) -> ProcessView:
        """Returns Ollama's processes, their parents, and those of `also` that exist.

        Args:
            also: PIDs that a driver named. In a container they are the host's numbers: nothing
                is looked up for them then.
        """
        import psutil

        if self._proc_root is not None:
            psutil.PROCFS_PATH = str(self._proc_root)
        pid_space = read_pid_space(self._proc, is_own=self._proc_root is None)
        net_space = read_net_space(OWN_PROC / "self")
        wanted = set(also) if pid_space is PidSpace.HOST else set()
        found: dict[int, ProcessFacts] = {}
        try:
            for process in self._choose(psutil.process_iter(), wanted):
                command = read_command(process)
                if command is None or not self._matters(process.pid, command, wanted):
                    continue
                facts = self._read_facts(process, command)
                if facts is not None:
                    found[facts.pid] = facts
        except (psutil.Error, OSError, LookupError, ValueError) as error:
            # psutil trips over a /proc that is empty or of another form
            return ProcessView(pid_space=pid_space, is_readable=False, troubles=(_report(error),))
        hidden = any(facts.command.role is Role.HIDDEN for facts in found.values())
        troubles = (_HIDDEN_ARGUMENTS,) if hidden else ()
        return ProcessView(
            processes=found, pid_space=pid_space, troubles=troubles, net_space=net_space
        )

    def _matters(self, pid: int, command: Command, wanted: Collection[int]) -> bool:
        if command.role is not Role.FOREIGN:
            self._strangers.pop(pid, None)  # it was one before its `exec`
            return True
        self._strangers[pid] = self._strangers.get(pid, 0) + 1
        return pid in wanted

    def _choose(
        self, processes: Iterable[psutil.Process], wanted: Collection[int]
    ) -> list[psutil.Process]:
        """Returns who is asked at this look: everybody, if one of Ollama's processes has gone."""
        there = {process.pid: process for process in processes}
        self._there = there.keys()
        if not self._fixed or not self._fixed.keys() <= there.keys():
            self._strangers.clear()
        self._strangers = {pid: n for pid, n in self._strangers.items() if pid in there}
        self._fixed = {pid: fixed for pid, fixed in self._fixed.items() if pid in there}
        self._turn = (self._turn + 1) % TURNS
        return [
            process
            for pid, process in there.items()
            if self._strangers.get(pid, 0) < STRANGER_LOOKS
            or pid % TURNS == self._turn
            or pid in wanted
        ]

    def name(self, view: ProcessView, also: Collection[int]) -> ProcessView:
        """Returns `view` with the processes of `also` that exist, without a second full look.

        Args:
            view: An earlier view of the same table.
            also: PIDs that a driver named since.
        """
        import psutil

        if view.pid_space is not PidSpace.HOST or not view.is_readable:
            return view
        found = dict(view.processes)
        for pid in set(also) - set(found):
            try:
                process = psutil.Process(pid)
            except (psutil.Error, OSError, ValueError):
                continue  # it ended; the driver's bytes stay nobody's
            command = read_command(process)
            facts = None if command is None else self._read_facts(process, command)
            if facts is not None:
                found[pid] = facts
        return replace(view, processes=found)

    def _read_facts(self, process: psutil.Process, command: Command) -> ProcessFacts | None:
        import psutil

        try:
            with process.oneshot():  # several facts from one reading
                fixed = self._read_fixed(process, command, process.create_time())
                status = process.status()
                times, memory = ask(process, "cpu_times"), ask(process, "memory_info")
        except (psutil.Error, OSError):
            return None  # it ended while we looked
        shared = getattr(memory, "shared", None)
        return ProcessFacts(
            pid=process.pid,
            parent_pid=fixed.parent_pid,
            name=fixed.name,
            command=command,
            started_at=fixed.started_at,
            is_zombie=status == psutil.STATUS_ZOMBIE,
            cpu_seconds=None if times is None else times.user + times.system,
            resident_bytes=None if memory is None else memory.rss,
            anonymous_bytes=None if shared is None else max(0, memory.rss - shared),
            listen_ports=fixed.listen_ports,
            environment=fixed.environment,
            net_space=fixed.net_space,
            addresses=fixed.addresses,
        )

    def _read_fixed(self, process: psutil.Process, command: Command, started_at: float) -> _Fixed:
        """Returns what was read at an earlier look, if it is of the same program.

        A process gets another parent only when its own ends.
        """
        known = self._fixed.get(process.pid)
        if known is None or (known.started_at, known.command) != (started_at, command):
            is_ollamas = command.role not in {Role.FOREIGN, Role.FORWARD}
            environment = read_environment(process) if is_ollamas else None
            name, parent_pid = process.name(), process.ppid()
            known = _Fixed(started_at, command, name, parent_pid, environment, None)
            if not is_ollamas:
                return known
        elif known.parent_pid not in self._there:
            known = replace(known, parent_pid=process.ppid())
        if command.role is Role.SERVER and known.listen_ports is None:  # it may not listen yet
            folder = self._proc / str(process.pid)
            space = read_net_space(folder)
            is_ours = space is None or space == read_net_space(OWN_PROC / "self")
            known = replace(
                known,
                listen_ports=read_listen_ports(process) if is_ours else read_ports_in_space(folder),
                net_space=space,
                addresses=None if is_ours else read_addresses(folder),
            )
        self._fixed[process.pid] = known
        return known


_HIDDEN_ARGUMENTS: Final = Trouble(
    code="arguments-hidden",
    message="an Ollama process runs here whose command line may not be read",
    hint="run as the user of the Ollama server, or as root; see hidepid of /proc",
)


def _report(error: Exception) -> Trouble:
    return Trouble(
        code="processes-unreadable",
        message=f"the process table cannot be read: {type(error).__name__}",
        hint="mount /proc into the container, or run outside of it",
        severity=Severity.WARNING,
    )
