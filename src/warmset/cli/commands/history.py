"""`warmset history`: what was done and seen on a host, from the journal. Reads only."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

if TYPE_CHECKING:
    from warmset.adapters.journal import EventRow, LoadRow
    from warmset.shell.daily import Day
    from warmset.shell.pages import Story

COLUMNS = (
    Column(key="at", title="WHEN"),
    Column(key="kind", title="WHAT"),
    Column(key="name", title="MODEL"),
    Column(key="severity", title="LEVEL", wide=True),
    Column(key="decision", title="DECISION", right=True, wide=True),
    Column(key="text", title="WHY"),
)

DAY_COLUMNS = (
    Column(key="day", title="DAY"),
    Column(key="model", title="MODEL"),
    Column(key="uses", title="USES", right=True),
    Column(key="loads", title="LOADS", right=True),
    Column(key="cold_starts", title="COLD STARTS", right=True),
    Column(key="waited", title="WAITED", right=True),
    Column(key="evictions", title="EVICTIONS", right=True),
    Column(key="expired", title="EXPIRED", right=True),
)


def command(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="[MODEL]", help="Only of this model.")] = "",
    *,
    since: Annotated[
        str, typer.Option("--since", metavar="DURATION", help="Not longer ago, such as 2h or 3d.")
    ] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, help="The last so many.")
    ] = 50,
    decision: Annotated[
        int,
        typer.Option("--decision", metavar="N", min=0, help="One decision whole, always as JSON."),
    ] = 0,
    daily: Annotated[
        bool, typer.Option("--daily", help="Uses, loads, cold starts and waiting by day and model.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what warmset did and saw on this host, oldest first."""
    from warmset.cli.durations import parse_seconds
    from warmset.core.model import normalise_name
    from warmset.shell.daily import sum_up
    from warmset.shell.demand_history import load_demand
    from warmset.shell.pages import read_decision, read_story
    from warmset.shell.wiring import connect

    options = options_of(ctx)
    oldest = time.time() - parse_seconds(since, "--since") if since else 0.0
    connection = connect(settings_of(ctx), environ=os.environ)
    try:
        if decision:
            emit(read_decision(os.environ, connection.server.url, decision))
            return
        name = normalise_name(model) if model else ""
        url = connection.server.url
        story = read_story(os.environ, url, name=name, since=oldest, limit=limit)
        days = sum_up(load_demand(os.environ, url, oldest), model=name)
    finally:
        connection.close()
    if output is Output.JSON:
        emit({**describe(story), "days": [day_document(day) for day in days]})
    elif output is Output.NAME:
        emit_names(sorted({event.name for event in story.events if event.name}))
    elif not (days if daily else story.events):
        of = f" of {model}" if model else " of this host"
        when = f", for {since}" if since else ""
        what = "demand" if daily else "event"
        say(f"no {what}{of} is kept{when}: {story.folder}", quiet=options.quiet)
    elif daily:
        _print_days(days, no_color=options.no_color)
    else:
        _print(story, wide=output is Output.WIDE, no_color=options.no_color)


def _print(story: Story, *, wide: bool, no_color: bool) -> None:
    from warmset.cli.durations import clock_text

    rows = [
        {
            "at": clock_text(event.at),
            "kind": event.kind,
            "name": event.name,
            "severity": event.severity,
            "decision": event.decision,
            "text": event.text,
        }
        for event in story.events
    ]
    table(rows, COLUMNS, wide=wide, no_color=no_color)


def _print_days(days: tuple[Day, ...], *, no_color: bool) -> None:
    rows = [{**day_document(day), "waited": _waited(day)} for day in days]
    table(rows, DAY_COLUMNS, no_color=no_color)


def _waited(day: Day) -> str:
    """Returns the waiting as far as load times are known: what is not known is no zero."""
    from warmset.core.units import format_seconds

    if day.untimed_starts == 0:
        return format_seconds(day.waited_seconds)
    known = day.cold_starts - day.untimed_starts
    return f"at least {format_seconds(day.waited_seconds)}" if known else "unknown"


def day_document(day: Day) -> dict[str, object]:
    """Returns one day of one model as it stands in JSON. Units: seconds."""
    return {
        "day": day.day,
        "model": day.model,
        "uses": day.uses,
        "loads": day.loads,
        "cold_starts": day.cold_starts,
        "waited_seconds": round(day.waited_seconds, 3),
        "untimed_cold_starts": day.untimed_starts,
        "evictions": day.evictions,
        "expired": day.expired,
    }


def describe(story: Story) -> dict[str, object]:
    """Returns the document of `-o json`."""
    return {
        "folder": story.folder,
        "holder": None
        if story.holder is None
        else {
            "pid": story.holder.pid,
            "since": story.holder.since,
            "verb": story.holder.verb,
            "config": story.holder.config or None,
        },
        "events": [event_document(event) for event in story.events],
        "loads": [load_document(load) for load in story.loads],
    }


def event_document(event: EventRow) -> dict[str, object]:
    """Returns one event as it stands in JSON."""
    return {
        "id": event.id,
        "at": event.at,
        "decision": event.decision,
        "kind": event.kind,
        "severity": event.severity,
        "key": event.key or None,
        "name": event.name or None,
        "text": event.text,
        "basis": dict(event.basis),
    }


def load_document(load: LoadRow) -> dict[str, object]:
    """Returns one load as it stands in JSON. Units: bytes, seconds."""
    return {
        "at": load.at,
        "key": load.key,
        "name": load.name,
        "outcome": load.outcome,
        "predicted_bytes": load.predicted_bytes,
        "upper_bytes": load.upper_bytes,
        "actual_bytes": load.actual_bytes,
        "predicted_seconds": load.predicted_seconds,
        "actual_seconds": load.actual_seconds,
    }
