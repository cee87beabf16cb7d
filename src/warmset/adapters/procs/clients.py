"""Who is connected to a server of this machine: local programs by name, others by address."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

UNSEEN: Final = "a program of another user"
_MAPPED: Final = "::ffff:"
"""Before an IPv4 address on a socket that hears both: the same end has two spellings."""

End = tuple[str, int]


def read_clients(port: int) -> tuple[str, ...] | None:
    """Returns who holds a connection to a port of this machine, this process left out.

    Names and process numbers only, no command lines: those may tell what is nobody's business.
    This goes through the open files of every process, so it is for moments, not for every look.

    Args:
        port: on which the server listens.

    Returns:
        Sorted and distinct; `None`: the system does not tell.
    """
    import psutil

    try:
        ends = _ends()
        if UNSEEN in _clients(ends, port):  # or opened between the files and the sockets
            nameless = {end[:2] for end in ends if end[2] is None}
            ends = [end for end in _ends() if end[2] is not None or end[:2] in nameless]
        found = set(_clients(ends, port))
    except (psutil.Error, OSError):
        return None
    return tuple(sorted(found))


def _ends() -> list[tuple[End, End, int | None]]:
    """Returns near end, far end and process of each open connection."""
    import psutil

    return [
        (_end(row.laddr), _end(row.raddr), row.pid)
        for row in psutil.net_connections(kind="tcp")
        if row.status == psutil.CONN_ESTABLISHED and row.laddr and row.raddr
    ]


def _clients(ends: list[tuple[End, End, int | None]], port: int) -> Iterator[str]:
    here = {near for near, _, _ in ends}
    for near, far, pid in ends:
        if far[1] == port and far in here:  # both ends are here, and this one is the client's
            if pid != os.getpid():
                yield UNSEEN if pid is None else _name(pid)
        elif near[1] == port and far not in here:
            yield far[0]


def _name(pid: int) -> str:
    import psutil

    try:
        return f"{psutil.Process(pid).name()} (PID {pid})"
    except (psutil.Error, OSError):
        return f"PID {pid}"


def _end(address: tuple[str, int]) -> End:
    return address[0].removeprefix(_MAPPED), address[1]
