"""`warmset trace`: demand in and out of the store, and made-up demand."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from warmset.cli.options import new_app, options_of
from warmset.cli.render import say

command = new_app()


@command.callback()
def _group() -> None:
    """Bring demand into a host's store, take it out as a trace, or make it up."""


@command.command("import")
def import_command(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A trace, JSON lines, or Ollama's access log.")
    ],
    *,
    model: Annotated[
        str, typer.Option("--model", help="Whose requests an access log has: it names none.")
    ] = "",
    start: Annotated[
        str,
        typer.Option("--start", metavar="MOMENT", help="When a trace began; default: it ends now."),
    ] = "",
) -> None:
    """Add the requests of a file to what was seen on the host."""
    from warmset.cli.options import settings_of
    from warmset.core.units import format_count
    from warmset.shell.trace_verbs import import_file

    options = options_of(ctx)
    done = import_file(
        file,
        settings_of(ctx),
        environ=os.environ,
        model=model,
        start=start,
        now=time.time(),
    )
    say(
        f"{format_count(done.count, 'request')} for {format_count(done.models, 'model')} added to "
        f"{done.folder}",
        quiet=options.quiet,
    )
    for name in done.strangers:
        say(f"note: {name} is not installed: kept by its name", quiet=options.quiet)


@command.command("export")
def export_command(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="NAME.csv.gz, or - for stdout.")],
    *,
    since: Annotated[
        str, typer.Option("--since", metavar="DURATION", help="Not longer ago, such as 7d.")
    ] = "",
) -> None:
    """Write what was seen on the host as a trace, with NAME.models.json beside it."""
    from warmset.cli.durations import parse_seconds
    from warmset.cli.options import settings_of
    from warmset.core.units import format_count
    from warmset.shell.trace_files import trace_lines, write_models, write_trace
    from warmset.shell.trace_verbs import history_of

    options = options_of(ctx)
    oldest = time.time() - parse_seconds(since, "--since") if since else 0.0
    past = history_of(settings_of(ctx), os.environ, since=oldest)
    if file == "-":
        sys.stdout.write(trace_lines(past.trace))
    else:
        write_trace(Path(file), past.trace)
        write_models(Path(file), past.costs)
        say(f"{format_count(len(past.trace), 'request')} written to {file}", quiet=options.quiet)
    for note in past.notes:
        say(f"note: {note}", quiet=options.quiet)


@command.command("generate")
def generate_command(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="NAME.csv.gz, or - for stdout.")],
    *,
    pattern: Annotated[
        str, typer.Option("--pattern", help="idle, quiet, office or busy.")
    ] = "office",
    on: Annotated[
        str, typer.Option("--on", metavar="HOST", help="Whose models; a twin's name or an address.")
    ] = "workstation",
    hours: Annotated[float, typer.Option("--hours", min=0.1, max=744)] = 8.0,
    seed: Annotated[int, typer.Option("--seed", help="The same seed, the same trace.")] = 1,
) -> None:
    """Make up a trace for a host's models: seeded sessions, none of it measured."""
    from warmset.core.units import format_count
    from warmset.shell.replay_source import find_source
    from warmset.shell.trace_files import trace_lines, write_models, write_trace

    options = options_of(ctx)
    source = find_source(
        pattern,
        from_history=False,
        config=options.config,
        host=on,
        budget="1TB",
        hours=hours,
        seed=seed,
        environ=os.environ,
    )
    if file == "-":
        sys.stdout.write(trace_lines(source.trace))
        return
    write_trace(Path(file), source.trace)
    write_models(Path(file), source.spec.models)
    say(f"{format_count(len(source.trace), 'request')} written to {file}", quiet=options.quiet)
