"""What `warmset status` shows to people: the GPUs, whose bytes are on them, what is resident.

Columns and sections that would say nothing are left out; `-o wide` shows every reading.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from warmset.cli.render import Column, Row, table
from warmset.cli.status_gpus import DEVICE_COLUMNS, describe_split, device_row
from warmset.cli.status_models import (
    MODEL_COLUMNS,
    RUNNER_COLUMNS,
    USE_COLUMNS,
    resident_row,
    runner_row,
    use_row,
)
from warmset.core.host.runners import Phase
from warmset.core.settings import Settings
from warmset.shell.observe import Seen

OPTIONAL = frozenset(("state", "observed", "use"))
"""Columns that are left out where no row has a word for them."""


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
    devices = [device_row(reading, settings) for reading in seen.survey.readings]
    if devices:
        yield devices, DEVICE_COLUMNS
    lines = [line for reading in seen.survey.readings if (line := describe_split(reading, seen))]
    if lines:
        yield "\n".join(lines), ()
    residents = seen.observation.residents
    if residents is None:
        yield "resident models: unknown", ()
    elif not residents:
        yield f"no model is resident; {len(seen.observation.entries)} installed", ()
    else:
        yield [resident_row(resident, seen, settings) for resident in residents], MODEL_COLUMNS
    others = [r for r in seen.picture.runners if wide or r.phase is not Phase.RESIDENT]
    if others:
        yield [runner_row(runner, seen) for runner in others], RUNNER_COLUMNS
    if wide and seen.picture.use:
        yield [use_row(use, seen) for use in seen.picture.use], USE_COLUMNS
    if wide:
        from warmset.cli.status_readings import READING_COLUMNS, reading_rows

        yield list(reading_rows(seen)), READING_COLUMNS


def _telling(rows: Sequence[Row], columns: tuple[Column, ...]) -> tuple[Column, ...]:
    return tuple(c for c in columns if c.key not in OPTIONAL or any(r[c.key] for r in rows))


def format_moment(at: float) -> str:
    """Returns Unix seconds as a time of day in UTC."""
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at, tz=UTC):%H:%M:%S} UTC"
