"""RAM through psutil, narrowed to what the Ollama server's control groups leave it.

Rule: the limit that counts is the server's, not ours. Where it cannot be read the host's
numbers stand, called an estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from warmset.adapters.hostmem.cgroup import GroupLimit, LimitUnreadable, read_limit
from warmset.core.host.readings import MemorySurvey, Severity, Trouble
from warmset.core.model import HostMemory, Quality, Reading, unknown
from warmset.core.units import MIB

SOURCE: Final = "psutil"
HIGH_PRESSURE_RATIO: Final = 0.10
"""Share of time stalled on memory from which nothing is preloaded. Source: devices.md section 5."""


SWAPPING_BYTES: Final = 64 * MIB
"""What free swap loses between two looks of a host under pressure. Our choice: a quiet host swaps
some idle pages out as well."""


class HostMemoryProbe:
    """Reads RAM as the server process may use it.

    Args:
        server_pid: The server's PID, or a function that finds it; `None` when it is not seen.
        proc_root: Where /proc is; another root is for tests and containers that mount the host's.
        cgroup_root: Where /sys/fs/cgroup is.
    """

    def __init__(
        self,
        server_pid: int | Callable[[], int | None] | None = None,
        *,
        proc_root: Path | None = None,
        cgroup_root: Path = Path("/sys/fs/cgroup"),
    ) -> None:
        self._server_pid = server_pid
        self._proc_root = proc_root
        self._cgroup_root = cgroup_root
        self._last_swap_free_bytes: int | None = None

    def read(self) -> HostMemory:
        """Returns total and available RAM under the server's limits."""
        return self.survey().memory

    def survey(self) -> MemorySurvey:
        """Returns RAM with its limits and the signs of pressure."""
        total, available, swap_free = self._read_psutil()
        proc = self._proc_root or Path("/proc")
        limit, trouble = self._read_limit(proc)
        troubles = [trouble] if trouble else []
        pressure = _read_pressure(proc / "pressure/memory")
        sign = self._find_pressure(pressure.value, swap_free.value)
        if sign:
            troubles.append(
                Trouble(
                    code="memory-pressure",
                    message=f"{sign}; nothing is preloaded meanwhile",
                    hint="see /proc/pressure/memory and `vmstat 1` for who takes the memory",
                )
            )
        return MemorySurvey(
            memory=HostMemory(
                total_bytes=_narrow(total, limit.limit_bytes if limit else None, limit),
                available_bytes=_narrow(available, limit.available_bytes if limit else None, limit),
                pressure=sign,
            ),
            host_total_bytes=total,
            host_available_bytes=available,
            limit_bytes=_as_reading(limit, trouble),
            is_limited=None if limit is None else limit.limit_bytes is not None,
            swap_free_bytes=swap_free,
            pressure_ratio=pressure,
            reclaimable_cache_bytes=_read_arc(proc / "spl/kstat/zfs/arcstats"),
            troubles=tuple(troubles),
        )

    def _find_pressure(self, stalled_ratio: float | None, swap_free_bytes: int | None) -> str:
        """Returns the sign of pressure, empty without one. Source: devices.md section 5."""
        last, self._last_swap_free_bytes = self._last_swap_free_bytes, swap_free_bytes
        if stalled_ratio is not None and stalled_ratio > HIGH_PRESSURE_RATIO:
            return "tasks are waiting for memory"
        fell = last is not None and swap_free_bytes is not None and last - swap_free_bytes
        return "the machine is swapping out" if fell and fell >= SWAPPING_BYTES else ""

    def _read_psutil(self) -> tuple[Reading[int], Reading[int], Reading[int]]:
        """Returns total, available and free swap; swap that cannot be read costs swap only."""
        import psutil

        if self._proc_root is not None:
            psutil.PROCFS_PATH = str(self._proc_root)
        try:
            with _without_warnings():
                ram = psutil.virtual_memory()
        except (OSError, ValueError, LookupError, psutil.Error) as error:
            failed: Reading[int] = unknown(SOURCE, f"RAM cannot be read: {error}")
            return failed, failed, _read_swap()
        if ram.total <= 0 or not 0 <= ram.available <= ram.total:
            nonsense: Reading[int] = unknown(
                SOURCE, f"implausible: {ram.available} bytes available of {ram.total}"
            )
            return nonsense, nonsense, _read_swap()
        total = Reading(value=int(ram.total), source=SOURCE)
        return total, Reading(value=int(ram.available), source=SOURCE), _read_swap()

    def _read_limit(self, proc: Path) -> tuple[GroupLimit | None, Trouble | None]:
        """Returns the server's limit, or why it is not known; neither where there are no groups."""
        pid = self._server_pid() if callable(self._server_pid) else self._server_pid
        if not self._cgroup_root.is_dir():
            return GroupLimit(limit_bytes=None, available_bytes=None, group=""), None
        if pid is None:
            return None, Trouble(
                code="limit-unknown",
                message="memory limit of the Ollama server unknown: its process is not seen here",
                severity=Severity.INFO,
            )
        try:
            return read_limit(pid, proc_root=proc, cgroup_root=self._cgroup_root), None
        except LimitUnreadable as error:
            return None, Trouble(
                code="limit-unknown",
                message=f"memory limit of the Ollama server (PID {pid}) unknown: {error}",
                hint="run warmset where the server's /proc entry and cgroup can be read",
            )


def _narrow(host: Reading[int], bound: int | None, limit: GroupLimit | None) -> Reading[int]:
    """Returns the host's number, lowered to the server's bound; an estimate if that is unknown."""
    if host.value is None:
        return host
    if limit is None:
        return replace(host, quality=Quality.ESTIMATE, reason="limit of the server unknown")
    if bound is None or bound >= host.value:
        return host
    return Reading(value=bound, source=f"cgroup {limit.group}")


def _read_swap() -> Reading[int]:
    import psutil

    try:
        with _without_warnings():
            return Reading(value=int(psutil.swap_memory().free), source=SOURCE)
    except (OSError, ValueError, LookupError, psutil.Error) as error:
        return unknown(SOURCE, f"swap cannot be read: {error}")


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keeps psutil from warning of fields of /proc that are missing and that we do not use."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def _as_reading(limit: GroupLimit | None, trouble: Trouble | None) -> Reading[int]:
    if limit is None:
        return unknown("cgroup", trouble.message if trouble else "not read")
    if limit.limit_bytes is None:
        return unknown("cgroup", "no limit is set")
    return Reading(value=limit.limit_bytes, source="cgroup")


def _read_pressure(file: Path) -> Reading[float]:
    """Returns "some avg10" of PSI as a ratio. Source: kernel documentation, accounting/psi."""
    try:
        words = file.read_text("ascii", "replace").split()
        some = dict(word.split("=", 1) for word in words[1:5]) if words[:1] == ["some"] else {}
        return Reading(value=float(some["avg10"]) / 100, source="psi")
    except (OSError, KeyError, ValueError) as error:
        return unknown("psi", f"pressure cannot be read: {type(error).__name__}")


def _read_arc(file: Path) -> Reading[int]:
    """Returns what ZFS's cache could give back. Source: devices.md section 5 (openzfs #10255)."""
    try:
        rows = (line.split() for line in file.read_text("ascii", "replace").splitlines())
        stats = {row[0]: row[2] for row in rows if len(row) == 3}
        return Reading(value=max(0, int(stats["size"]) - int(stats["c_min"])), source="arcstats")
    except OSError:
        return unknown("arcstats", "no ZFS cache here")
    except (KeyError, ValueError):
        return unknown("arcstats", "arcstats has another form")
