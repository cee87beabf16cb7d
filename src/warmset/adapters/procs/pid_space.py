"""Whether PIDs here mean the same to a GPU driver."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from warmset.core.host.processes import PidSpace

HOST_PID_SPACE: Final = "pid:[4026531836]"
"""The name of the first PID namespace. Source: Linux include/linux/proc_ns.h, PROC_PID_INIT_INO,
0xEFFFFFFC; the link reads so on the host and never in a container."""

HOST_INITS: Final = frozenset({"systemd", "init", "launchd", "runit", "s6-svscan", "openrc-init"})


def read_pid_space(proc: Path, *, is_own: bool = True) -> PidSpace:
    """Returns whether PIDs here are the host's, which are the only ones a driver knows.

    Args:
        proc: the process table.
        is_own: it is that of our own PID namespace. In another's table we are no measure, only
            its first process is.

    Source: devices.md section 6: more than one number in `NSpid`, or a PID 1 that is no init.
    """
    if not proc.is_dir():
        return PidSpace.HOST  # no Linux: there are no PID namespaces
    try:
        link = str((proc / ("self" if is_own else "1") / "ns/pid").readlink())
    except OSError:
        link = ""
    if link:
        return PidSpace.HOST if link == HOST_PID_SPACE else PidSpace.INNER
    rows = _read_text(proc / "self/status").splitlines()
    numbers = next((row.split()[1:] for row in rows if row.startswith("NSpid:")), [])
    if is_own and len(numbers) > 1:
        return PidSpace.INNER
    init = _read_text(proc / "1/comm").strip()
    if not init:
        return PidSpace.UNKNOWN
    return PidSpace.HOST if init in HOST_INITS else PidSpace.INNER


def _read_text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""
