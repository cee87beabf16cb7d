"""`warmset serve`: keeps the plan true on a living host, in the foreground."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.options import Options, options_of

if TYPE_CHECKING:
    from warmset.core.settings import Settings

DEFAULT_TICK_SECONDS = 5.0


class OnStop(StrEnum):
    """What becomes of the leases when warmset ends."""

    LEAVE = "leave"
    RELEASE = "release"


def command(
    ctx: typer.Context,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Decide once, say it, and stop; write nothing.")
    ] = False,
    observe: Annotated[
        bool, typer.Option("--observe", help="Decide and say as ever, write nothing.")
    ] = False,
    on_stop: Annotated[
        OnStop,
        typer.Option(
            "--on-stop", help="Residents keep their leases, or get the server's own keep-alive."
        ),
    ] = OnStop.LEAVE,
    tick: Annotated[
        float, typer.Option("--tick", min=0.2, max=300, help="Seconds between two looks.")
    ] = DEFAULT_TICK_SECONDS,
) -> None:
    """Keep the warm set resident until SIGTERM or Ctrl-C. Log lines go to stderr.

    SIGHUP reads the configuration again, SIGUSR1 writes the state to the log.
    """
    from warmset.core.control.config import LoopSettings
    from warmset.shell.serve import ServeOrder, serve

    options = options_of(ctx)
    order = ServeOrder(
        load=lambda: load(options),
        loop=LoopSettings(tick=tick),
        is_observe=observe or dry_run,
        is_once=dry_run,
        on_stop=on_stop.value,
        log_least="debug" if options.verbose else "warning" if options.quiet else "note",
        environ=os.environ,
    )
    serve(order)


def load(options: Options) -> Settings:
    """Returns the configuration as a daemon finds it: never from where it happens to start.

    Raises:
        ConfigError: from the adapter.
    """
    from warmset.adapters.config import load_settings

    return load_settings(config=options.config, host=options.host, look_here=False)
