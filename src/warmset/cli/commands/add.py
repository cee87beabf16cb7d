"""`warmset add MODEL --dry-run`: what a model that is not here yet would change. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.commands.fit import describe as describe_fit
from warmset.cli.commands.fit import print_fit
from warmset.cli.exits import ExitCode
from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Output, emit, emit_names, say

if TYPE_CHECKING:
    from warmset.core.model import Entry
    from warmset.core.planner.verdict import DryRun


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
        float | None, typer.Option("--requests-per-day", min=0.0, help="Expected demand.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no registry.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Report what adding a model would change: does it fit, where, and whom it pushes out."""
    import os

    from warmset.core.planner.result import Verdict
    from warmset.core.planner.verdict import dry_run as try_out
    from warmset.errors import Refused
    from warmset.shell.decide import decide, locate
    from warmset.shell.newcomer import find_newcomer, with_entry, with_policy
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
    decision = decide(with_entry(seen, entry), settings, located=locate(close))
    newcomer = next(c for c in decision.candidates if c.key == entry.key)
    outcome = try_out(newcomer, decision.candidates, decision.host)
    if output is Output.JSON:
        emit(describe(entry, outcome))
    elif output is Output.NAME:
        emit_names(outcome.pushed_out)
    else:
        options = options_of(ctx)
        print_fit(
            outcome.fit,
            decision.host,
            wide=output is Output.WIDE,
            no_color=options.no_color,
        )
        print()
        for line in _lines(entry, outcome):
            print(line)
        for note in decision.notes:
            say(f"note: {note}", quiet=options.quiet)
    if outcome.fit.verdict in (Verdict.REFUSED, Verdict.SPILLS):
        raise typer.Exit(ExitCode.REFUSED)


def _lines(entry: Entry, outcome: DryRun) -> list[str]:
    from warmset.core.units import format_bytes

    lines = [f"facts: {entry.basis or 'what the server says'}"]
    if outcome.forecast is not None:
        total = format_bytes(outcome.forecast.total_bytes)
        lines.append(f"Ollama itself expects {total} for it, batch surcharge included")
    if outcome.joins:
        lines.append("it would join the warm set")
    else:
        lines.append("it would not join the warm set by its own priority and value")
    if outcome.pushed_out:
        lines.append(
            f"it would push out {', '.join(outcome.pushed_out)}:"
            f" about {outcome.lost_value:.0f} s of waiting more a day"
        )
    if outcome.ollama_reason:
        evicts = ", ".join(outcome.ollama_evicts) or "nobody that would help"
        lines.append(f"asked for right now, Ollama would evict {evicts}: {outcome.ollama_reason}")
    return lines


def describe(entry: Entry, outcome: DryRun) -> Mapping[str, object]:
    """Returns the document of `-o json`. Units: seconds per day, bytes."""
    forecast = outcome.forecast
    return {
        "model": entry.name,
        "basis": entry.basis,
        **describe_fit(outcome.fit),
        "joins_warm_set": outcome.joins,
        "pushed_out": list(outcome.pushed_out),
        "lost_value_seconds_per_day": outcome.lost_value,
        "ollama_forecast_bytes": None if forecast is None else forecast.total_bytes,
        "ollama_evicts_now": list(outcome.ollama_evicts),
        "ollama_reason": outcome.ollama_reason,
    }
