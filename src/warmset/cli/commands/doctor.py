"""`warmset doctor`: every probe of the host, its result, and what to do about it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from warmset.cli.exits import ExitCode
from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

if TYPE_CHECKING:
    from warmset.shell.doctor_advice import Advice
    from warmset.shell.doctor_probe import Probe

COLUMNS = (
    Column(key="health", title="RESULT"),
    Column(key="area", title="AREA"),
    Column(key="name", title="PROBE"),
    Column(key="detail", title="DETAIL"),
)

ADVICE_COLUMNS = (
    Column(key="set", title="START OLLAMA WITH"),
    Column(key="now", title="NOW"),
    Column(key="why", title="WHY"),
)

HINT_COLUMNS = (
    Column(key="name", title="ABOUT"),
    Column(key="hint", title="TRY"),
)


def command(ctx: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """Examine server, drivers, permissions, memory limits and settings. Changes nothing."""
    from warmset.shell.doctor import examine, recommend
    from warmset.shell.doctor_probe import Health
    from warmset.shell.wiring import connect

    settings = settings_of(ctx)
    connection = connect(settings, environ=os.environ)
    try:
        probes = examine(connection, settings, environ=os.environ)
        advice = recommend(connection, settings)
    finally:
        connection.close()
    options = options_of(ctx)
    failed = any(probe.health is Health.FAIL for probe in probes)
    if output is Output.JSON:
        emit({"ok": not failed, **_describe(probes, advice)})
    elif output is Output.NAME:
        emit_names([probe.name for probe in probes if probe.health is not Health.OK])
    else:
        _print(probes, advice, no_color=options.no_color, quiet=options.quiet)
    if failed:
        raise typer.Exit(ExitCode.REFUSED)


def _print(
    probes: Sequence[Probe], advice: Sequence[Advice], *, no_color: bool, quiet: bool
) -> None:
    rows = [
        {"health": p.health.value, "area": p.area, "name": p.name, "detail": p.detail}
        for p in probes
    ]
    table(rows, COLUMNS, no_color=no_color)
    hints = [{"name": p.name, "hint": p.hint} for p in probes if p.hint]
    if hints:
        print()
        table(hints, HINT_COLUMNS, no_color=no_color)
    if advice:
        print()
        set_to = [
            {"set": f"{one.name}={one.value}", "now": one.now, "why": one.why} for one in advice
        ]
        table(set_to, ADVICE_COLUMNS, no_color=no_color)
        say("as a service: systemctl edit ollama, [Service], Environment=NAME=VALUE", quiet=quiet)


def _describe(probes: Sequence[Probe], advice: Sequence[Advice]) -> dict[str, object]:
    return {
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
        "environment": [
            {"name": one.name, "value": one.value, "now": one.now, "why": one.why} for one in advice
        ],
    }
