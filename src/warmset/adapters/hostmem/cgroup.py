"""The memory limits that control groups put on a process: v2, v1 and hybrid hosts.

The tightest ancestor counts. A group whose files are missing is no limit; one whose files may
not be read makes the answer unknown, since the limit may hide there.

Source: devices.md section 5; kernel documentation of cgroup v1 and v2 memory controllers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

NO_LIMIT_FROM: Final = 1 << 60
"""v1 writes "no limit" as about 2^63; no machine has an exbibyte of RAM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLimit:
    """The room that control groups leave a process.

    Attributes:
        limit_bytes: The tightest limit, `None` without one.
        available_bytes: The least of limit minus unreclaimable use over all groups.
        group: The group that gives `available_bytes`.
    """

    limit_bytes: int | None
    available_bytes: int | None
    group: str


class LimitUnreadable(Exception):
    """The groups of the process cannot be read; the text says which file and why."""


def read_limit(pid: int | None, *, proc_root: Path, cgroup_root: Path) -> GroupLimit:
    """Returns the memory limit on a process (this one if `pid` is `None`).

    Raises:
        LimitUnreadable: when the process's groups, or a limit file, may not be read.
    """
    try:
        groups = _memberships(proc_root / ("self" if pid is None else str(pid)))
    except OSError as error:
        raise LimitUnreadable(_describe(error)) from error
    try:
        own = groups if pid is None else _memberships(proc_root / "self")
    except OSError:
        own = ()
    limit: int | None = None
    available: int | None = None
    tightest = ""
    for folder, is_v2 in _groups(groups, own, cgroup_root):
        found = _read_v2(folder) if is_v2 else _read_v1(folder)
        if found is None:
            continue
        group_limit, used = found
        room = max(0, group_limit - used)
        limit = group_limit if limit is None else min(limit, group_limit)
        if available is None or room < available:
            available, tightest = room, str(folder)
    return GroupLimit(limit_bytes=limit, available_bytes=available, group=tightest)


def _memberships(process: Path) -> tuple[tuple[str, str], ...]:
    """Returns (controllers, path) of each hierarchy; those of v2 are called ""."""
    lines = (process / "cgroup").read_text("utf-8", "replace").splitlines()
    rows = (line.split(":", 2) for line in lines)
    return tuple((row[1], row[2]) for row in rows if len(row) == 3)


def _groups(
    groups: tuple[tuple[str, str], ...], own: tuple[tuple[str, str], ...], cgroup_root: Path
) -> Iterator[tuple[Path, bool]]:
    """Yields the process's memory groups with all their ancestors, and whether each is v2."""
    for controllers, path in groups:
        is_ours = (controllers, path) in own
        if not controllers:
            for mount in (cgroup_root, cgroup_root / "unified"):
                if "memory" in _read(mount / "cgroup.controllers").split():
                    lineage = _lineage(mount, path, is_ours=is_ours)
                    yield from ((folder, True) for folder in lineage)
        elif "memory" in controllers.split(","):
            lineage = _lineage(cgroup_root / "memory", path, is_ours=is_ours)
            yield from ((folder, False) for folder in lineage)


def _lineage(mount: Path, path: str, *, is_ours: bool) -> Iterator[Path]:
    """Yields the group and its ancestors, up to the mount.

    A container often mounts its own group as the root while the line names the path on the
    host; then the mount itself is the group of whoever is in ours. Other groups that are not
    mounted here, or lie outside our namespace (`/../x`), cannot be seen.
    """
    parts = PurePosixPath(path).parts[1:]
    if ".." in parts:
        raise LimitUnreadable(f"group {path} lies outside this cgroup namespace")
    folder = mount.joinpath(*parts)
    if not folder.is_dir():
        if mount.is_dir() and not is_ours:
            raise LimitUnreadable(f"group {path} is not mounted here")
        folder = mount
    yield folder
    while folder != mount:
        folder = folder.parent
        yield folder


def _read_v2(folder: Path) -> tuple[int, int] | None:
    limits = [_read_number(folder / name) for name in ("memory.max", "memory.high")]
    known = [limit for limit in limits if limit is not None]
    if not known:
        return None
    current = _read_use(folder / "memory.current")
    return min(known), current - _read_stat(folder, "inactive_file")


def _read_v1(folder: Path) -> tuple[int, int] | None:
    limit = _read_number(folder / "memory.limit_in_bytes")
    if limit is None or limit >= NO_LIMIT_FROM:
        return None
    current = _read_use(folder / "memory.usage_in_bytes")
    return limit, current - _read_stat(folder, "total_inactive_file")


def _read_number(file: Path) -> int | None:
    """Returns the file's number; `None` for "max" or a file that does not exist."""
    text = _read(file).strip()
    return int(text) if text.isdecimal() else None


def _read_use(file: Path) -> int:
    """Returns what a limited group uses; a limit without a use is half a fact."""
    count = _read_number(file)
    if count is None:
        raise LimitUnreadable(f"{file}: no number")
    return count


def _read_stat(folder: Path, key: str) -> int:
    """Returns a row of memory.stat; 0 when absent, which only makes the room look smaller."""
    for line in _read(folder / "memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == key and value.strip().isdecimal():
            return int(value)
    return 0


def _read(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace")
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise LimitUnreadable(_describe(error)) from error


def _describe(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}"
