"""`warmset footprint NAME|PATH|URL`: the bytes of one model, before it is loaded or downloaded."""

from __future__ import annotations

from typing import Annotated

import typer

from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Output, emit, emit_names, say


def command(
    ctx: typer.Context,
    model: Annotated[str, typer.Argument(metavar="NAME|PATH|URL", help="A model, here or not.")],
    *,
    context: Annotated[
        int | None, typer.Option("--context", "--ctx", min=1, help="Of one slot, in tokens.")
    ] = None,
    parallel: Annotated[int | None, typer.Option("--parallel", min=1, max=256)] = None,
    kv_type: Annotated[
        str | None, typer.Option("--kv-type", help="Cache type: f16, q8_0, or keys/values.")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=0, max=64, help="GPUs used; 0 for RAM.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option("--engine", help="TOOL-VERSION, such as ollama-0.12.")
    ] = None,
    max_context: Annotated[
        bool, typer.Option("--max-context", help="The largest context that fits now.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Every term: formula, source.")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no registry.")] = False,
    learn: Annotated[
        bool, typer.Option("--learn", help="First keep what the resident models hold.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the bytes a model will hold once loaded, and what Ollama expects of it."""
    import os

    from warmset.cli.footprint_json import describe
    from warmset.cli.footprint_text import print_footprint
    from warmset.shell.estimate import Asked, find_subject
    from warmset.shell.fitting import find_max_context, warn

    settings, options = settings_of(ctx), options_of(ctx)
    if learn:
        from warmset.shell.learn import learn_from_residents

        say(learn_from_residents(settings, os.environ), quiet=options.quiet)
    asked = Asked(
        name=model,
        context=context,
        parallel=parallel,
        kv_type=kv_type,
        gpus=gpus,
        engine=engine,
        offline=offline,
    )
    subject = find_subject(asked, settings, os.environ)
    found = subject.estimate()
    largest = find_max_context(subject) if max_context else None
    warnings = warn(subject, found)
    if output is Output.JSON:
        emit(describe(subject, found, largest, warnings))
        return
    if output is Output.NAME:
        emit_names([subject.entry.name])
        return
    print_footprint(
        subject,
        found,
        largest,
        by_gpu=output is Output.WIDE,
        by_term=explain,
        no_color=options.no_color,
    )
    for warning in warnings:
        say(f"warning: {warning}")
    for note in (*subject.notes, *found.unknowns):
        say(f"note: {note}", quiet=options.quiet)
