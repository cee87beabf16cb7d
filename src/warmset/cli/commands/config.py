"""`warmset config`: what is configured, and where each value comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from warmset.cli.options import OutputOption, new_app, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

command = new_app()


@command.callback()
def _group() -> None:
    """Show the configuration and where each value comes from."""


@command.command()
def show(
    ctx: typer.Context,
    *,
    origin: Annotated[
        bool, typer.Option("--origin", help="Name the source of each value.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show every value in use: flags over environment over file over defaults."""
    from warmset.adapters.config import describe

    lines = describe(settings_of(ctx))
    if output is Output.JSON:
        values = {line.key: line.value for line in lines}
        origins = {line.key: line.origin for line in lines}
        emit({"values": values, "origins": origins} if origin else {"values": values})
    elif output is Output.NAME:
        emit_names([line.key for line in lines])
    else:
        columns = [Column(key="key", title="KEY"), Column(key="value", title="VALUE")]
        columns.append(Column(key="origin", title="ORIGIN", wide=not origin))
        rows = [{"key": line.key, "value": line.text, "origin": line.origin} for line in lines]
        table(rows, columns, wide=output is Output.WIDE, no_color=options_of(ctx).no_color)


@command.command()
def path(ctx: typer.Context) -> None:
    """Print the configuration file in use; without one, say where it is looked for."""
    from warmset.adapters.config import find_file, search_path

    options = options_of(ctx)
    found = find_file(options.config)
    if found is None:
        places = ", ".join(map(str, search_path()))
        say(f"no configuration file, so the defaults hold; looked in {places}", quiet=options.quiet)
    else:
        emit_names([str(found)])
