"""`warmset add MODEL --dry-run`: what a model that is not here yet would change. Reads only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from warmset.cli.commands.fit import print_fit
from warmset.cli.exits import ExitCode
from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Output, emit, emit_names, say


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
    import os

    from warmset.cli.add_text import VERDICTS, describe, print_report
    from warmset.core.planner.result import Verdict
    from warmset.errors import Refused
    from warmset.shell.decide import locate
    from warmset.shell.newcomer import (
        find_newcomer,
        notes_on_context,
        with_demand_as_said,
        with_entry,
        with_policy,
    )
    from warmset.shell.newcomer_report import check_kv_type, report_on
    from warmset.shell.observe import look_closely

    if not dry_run:
        raise Refused(
            "add changes nothing by itself: a model is added by `ollama pull`",
            hint=f"warmset add {model} --dry-run reports what it would change.",
        )
    settings = settings_of(ctx)
    close = look_closely(settings)
    seen = close.observation
    entry = find_newcomer(seen, model, os.environ, offline=offline)
    settings = with_policy(
        settings,
        entry.name,
        context=context,
        parallel=parallel,
        priority=priority,
        requests_per_day=requests_per_day,
    )
    seen = with_entry(seen, entry)
    if requests_per_day is not None:
        seen = with_demand_as_said(seen, entry)
    if kv_type:
        seen = replace(seen, settings=replace(seen.settings, kv_cache_type=check_kv_type(kv_type)))
    report = report_on(seen, settings, locate(close), entry)
    outcome, decision = report.outcome, report.decision
    if html:
        from warmset.cli.add_page import render_page

        _write(Path(html), render_page(report))
    if output is Output.JSON:
        emit(describe(report))
    elif output is Output.NAME:
        emit_names(outcome.pushed_out)
    else:
        options = options_of(ctx)
        print(f"verdict: {VERDICTS[outcome.fit.verdict.value]}")
        print_fit(
            outcome.fit,
            decision.host,
            wide=output is Output.WIDE,
            no_color=options.no_color,
        )
        print_report(report, no_color=options.no_color)
        for note in (*decision.notes, *notes_on_context([entry], context)):
            say(f"note: {note}", quiet=options.quiet)
    if outcome.fit.verdict in (Verdict.REFUSED, Verdict.SPILLS):
        raise typer.Exit(ExitCode.REFUSED)


def _write(path: Path, text: str) -> None:
    from warmset.errors import ConfigError

    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path}: the page cannot be written: {error.strerror or error}",
            hint="name a file in a folder that you may write",
        ) from error
