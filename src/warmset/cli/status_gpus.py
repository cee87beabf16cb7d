"""A GPU in a table, and whose bytes are on it in one line."""

from __future__ import annotations

from warmset.cli.render import Column, Row, printable
from warmset.cli.status_json import budget_of
from warmset.core.host.attribution import Attribution, Owner
from warmset.core.host.readings import GpuReading
from warmset.core.model import Quality, Reading
from warmset.core.settings import Settings
from warmset.core.units import format_bytes, format_seconds
from warmset.shell.footprints import name_share
from warmset.shell.observe import Seen

DEVICE_COLUMNS = (
    Column(key="index", title="GPU"),
    Column(key="name", title="DEVICE"),
    Column(key="total", title="TOTAL", right=True),
    Column(key="free", title="FREE", right=True),
    Column(key="budget", title="BUDGET", right=True),
    Column(key="state", title="STATE"),
    Column(key="library", title="LIBRARY", wide=True),
    Column(key="id", title="ID", wide=True),
    Column(key="pci", title="PCI", wide=True),
    Column(key="kind", title="MEMORY", wide=True),
)
LONGEST_LIST = 3
"""Names of one kind in a line about a GPU; the rest is counted."""

_PART_NAMES = {
    Owner.MODEL: "models",
    Owner.RUNNER: "other runners",
    Owner.FOREIGN: "foreign",
    Owner.RESERVED: "reserved",
    Owner.DRAINING: "draining",
    Owner.UNATTRIBUTED: "unattributed",
}
_NAMED = frozenset((Owner.MODEL, Owner.RUNNER, Owner.FOREIGN))


def device_row(reading: GpuReading, settings: Settings) -> Row:
    """Returns the cells of one GPU."""
    device = reading.device
    return {
        "index": device.index,
        "name": device.name,
        "total": show_bytes(device.total_bytes),
        "free": show_bytes(device.free_bytes),
        "budget": format_bytes(budget_of(device, settings)),
        "state": "" if reading.state.value == "ok" else reading.state.value,
        "library": device.library,
        "id": device.id,
        "pci": device.pci_id,
        "kind": reading.memory_kind.value,
    }


def show_bytes(reading: Reading[int]) -> str:
    """Returns bytes that look less certain the less they are: `~` estimates, old ones say so."""
    text = format_bytes(reading.value)
    if reading.quality is Quality.STALE:
        return f"{text} ({format_seconds(reading.age_seconds)} old)"
    return f"~{text}" if reading.quality is Quality.ESTIMATE else text


def label(reading: GpuReading) -> str:
    """Returns a name that only one GPU of a host has: MIG slices share the index of their card."""
    device = reading.device
    name = device.name if device.index is None else f"GPU {device.index}"
    return name if reading.parent_id is None else f"{name} {device.id}"


def describe_split(reading: GpuReading, seen: Seen) -> str:
    """Returns whose bytes are on a GPU in one line; nothing where nobody holds any."""
    device = reading.device
    whose = seen.picture.attributions.get(device.id)
    if whose is None or not whose.shares:
        return ""
    parts = [part for owner in Owner if (part := _part(whose, owner, seen))]
    if whose.excess_bytes:
        parts.append(f"{format_bytes(whose.excess_bytes)} of it counted twice")
    name = label(reading)
    free = format_bytes(device.free_bytes.value)
    stale = ", as of the last answer" if whose.taken.quality is Quality.STALE else ""
    return printable(f"{name}: {', '.join(parts)}, free {free}{stale}")


def _part(whose: Attribution, owner: Owner, seen: Seen) -> str:
    shares = [share for share in whose.shares if share.owner is owner]
    if not shares:
        return ""
    uncounted = sum(share.used_bytes is None for share in shares)
    count = whose.sum_bytes(owner)
    text = f"{_PART_NAMES[owner]} {format_bytes(count) if count or not uncounted else 'unknown'}"
    if uncounted and count:
        text += f" and {uncounted} without a count"
    largest = sorted(shares, key=lambda share: -(share.used_bytes or 0)) if owner in _NAMED else ()
    names = list(dict.fromkeys(name_share(share, seen) for share in largest))
    more = [f"{len(names) - LONGEST_LIST} more"] if len(names) > LONGEST_LIST else []
    return f"{text} ({', '.join(names[:LONGEST_LIST] + more)})" if names else text
