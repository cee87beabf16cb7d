"""`warmset explain`: why is this model here, or why not? Reads only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.commands.pin import Model
from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, printable, table

if TYPE_CHECKING:
    from warmset.shell.explain import Explanation

EVENT_COLUMNS = (
    Column(key="at", title="WHEN"),
    Column(key="kind", title="WHAT"),
    Column(key="text", title="WHY"),
)


def command(
    ctx: typer.Context,
    model: Model,
    *,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1000, help="So many past events.")
    ] = 10,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell why a model is resident or not, what happened to it, what would bring it back."""
    from warmset.shell.explain import explain

    told = explain(settings_of(ctx), os.environ, model, limit=limit)
    if output is Output.JSON:
        emit(_describe(told))
    elif output is Output.NAME:
        emit_names([told.name])
    else:
        _print(told, no_color=options_of(ctx).no_color)


def _print(told: Explanation, *, no_color: bool) -> None:
    from warmset.cli.durations import clock_text

    print(printable(told.name))
    for title, lines in (
        ("now", told.here),
        ("wanted", told.wanted),
        ("would keep it" if told.is_resident else "would bring it back", told.back),
    ):
        for line in lines:
            print(f"  {title}: {printable(line)}")
    if told.events:
        print()
        rows = [
            {"at": clock_text(event.at), "kind": event.kind, "text": event.text}
            for event in told.events
        ]
        table(rows, EVENT_COLUMNS, no_color=no_color)


def _describe(told: Explanation) -> dict[str, object]:
    from warmset.cli.commands.history import event_document, load_document

    return {
        "name": told.name,
        "key": told.key,
        "is_resident": told.is_resident,
        "is_wanted": told.is_wanted,
        "now": list(told.here),
        "wanted": list(told.wanted),
        "would_bring_it_back": list(told.back),
        "events": [event_document(event) for event in told.events],
        "loads": [load_document(load) for load in told.loads],
    }
