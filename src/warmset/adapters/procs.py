"""Processes through psutil: Ollama's own, and those that a GPU driver names.

Only what matters is asked: names and command lines of all, times and bytes of the few.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from warmset.core.host.commands import Command, Role, judge_by_name, parse_command
from warmset.core.host.processes import PidSpace, ProcessFacts, ProcessView
from warmset.core.host.readings import Severity, Trouble

if TYPE_CHECKING:
    import psutil

HOST_PID_SPACE: Final = "pid:[4026531836]"
"""The name of the first PID namespace. Source: Linux include/linux/proc_ns.h, PROC_PID_INIT_INO,
0xEFFFFFFC; the link reads so on the host and never in a container."""

HOST_INITS: Final = frozenset({"systemd", "init", "launchd", "runit", "s6-svscan", "openrc-init"})

KEPT_ENVIRONMENT: Final = ("OLLAMA_", "CUDA_", "LLAMA_ARG_", "HIP_", "ROCR_", "GGML_", "HSA_")
"""Settings of the server and its runners; nothing else of a process's environment is kept."""


class ProcessTable:
    """Reads the process table of this machine.

    Args:
        proc_root: Where /proc is, for containers that mount the host's.
    """

    def __init__(self, *, proc_root: Path | None = None) -> None:
        self._proc_root = proc_root

    def read(self, also: Collection[int] = ()) -> ProcessView:
        """Returns Ollama's processes, their parents, and those of `also` that exist.

        Args:
            also: PIDs that a driver named. In a container they are the host's numbers: nothing
                is looked up for them then.
        """
        import psutil

        if self._proc_root is not None:
            psutil.PROCFS_PATH = str(self._proc_root)
        pid_space = read_pid_space(self._proc_root or Path("/proc"))
        wanted = set(also) if pid_space is PidSpace.HOST else set()
        found: dict[int, ProcessFacts] = {}
        try:
            for process in psutil.process_iter():
                command = _read_command(process)
                if command is None or (command.role is Role.FOREIGN and process.pid not in wanted):
                    continue
                facts = _read_facts(process, command)
                if facts is not None:
                    found[facts.pid] = facts
        except (psutil.Error, OSError, LookupError, ValueError) as error:
            # psutil trips over a /proc that is empty or of another form
            return ProcessView(pid_space=pid_space, is_readable=False, troubles=(_report(error),))
        hidden = any(facts.command.role is Role.HIDDEN for facts in found.values())
        troubles = (_HIDDEN_ARGUMENTS,) if hidden else ()
        return ProcessView(processes=found, pid_space=pid_space, troubles=troubles)

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
            command = _read_command(process)
            facts = None if command is None else _read_facts(process, command)
            if facts is not None:
                found[pid] = facts
        return replace(view, processes=found)


_HIDDEN_ARGUMENTS: Final = Trouble(
    code="arguments-hidden",
    message="an Ollama process runs here whose command line may not be read",
    hint="run as the user of the Ollama server, or as root; see hidepid of /proc",
)


def read_pid_space(proc: Path) -> PidSpace:
    """Returns whether PIDs here are the host's, which are the only ones a driver knows.

    Source: devices.md section 6: more than one number in `NSpid`, or a PID 1 that is no init.
    """
    if not proc.is_dir():
        return PidSpace.HOST  # no Linux: there are no PID namespaces
    try:
        link = str((proc / "self/ns/pid").readlink())
    except OSError:
        link = ""
    if link:
        return PidSpace.HOST if link == HOST_PID_SPACE else PidSpace.INNER
    rows = _read_text(proc / "self/status").splitlines()
    numbers = next((row.split()[1:] for row in rows if row.startswith("NSpid:")), [])
    if len(numbers) > 1:
        return PidSpace.INNER
    init = _read_text(proc / "1/comm").strip()
    if not init:
        return PidSpace.UNKNOWN
    return PidSpace.HOST if init in HOST_INITS else PidSpace.INNER


def _read_command(process: psutil.Process) -> Command | None:
    """Returns the understood command line; by the name alone where the line cannot be read."""
    import psutil

    try:
        argv = process.cmdline()
        if argv:
            return parse_command(argv)
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        return judge_by_name(process.name(), is_zombie=is_zombie)
    except psutil.ZombieProcess:
        return judge_by_name(_ask(process, "name") or "", is_zombie=True)
    except psutil.AccessDenied:
        return judge_by_name(_ask(process, "name") or "", is_zombie=False)
    except (psutil.Error, OSError):
        return None


def _read_facts(process: psutil.Process, command: Command) -> ProcessFacts | None:
    import psutil

    try:
        with process.oneshot():
            name, parent_pid, started_at = process.name(), process.ppid(), process.create_time()
            status = process.status()
    except (psutil.Error, OSError):
        return None  # it ended while we looked
    times, memory = _ask(process, "cpu_times"), _ask(process, "memory_info")
    shared = getattr(memory, "shared", None)
    is_server = command.role is Role.SERVER
    return ProcessFacts(
        pid=process.pid,
        parent_pid=parent_pid,
        name=name,
        command=command,
        started_at=started_at,
        is_zombie=status == psutil.STATUS_ZOMBIE,
        cpu_seconds=None if times is None else times.user + times.system,
        resident_bytes=None if memory is None else memory.rss,
        anonymous_bytes=None if shared is None else max(0, memory.rss - shared),
        listen_ports=_listen_ports(process) if is_server else None,
        environment=_environment(process) if command.role is not Role.FOREIGN else None,
    )


def _ask(process: psutil.Process, what: str, **keys: object) -> Any:  # noqa: ANN401 - psutil's
    """Returns one fact of a process, `None` where it may not be asked or has ended."""
    import psutil

    try:
        return getattr(process, what)(**keys)
    except (psutil.Error, OSError):
        return None


def _listen_ports(process: psutil.Process) -> frozenset[int] | None:
    import psutil

    connections = _ask(process, "net_connections", kind="tcp")
    if connections is None:
        return None
    ports = {c.laddr.port for c in connections if c.status == psutil.CONN_LISTEN}
    return frozenset(ports) or None


def _environment(process: psutil.Process) -> dict[str, str] | None:
    environment = _ask(process, "environ")
    if environment is None:
        return None
    return dict(_settings(environment.items()))


def _settings(rows: Collection[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    return ((key, value) for key, value in sorted(rows) if key.startswith(KEPT_ENVIRONMENT))


def _read_text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


def _report(error: Exception) -> Trouble:
    return Trouble(
        code="processes-unreadable",
        message=f"the process table cannot be read: {type(error).__name__}",
        hint="mount /proc into the container, or run outside of it",
        severity=Severity.WARNING,
    )
