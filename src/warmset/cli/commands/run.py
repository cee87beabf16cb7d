"""`warmset run`: keeps models warm while a command runs, and lets go after it."""

from __future__ import annotations

import os
import shutil
from typing import Annotated

import typer

from warmset.cli.completing import complete_models
from warmset.cli.options import new_app, options_of, settings_of
from warmset.cli.render import say

command = new_app()


@command.command("run", context_settings={"allow_interspersed_args": False})
def run(
    ctx: typer.Context,
    words: Annotated[
        list[str],
        typer.Argument(metavar="COMMAND", help="After --: the command and its arguments."),
    ],
    *,
    models: Annotated[
        list[str],
        typer.Option(
            "--with",
            metavar="MODEL[,MODEL]",
            help="Kept warm meanwhile; repeatable.",
            autocompletion=complete_models,
        ),
    ],
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long the loads may take.")
    ] = "10m",
) -> None:
    """Run a command while models are held resident, as if they were pinned.

    Its exit code is ours (128 and the number if a signal ended it), and signals go through to it.
    A running warmset does the holding; where none runs, this one does, and fetches nothing else.
    """
    from warmset.cli.durations import parse_seconds
    from warmset.shell.keeping import Keeping
    from warmset.shell.running import NOT_FOUND, run_command

    limit_seconds = parse_seconds(timeout, "--timeout")
    names = [name.strip() for said in models for name in said.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter("--with names no model")
    settings, quiet = settings_of(ctx), options_of(ctx).quiet

    def tell(text: str) -> None:
        say(f"warmset: {text}", quiet=quiet)

    if shutil.which(words[0]) is None:
        say(f"warmset: {words[0]}: no such command", quiet=False)
        raise typer.Exit(NOT_FOUND)
    keeping = Keeping(settings, os.environ, names, say=tell)
    try:
        keeping.begin(limit_seconds=limit_seconds)
        code = run_command(words, meanwhile=keeping.renew)
    finally:
        keeping.end()
    raise typer.Exit(code)
