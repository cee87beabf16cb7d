"""From where warmset looks at an Ollama server, what it can see from there, and what it may do.

Rule: a server on another machine never gets this machine's GPUs. What cannot be seen closes the
levers that would act on a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from warmset.core.host.processes import PidSpace

System = Literal["linux", "darwin", "windows", "other"]


class Vantage(StrEnum):
    """Where warmset stands."""

    LOCAL = "local"
    CONTAINER = "container"  # same machine, own PID space
    UNCONFIRMED = "unconfirmed"  # own address, no server process: a tunnel?
    REMOTE = "remote"
    WSL2 = "wsl2"
    MACOS = "macos"
    WINDOWS = "windows"
    TWIN = "twin"


class Lever(StrEnum):
    """What warmset may ask of Ollama."""

    RENEW = "renew"
    PRELOAD = "preload"
    UNLOAD = "unload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is seen from a vantage point, and the levers that follow.

    Attributes:
        sees_devices: This machine's GPUs and RAM are the server's.
        sees_processes: Runners, hence loads that `/api/ps` does not list, are visible.
        sees_process_bytes: The driver counts bytes for each process.
    """

    vantage: Vantage
    sees_devices: bool
    sees_processes: bool
    sees_process_bytes: bool
    levers: frozenset[Lever]
    reason: str

    @property
    def blind_spots(self) -> tuple[str, ...]:
        """What cannot be known from here, in words; silence about it proves nothing."""
        spots = (
            (self.sees_devices, "GPU memory and RAM of the server's machine"),
            (self.sees_processes, "loads in progress, stopping and orphaned runners"),
            (self.sees_processes, "CPU and GPU time of runners, as signs of use"),
            (self.sees_process_bytes, "bytes of single processes on a GPU"),
        )
        return tuple(words for is_seen, words in spots if not is_seen)


_ALL: Final = frozenset(Lever)
_NO_PRELOAD: Final = frozenset({Lever.RENEW, Lever.UNLOAD})

SIGHTS: Final = {
    Vantage.LOCAL: (True, True, True, _ALL, "the server runs on this machine"),
    Vantage.CONTAINER: (
        True,
        False,
        False,
        _ALL,
        "own PID space: the driver's PIDs are the host's and cannot be named",
    ),
    Vantage.UNCONFIRMED: (
        True,
        False,
        False,
        _NO_PRELOAD,
        "own address, but no Ollama process is visible: perhaps a tunnel or a forwarded port",
    ),
    Vantage.REMOTE: (
        False,
        False,
        False,
        _NO_PRELOAD,
        "another machine: its GPUs, RAM and processes are not visible",
    ),
    Vantage.WSL2: (
        True,
        True,
        False,
        _ALL,
        "WSL2: totals are shared with Windows, whose programs are not visible",
    ),
    Vantage.MACOS: (True, True, False, _ALL, "macOS: Metal counts no bytes by process"),
    Vantage.WINDOWS: (True, True, False, _ALL, "Windows: WDDM counts no bytes by process"),
    Vantage.TWIN: (True, True, True, _ALL, "a twin tells everything that it pretends"),
}
"""What each vantage point shows. Source: devices.md sections 3 and 6; the levers follow from the
rule that a preload needs a memory reading of the server's own machine."""


def judge_vantage(
    *,
    is_own_address: bool,
    system: System,
    is_wsl: bool,
    pid_space: PidSpace,
    is_server_seen: bool,
) -> Sight:
    """Returns what may be known and done.

    Args:
        is_own_address: The server's URL names this machine.
        system: The operating system here.
        is_wsl: Linux under Windows.
        pid_space: Whether our PIDs are the host's.
        is_server_seen: The server's process, or a runner of a model it lists, is visible.
    """
    if not is_own_address:
        vantage = Vantage.REMOTE
    elif not is_server_seen:
        vantage = Vantage.CONTAINER if pid_space is PidSpace.INNER else Vantage.UNCONFIRMED
    elif is_wsl:
        vantage = Vantage.WSL2
    elif system == "darwin":
        vantage = Vantage.MACOS
    elif system == "windows":
        vantage = Vantage.WINDOWS
    else:
        vantage = Vantage.CONTAINER if pid_space is PidSpace.INNER else Vantage.LOCAL
    return _sight(vantage, is_server_seen=is_server_seen)


def sight_of_twin() -> Sight:
    """Returns what is seen of a pretended host."""
    return _sight(Vantage.TWIN, is_server_seen=True)


def _sight(vantage: Vantage, *, is_server_seen: bool) -> Sight:
    devices, processes, counts, levers, reason = SIGHTS[vantage]
    return Sight(
        vantage=vantage,
        sees_devices=devices,
        sees_processes=processes or is_server_seen,
        sees_process_bytes=counts,
        levers=levers,
        reason=reason,
    )
