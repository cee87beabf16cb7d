"""`warmset add MODEL --dry-run`: what a model that is not here yet would change. Reads only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.commands.fit import print_fit
from warmset.cli.exits import ExitCode
from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Output, emit, emit_names, say

if TYPE_CHECKING:
    from warmset.shell.newcomer_report import Report


def command(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="NAME|PATH|URL", help="A model, here or not.")],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only report; warmset never pulls a model.")
    ] = False,
    context: Annotated[int | None, typer.Option("--context", "--ctx", min=1)] = None,
    parallel: Annotated[int | None, typer.Option("--parallel", min=1, max=256)] = None,
    priority: Annotated[int | None, typer.Option("--priority", min=0, max=1000)] = None,
    requests_per_day: Annotated[
        float | None, typer.Option("--requests-per-day", min=0.0, max=1e9, help="Expected demand.")
    ] = None,
    kv_type: Annotated[
        str, typer.Option("--kv-type", help="Cache type of the server, such as q8_0.")
    ] = "",
    html: Annotated[
        str, typer.Option("--html", metavar="FILE", help="Write the report as one page, too.")
    ] = "",
    offline: Annotated[bool, typer.Option("--offline", help="Ask no registry.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Report what adding a model would change: does it fit, where, and whom it pushes out."""
    from warmset.core.planner.result import Verdict
    from warmset.errors import Refused
    from warmset.shell.adding import Asked, report_for

    if not dry_run:
        raise Refused(
            "add changes nothing by itself: a model is added by `ollama pull`",
            hint=f"warmset add {model} --dry-run reports what it would change.",
        )
    asked = Asked(
        name=model,
        context=context,
        parallel=parallel,
        priority=priority,
        requests_per_day=requests_per_day,
        kv_type=kv_type,
        offline=offline,
    )
    report = report_for(asked, settings_of(ctx), os.environ)
    if html:
        from warmset.cli.add_page import render_page

        _write(Path(html), render_page(report))
    _show(ctx, report, output, context=context)
    if report.outcome.fit.verdict in (Verdict.REFUSED, Verdict.SPILLS):
        raise typer.Exit(ExitCode.REFUSED)


def _show(ctx: typer.Context, report: Report, output: Output, *, context: int | None) -> None:
    from warmset.cli.add_text import VERDICTS, describe, print_report
    from warmset.shell.newcomer import notes_on_context

    options, outcome, decision = options_of(ctx), report.outcome, report.decision
    if output is Output.JSON:
        emit(describe(report))
        return
    if output is Output.NAME:
        emit_names(outcome.pushed_out)
        return
    is_wide = output is Output.WIDE
    print(f"verdict: {VERDICTS[outcome.fit.verdict.value]}")
    print_fit(outcome.fit, decision.host, wide=is_wide, no_color=options.no_color)
    print_report(report, no_color=options.no_color)
    for note in (*decision.notes, *notes_on_context([report.entry], context)):
        say(f"note: {note}", quiet=options.quiet)


def _write(path: Path, text: str) -> None:
    from warmset.errors import ConfigError

    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: the page cannot be written: {error.strerror or error}",
            hint="name a file in a folder that you may write",
        ) from error
