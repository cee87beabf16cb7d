"""Which GPU device files exist here and may not be opened, and which group would help."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEVICE_FILES: Final = ("dev/nvidiactl", "dev/nvidia[0-9]*", "dev/dri/renderD*", "dev/kfd")
"""What the drivers' libraries open: NVIDIA's control file and cards, DRM render nodes, ROCm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedDevice:
    """A device file that this user may not read and write."""

    path: str
    group: str  # that owns it
    is_member: bool  # of that group already; then the file's mode is the cause


def find_device_files(root: Path = Path("/")) -> tuple[Path, ...]:
    """Returns the GPU device files of this machine, by name."""
    return tuple(path for pattern in DEVICE_FILES for path in sorted(root.glob(pattern)))


def find_closed(root: Path = Path("/")) -> tuple[ClosedDevice, ...]:
    """Returns those that this user may not open, by name."""
    return tuple(_closed(find_device_files(root)))


def _closed(files: tuple[Path, ...]) -> Iterator[ClosedDevice]:
    for file in files:
        if os.access(file, os.R_OK | os.W_OK):
            continue
        try:
            group_id = file.stat().st_gid
        except OSError:
            yield ClosedDevice(path=str(file), group="unknown", is_member=False)
            continue
        mine = {os.getegid(), *os.getgroups()}
        yield ClosedDevice(path=str(file), group=_group_name(group_id), is_member=group_id in mine)


def _group_name(group_id: int) -> str:
    import grp

    try:
        return grp.getgrgid(group_id).gr_name
    except KeyError:
        return str(group_id)
