"""What `warmset status` shows to people: the GPUs, whose bytes are on them, what is resident.

Columns and sections that would say nothing are left out; `-o wide` shows every reading.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from warmset.cli.render import Column, printable, table
from warmset.cli.status_json import budget_of
from warmset.core.host.attribution import Attribution, Owner
from warmset.core.host.evidence import Strength, Use
from warmset.core.host.observed import observe_model
from warmset.core.host.readings import GpuReading
from warmset.core.host.runners import Phase, Runner
from warmset.core.model import Quality, Reading, Resident
from warmset.core.settings import Settings
from warmset.core.units import format_bytes, format_seconds
from warmset.shell.footprints import entry_of, estimate_resident, name_runner, name_share
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
MODEL_COLUMNS = (
    Column(key="name", title="NAME"),
    Column(key="digest", title="ID"),
    Column(key="size", title="SIZE", right=True),
    Column(key="size_gb", title="SIZE GB", right=True, wide=True),
    Column(key="processor", title="PROCESSOR"),
    Column(key="context", title="CONTEXT", right=True),
    Column(key="until", title="UNTIL"),
    Column(key="footprint", title="FOOTPRINT", right=True),
    Column(key="observed", title="OBSERVED", right=True),
    Column(key="use", title="USE"),
    Column(key="priority", title="PRIORITY", right=True),
    Column(key="pin", title="PIN"),
    Column(key="pid", title="PID", right=True, wide=True),
    Column(key="names", title="ALSO", wide=True),
)
RUNNER_COLUMNS = (
    Column(key="pid", title="RUNNER"),
    Column(key="name", title="MODEL"),
    Column(key="phase", title="PHASE"),
    Column(key="holds", title="HOLDS", right=True),
    Column(key="reason", title="WHY"),
)
USE_COLUMNS = (
    Column(key="name", title="USE OF"),
    Column(key="sign", title="SIGN"),
    Column(key="strength", title="STRENGTH"),
    Column(key="means", title="MEANS"),
    Column(key="reason", title="WHY"),
)
READING_COLUMNS = (
    Column(key="subject", title="READING"),
    Column(key="value", title="VALUE", right=True),
    Column(key="quality", title="QUALITY"),
    Column(key="age", title="AGE", right=True),
    Column(key="source", title="SOURCE"),
    Column(key="reason", title="REASON"),
)
OPTIONAL = frozenset(("state", "observed", "use"))
"""Columns that are left out where no row has a word for them."""

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

Row = Mapping[str, object]


def print_status(seen: Seen, settings: Settings, *, wide: bool, no_color: bool) -> None:
    """Prints one look; sections are separated by an empty line."""
    sections = list(_sections(seen, settings, wide=wide))
    for number, (rows, columns) in enumerate(sections):
        if number:
            print()
        if isinstance(rows, str):
            print(rows)
        else:
            table(rows, _telling(rows, columns), wide=wide, no_color=no_color)


def _sections(
    seen: Seen, settings: Settings, *, wide: bool
) -> Iterator[tuple[Sequence[Row] | str, tuple[Column, ...]]]:
    devices = [_device_row(reading, settings) for reading in seen.survey.readings]
    if devices:
        yield devices, DEVICE_COLUMNS
    lines = [line for reading in seen.survey.readings if (line := _split(reading, seen))]
    if lines:
        yield "\n".join(lines), ()
    residents = seen.observation.residents
    if residents is None:
        yield "resident models: unknown", ()
    elif not residents:
        yield f"no model is resident; {len(seen.observation.entries)} installed", ()
    else:
        yield [_resident_row(resident, seen, settings) for resident in residents], MODEL_COLUMNS
    others = [r for r in seen.picture.runners if wide or r.phase is not Phase.RESIDENT]
    if others:
        yield [_runner_row(runner, seen) for runner in others], RUNNER_COLUMNS
    if wide and seen.picture.use:
        yield [_use_row(use, seen) for use in seen.picture.use], USE_COLUMNS
    if wide:
        yield list(_reading_rows(seen)), READING_COLUMNS


def _telling(rows: Sequence[Row], columns: tuple[Column, ...]) -> tuple[Column, ...]:
    return tuple(c for c in columns if c.key not in OPTIONAL or any(r[c.key] for r in rows))


# -- GPUs --------------------------------------------------------------------------------------


def _device_row(reading: GpuReading, settings: Settings) -> Row:
    device = reading.device
    return {
        "index": device.index,
        "name": device.name,
        "total": _trusted(device.total_bytes),
        "free": _trusted(device.free_bytes),
        "budget": format_bytes(budget_of(device, settings)),
        "state": "" if reading.state.value == "ok" else reading.state.value,
        "library": device.library,
        "id": device.id,
        "pci": device.pci_id,
        "kind": reading.memory_kind.value,
    }


def _trusted(reading: Reading[int]) -> str:
    """Returns bytes that look less certain the less they are: `~` estimates, old ones say so."""
    text = format_bytes(reading.value)
    if reading.quality is Quality.STALE:
        return f"{text} ({format_seconds(reading.age_seconds)} old)"
    return f"~{text}" if reading.quality is Quality.ESTIMATE else text


def _split(reading: GpuReading, seen: Seen) -> str:
    """Returns whose bytes are on a GPU in one line; nothing where nobody holds any."""
    device = reading.device
    whose = seen.picture.attributions.get(device.id)
    if whose is None or not whose.shares:
        return ""
    parts = [part for owner in Owner if (part := _part(whose, owner, seen))]
    if whose.excess_bytes:
        parts.append(f"{format_bytes(whose.excess_bytes)} of it counted twice")
    name = f"GPU {device.index}" if device.index is not None else device.name
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


# -- models and runners ------------------------------------------------------------------------


def _resident_row(resident: Resident, seen: Seen, settings: Settings) -> Row:
    entry = entry_of(resident, seen)
    policy = settings.policy_for(entry.names if entry else (resident.name,))
    size = resident.size_bytes
    observed = observe_model(seen.picture, resident)
    runner = next((r for r in seen.picture.runners if r.resident == resident), None)
    return {
        "name": resident.name,
        "digest": resident.manifest_digest[:12],
        "size": format_bytes(size),
        "size_gb": None if size is None else f"{size / 1e9:.1f} GB",
        "processor": processor(resident),
        "context": resident.context,
        "until": until(resident.expires_at, seen.observation.at),
        "footprint": format_bytes(estimate_resident(resident, entry, seen)),
        "observed": "" if observed.value is None else _trusted(observed),
        "use": _use([use for use in seen.picture.use if use.key == resident.key]),
        "priority": policy.priority,
        "pin": "yes" if policy.pin else "",
        "pid": runner.process.pid if runner else None,
        "names": ", ".join(n for n in entry.names if n != resident.name) if entry else "",
    }


def _use(signs: Sequence[Use]) -> str:
    """Returns the best that can be said of a model's use; silence is no proof of idleness."""
    order = list(Strength)
    best = min(signs, key=lambda use: (not use.is_busy, order.index(use.strength)), default=None)
    if best is None:
        return ""
    return f"{'busy' if best.is_busy else 'used'} ({best.strength}: {best.sign})"


def _runner_row(runner: Runner, seen: Seen) -> Row:
    shares = [s for a in seen.picture.attributions.values() for s in a.shares]
    held = [s.used_bytes for s in shares if s.pid == runner.process.pid]
    known = [count for count in held if count is not None]
    return {
        "pid": f"PID {runner.process.pid}",
        "name": name_runner(runner, seen),
        "phase": runner.phase.value,
        "holds": format_bytes(sum(known)) if known else None,
        "reason": runner.reason,
    }


def _use_row(use: Use, seen: Seen) -> Row:
    name = next((e.name for e in seen.observation.entries if e.key == use.key), use.key)
    return {
        "name": name,
        "sign": use.sign.value,
        "strength": use.strength.value,
        "means": "busy now" if use.is_busy else "used since the last look",
        "reason": use.reason,
    }


def processor(resident: Resident) -> str:
    """Returns where the model sits, in the words of `ollama ps`.

    Source: Ollama v0.33 `cmd/cmd.go: ListRunningHandler`.
    """
    size, vram = resident.size_bytes, resident.size_vram_bytes
    if not size or vram is None:
        return "unknown"
    if vram == 0:
        return "100% CPU"
    if vram >= size:
        return "100% GPU"
    cpu = round((size - vram) / size * 100)
    return f"{cpu}%/{100 - cpu}% CPU/GPU"


def until(expires_at: float | None, now: float) -> str:
    """Returns when the keep-alive ends, as `ollama ps` says it; a past end means in use."""
    if expires_at is None:
        return "unknown"
    if math.isinf(expires_at):
        return "forever"
    left = expires_at - now
    return format_seconds(left) if left > 0 else "in use or stopping"


# -- every reading -----------------------------------------------------------------------------


def _reading_rows(seen: Seen) -> Iterator[Row]:
    for reading in seen.survey.readings:
        device = reading.device
        name = f"GPU {device.index}" if device.index is not None else device.name
        yield _reading_row(f"{name} total", device.total_bytes)
        yield _reading_row(f"{name} free", device.free_bytes)
        yield _reading_row(f"{name} used", reading.used_bytes)
        yield _reading_row(f"{name} reserved", reading.reserved_bytes)
        yield _reading_row(f"{name} utilization", reading.utilization)
    for resident in seen.observation.residents or ():
        yield _reading_row(f"{resident.name} observed", observe_model(seen.picture, resident))
    memory = seen.survey.memory
    yield _reading_row("RAM for the server", memory.memory.total_bytes)
    yield _reading_row("RAM available to it", memory.memory.available_bytes)
    yield _reading_row("RAM left by CPU models", seen.observation.memory.available_bytes)
    yield _reading_row("RAM of the host", memory.host_total_bytes)
    yield _reading_row("RAM limit", memory.limit_bytes)
    yield _reading_row("swap free", memory.swap_free_bytes)
    yield _reading_row("memory pressure", memory.pressure_ratio)
    yield _reading_row("ZFS cache", memory.reclaimable_cache_bytes)


def _reading_row(subject: str, reading: Reading[int] | Reading[float]) -> Row:
    value = reading.value
    return {
        "subject": subject,
        "value": f"{value:.0%}" if isinstance(value, float) else format_bytes(value),
        "quality": reading.quality.value,
        "age": format_seconds(reading.age_seconds),
        "source": reading.source,
        "reason": reading.reason,
    }


def format_moment(at: float) -> str:
    """Returns Unix seconds as a time of day in UTC."""
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at, tz=UTC):%H:%M:%S} UTC"
