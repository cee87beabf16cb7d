"""`warmset metrics`: the metrics of a host, once, on stdout."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from warmset.cli.options import options_of, settings_of
from warmset.cli.render import say


def command(
    ctx: typer.Context,
    *,
    look: Annotated[
        bool, typer.Option("--look", help="Look at the host, even where a daemon could be asked.")
    ] = False,
) -> None:
    """Print the running daemon's metrics; without one, those that a look at the host gives."""
    from warmset.shell.telemetry.once import ask_daemon, look_once
    from warmset.shell.wiring import connect

    settings, quiet = settings_of(ctx), options_of(ctx).quiet
    connection = connect(settings, environ=os.environ)
    try:
        text = None if look else ask_daemon(connection, environ=os.environ)
        if text is None:
            text = look_once(connection, settings)
            if not look:
                say("no running daemon to ask: a look has gauges only, no counters", quiet=quiet)
    finally:
        connection.close()
    sys.stdout.write(text)
