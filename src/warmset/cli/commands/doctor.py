"""`warmset doctor`: every probe of the host, its result, and what to do about it."""

from __future__ import annotations

import os

import typer

from warmset.cli.exits import ExitCode
from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, table

COLUMNS = (
    Column(key="health", title="RESULT"),
    Column(key="area", title="AREA"),
    Column(key="name", title="PROBE"),
    Column(key="detail", title="DETAIL"),
)

HINT_COLUMNS = (
    Column(key="name", title="ABOUT"),
    Column(key="hint", title="TRY"),
)


def command(ctx: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """Examine server, drivers, permissions, memory limits and settings. Changes nothing."""
    from warmset.shell.doctor import examine
    from warmset.shell.doctor_probe import Health
    from warmset.shell.wiring import connect

    settings = settings_of(ctx)
    connection = connect(settings, environ=os.environ)
    try:
        probes = examine(connection, settings, environ=os.environ)
    finally:
        connection.close()
    failed = any(probe.health is Health.FAIL for probe in probes)
    if output is Output.JSON:
        emit(
            {
                "ok": not failed,
                "probes": [
                    {
                        "result": probe.health.value,
                        "area": probe.area,
                        "probe": probe.name,
                        "detail": probe.detail,
                        "hint": probe.hint,
                    }
                    for probe in probes
                ],
            }
        )
    elif output is Output.NAME:
        emit_names([probe.name for probe in probes if probe.health is not Health.OK])
    else:
        rows = [
            {"health": p.health.value, "area": p.area, "name": p.name, "detail": p.detail}
            for p in probes
        ]
        table(rows, COLUMNS, no_color=options_of(ctx).no_color)
        hints = [{"name": p.name, "hint": p.hint} for p in probes if p.hint]
        if hints:
            print()
            table(hints, HINT_COLUMNS, no_color=options_of(ctx).no_color)
    if failed:
        raise typer.Exit(ExitCode.REFUSED)
