"""`warmset check`: is the configuration right, and does it hold on the host it names?"""

from __future__ import annotations

import typer

from warmset.cli.exits import ExitCode
from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, table

COLUMNS = (
    Column(key="result", title="RESULT"),
    Column(key="subject", title="CHECK"),
    Column(key="detail", title="DETAIL"),
)


def command(ctx: typer.Context, *, output: OutputOption = Output.TABLE) -> None:
    """Check the configuration against the host: names, GPUs, budget, pins. Changes nothing."""
    from warmset.shell.checkup import Result, check_host
    from warmset.shell.observe import look

    settings = settings_of(ctx)
    findings = check_host(look(settings), settings)
    failed = any(finding.result is Result.FAIL for finding in findings)
    if output is Output.JSON:
        emit(
            {
                "ok": not failed,
                "checks": [
                    {"result": f.result.value, "check": f.subject, "detail": f.detail}
                    for f in findings
                ],
            }
        )
    elif output is Output.NAME:
        emit_names([f.subject for f in findings if f.result is not Result.OK])
    else:
        rows = [
            {"result": f.result.value, "subject": f.subject, "detail": f.detail} for f in findings
        ]
        table(rows, COLUMNS, no_color=options_of(ctx).no_color)
    if failed:
        raise typer.Exit(ExitCode.REFUSED)
