"""`warmset top`: the picture of the host in the terminal, redrawn until `q`."""

from __future__ import annotations

import os
import shutil
from typing import Annotated

import typer

from warmset.cli.options import options_of, settings_of
from warmset.cli.render import is_terminal, say

SHORTEST_INTERVAL_SECONDS = 0.2
DEFAULT_INTERVAL_SECONDS = 1.0


def command(
    ctx: typer.Context,
    interval_seconds: Annotated[
        float, typer.Argument(metavar="[SEC]", min=SHORTEST_INTERVAL_SECONDS)
    ] = DEFAULT_INTERVAL_SECONDS,
    *,
    once: Annotated[bool, typer.Option("--once", help="Draw one picture and end.")] = False,
) -> None:
    """Watch GPUs, models, loads and next steps, every SEC seconds (1). Keys: q quits.

    Asks the running `serve`; without one it looks itself. Where stdout is no terminal the picture
    is drawn once.
    """
    from warmset.shell.board.source import boards
    from warmset.shell.wiring import connect

    settings, options = settings_of(ctx), options_of(ctx)
    connection = connect(settings, environ=os.environ)
    try:
        source = boards(connection, settings, environ=os.environ)
        first = next(source)
        assert first.board is not None
        if once or not is_terminal():
            from warmset.cli.top_frame import print_frame

            size = shutil.get_terminal_size((100, 0))
            print_frame(first.board, width=size.columns, no_color=options.no_color)
            if not once:
                say(
                    "stdout is no terminal: drawn once; `status --watch` makes a stream",
                    quiet=options.quiet,
                )
            return
        from warmset.cli.top_screen import Screen

        screen = Screen(first, source, no_color=options.no_color)
        screen.run(lambda: connection.wait(interval_seconds))
    finally:
        connection.close()
