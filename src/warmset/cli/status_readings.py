"""Every reading of a look in a table, with its quality, age, source and reason."""

from __future__ import annotations

from collections.abc import Iterator

from warmset.cli.render import Column, Row
from warmset.cli.status_gpus import label
from warmset.cli.status_json import count_processes
from warmset.core.host.observed import observe_model
from warmset.core.model import Reading
from warmset.core.units import format_bytes, format_seconds
from warmset.shell.observe import Seen

READING_COLUMNS = (
    Column(key="subject", title="READING"),
    Column(key="value", title="VALUE", right=True),
    Column(key="quality", title="QUALITY"),
    Column(key="age", title="AGE", right=True),
    Column(key="source", title="SOURCE"),
    Column(key="reason", title="REASON"),
)


def reading_rows(seen: Seen) -> Iterator[Row]:
    """Yields the cells of each reading: GPUs, residents, RAM."""
    for reading in seen.survey.readings:
        device = reading.device
        name = label(reading)
        yield _row(f"{name} total", device.total_bytes)
        yield _row(f"{name} free", device.free_bytes)
        yield _row(f"{name} used", reading.used_bytes)
        yield _row(f"{name} reserved", reading.reserved_bytes)
        yield _row(f"{name} utilization", reading.utilization)
        yield _row(f"{name} processes", count_processes(reading), is_count=True)
    for resident in seen.observation.residents or ():
        yield _row(f"{resident.name} observed", observe_model(seen.picture, resident))
    memory = seen.survey.memory
    yield _row("RAM for the server", memory.memory.total_bytes)
    yield _row("RAM available to it", memory.memory.available_bytes)
    yield _row("RAM left by CPU models", seen.observation.memory.available_bytes)
    yield _row("RAM of the host", memory.host_total_bytes)
    yield _row("RAM limit", memory.limit_bytes)
    yield _row("swap free", memory.swap_free_bytes)
    yield _row("memory pressure", memory.pressure_ratio)
    yield _row("ZFS cache", memory.reclaimable_cache_bytes)


def _row(subject: str, reading: Reading[int] | Reading[float], *, is_count: bool = False) -> Row:
    value = reading.value
    text = f"{value:.0%}" if isinstance(value, float) else format_bytes(value)
    return {
        "subject": subject,
        "value": str(value) if is_count and value is not None else text,
        "quality": reading.quality.value,
        "age": format_seconds(reading.age_seconds),
        "source": reading.source,
        "reason": reading.reason,
    }
