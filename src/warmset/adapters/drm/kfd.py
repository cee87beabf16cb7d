"""The kernel's driver for ROCm: which GPUs it can use, and what its processes hold on them.

Source: devices.md section 4 (`proc/PID/vram_GPUID` in bytes); the kernel's `kfd_topology.c` (a
node's `location_id` is bus << 8 | device << 3 | function, `gfx_target_version` is 10000 times the
major version, 100 times the minor one, and the stepping; the CPU's nodes have the id 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class KfdUse:
    """What one ROCm process holds on one GPU; `pci_id` is `None` if the GPU is not told."""

    pid: int
    pci_id: str | None
    used_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KfdNode:
    """A GPU that ROCm can use.

    Attributes:
        compute: its kind as ROCm and Ollama write it, such as "gfx1151"; empty if it is not told.
    """

    pci_id: str
    compute: str


def read_uses(folder: Path) -> tuple[KfdUse, ...]:
    """Returns what ROCm processes hold, by process and GPU.

    Args:
        folder: /sys/class/kfd/kfd.
    """
    nodes = read_nodes(folder)
    found: list[KfdUse] = []
    for file in sorted(folder.glob("proc/[0-9]*/vram_*")):
        text = _read_text(file)
        pid = file.parent.name
        if pid.isdecimal() and text.isdecimal():
            node = nodes.get(file.name.removeprefix("vram_"))
            found.append(
                KfdUse(pid=int(pid), pci_id=node.pci_id if node else None, used_bytes=int(text))
            )
    return tuple(found)


def read_nodes(folder: Path) -> dict[str, KfdNode]:
    """Returns the GPUs of the topology by kfd's own id.

    Args:
        folder: /sys/class/kfd/kfd.
    """
    found: dict[str, KfdNode] = {}
    for node in folder.glob("topology/nodes/*"):
        gpu_id = _read_text(node / "gpu_id")
        rows = dict(
            line.split(" ", 1)
            for line in _read_text(node / "properties").splitlines()
            if " " in line
        )
        place = _number(rows.get("location_id"))
        if gpu_id in {"", "0"} or place is None:
            continue
        domain = _number(rows.get("domain")) or 0
        bus, slot, function = place >> 8 & 0xFF, place >> 3 & 0x1F, place & 0x7
        found[gpu_id] = KfdNode(
            pci_id=f"{domain:04x}:{bus:02x}:{slot:02x}.{function}",
            compute=_compute(_number(rows.get("gfx_target_version"))),
        )
    return found


def _compute(version: int | None) -> str:
    if not version:
        return ""
    return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _read_text(file: Path) -> str:
    try:
        return file.read_text("ascii", "replace").strip()
    except OSError:
        return ""
