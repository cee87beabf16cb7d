"""`warmset advise`: how long to keep each model, from how it is really used. Reads only."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from warmset.cli.options import OutputOption, options_of
from warmset.cli.render import Output, emit, emit_names, say
from warmset.cli.replay_options import BudgetOption, HoursOption, OnOption, SeedOption


class Subject(StrEnum):
    """Whom the advice is for, if not for the operator."""

    CALLER = "caller"


def command(
    ctx: typer.Context,
    trace: Annotated[
        str,
        typer.Argument(metavar="[TRACE]", help="A trace or pattern instead of the host's history."),
    ] = "",
    *,
    on: OnOption = "",
    budget: BudgetOption = "",
    hours: HoursOption = 48.0,
    seed: SeedOption = 1,
    subject: Annotated[
        Subject | None,
        typer.Option("--for", help="caller: what each kind of client should send."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Advise how long to keep each model: what to pin, what not to keep, what works against it."""
    from warmset.cli.advise_json import describe
    from warmset.cli.advise_text import print_advice
    from warmset.shell.advise import counsel
    from warmset.shell.replay_source import find_source

    if subject is Subject.CALLER:
        from warmset.cli.advise_callers import show

        show(ctx, output, on=on)
        return
    options = options_of(ctx)
    source = find_source(
        trace,
        from_history=not trace,
        config=options.config,
        host=on or options.host,
        budget=budget,
        hours=hours,
        seed=seed,
        environ=os.environ,
    )
    made = counsel(source, environ=os.environ)
    if output is Output.JSON:
        emit(describe(made, source))
    elif output is Output.NAME:
        emit_names([advice.keeping.model for advice in made.models if advice.keep_alive])
    else:
        print_advice(made, wide=output is Output.WIDE, no_color=options.no_color)
        for note in source.notes:
            say(f"note: {note}", quiet=options.quiet)
