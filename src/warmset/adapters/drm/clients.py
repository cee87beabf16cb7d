"""Which process holds how much of which GPU, from /proc/PID/fdinfo.

Source: kernel documentation "DRM client usage stats": keys, units, and that a client counts once
however many descriptors of it there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from warmset.core.host.readings import normalise_pci

UNITS: Final = {"": 1, "kib": 1 << 10, "mib": 1 << 20}
OWN_MEMORY: Final = ("vram", "vram0", "vram1", "local0")
NS_PER_SECOND: Final = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientUse:
    """What one process holds on one GPU; `None` where the driver does not count."""

    pid: int
    pci_id: str
    used_bytes: int | None
    busy_seconds: float | None
    is_compute: bool


def read_clients(proc: Path) -> tuple[tuple[ClientUse, ...], bool]:
    """Returns the use of every readable process, and whether all could be read.

    A client held by two processes (a descriptor inherited over fork) counts for the first, so
    that no byte is counted twice.
    """
    found: list[ClientUse] = []
    is_complete = True
    seen: set[tuple[str, str]] = set()
    for pid in sorted(int(p.name) for p in proc.glob("[0-9]*") if p.name.isdecimal()):
        try:
            texts = list(_fdinfo(proc / str(pid) / "fdinfo"))
        except PermissionError:
            is_complete = False
            continue
        except OSError:
            continue  # it ended while we looked
        found += _use_of(pid, texts, seen)
    return tuple(found), is_complete


def _fdinfo(folder: Path) -> Iterator[Mapping[str, str]]:
    for file in folder.iterdir():
        try:
            text = file.read_text("ascii", "replace")
        except FileNotFoundError:
            continue  # closed while we looked
        if "drm-driver:" in text:
            rows = (line.partition(":") for line in text.splitlines())
            yield {key.strip(): value.strip() for key, _, value in rows}


def _use_of(
    pid: int, texts: Iterable[Mapping[str, str]], seen: set[tuple[str, str]]
) -> Iterator[ClientUse]:
    by_card: dict[str, list[Mapping[str, str]]] = {}
    for rows in texts:
        pci_id = normalise_pci(rows.get("drm-pdev", ""))
        client = rows.get("drm-client-id", "")
        if not pci_id or not client or (pci_id, client) in seen:
            continue
        seen.add((pci_id, client))
        by_card.setdefault(pci_id, []).append(rows)
    for pci_id, clients in by_card.items():
        counts = [count_memory(rows) for rows in clients]
        known = [count for count in counts if count is not None]
        yield ClientUse(
            pid=pid,
            pci_id=pci_id,
            used_bytes=sum(known) if len(known) == len(counts) else None,
            busy_seconds=_count_busy(clients),
            is_compute=any("drm-engine-compute" in rows for rows in clients),
        )


def count_memory(rows: Mapping[str, str]) -> int | None:
    """Returns a client's bytes in the card's own memory, `None` if it does not tell.

    Newer kernels say `drm-resident-REGION`, older ones `drm-memory-REGION`.
    """
    for prefix in ("drm-resident-", "drm-memory-"):
        counts = [
            count
            for region in OWN_MEMORY
            if (count := _parse_size(rows.get(prefix + region, ""))) is not None
        ]
        if counts:
            return sum(counts)
    return None


def _parse_size(text: str) -> int | None:
    number, _, unit = text.partition(" ")
    factor = UNITS.get(unit.strip().lower())
    return int(number) * factor if number.isdecimal() and factor else None


def _count_busy(clients: Iterable[Mapping[str, str]]) -> float | None:
    """Returns engine seconds over all engines, from rows such as `drm-engine-gfx: 123 ns`."""
    counts = [
        int(value.split()[0])
        for rows in clients
        for key, value in rows.items()
        if key.startswith("drm-engine-") and value.endswith(" ns") and value.split()[0].isdecimal()
    ]
    return sum(counts) / NS_PER_SECOND if counts else None
