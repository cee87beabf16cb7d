"""`warmset serve`: keeps the plan true on a living host, in the foreground."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.options import Options, options_of
from warmset.cli.render import say

if TYPE_CHECKING:
    from warmset.core.settings import Settings


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
        OnStop | None,
        typer.Option(
            "--on-stop", help="Residents keep their leases, or get the server's own keep-alive."
        ),
    ] = None,
    tick: Annotated[
        float | None, typer.Option("--tick", min=0.2, max=300, help="Seconds between two looks.")
    ] = None,
    listen: Annotated[
        str,
        typer.Option(
            "--listen", metavar="HOST:PORT", help='Where /metrics and health are; "off": nowhere.'
        ),
    ] = "",
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Let --listen be reached by other machines.")
    ] = False,
    page: Annotated[
        bool, typer.Option("--page", help="Show a status page at the address of --listen.")
    ] = False,
) -> None:
    """Keep the warm set resident until SIGTERM or Ctrl-C. Log lines go to stderr.

    SIGHUP reads the configuration again, SIGUSR1 writes the state to the log.
    """
    from warmset.shell.serve import ServeOrder, serve

    options = options_of(ctx)
    if sys.stderr.isatty():  # for people; elsewhere every line is one of the log's
        _tell_aside(options)
    order = ServeOrder(
        load=lambda: with_flags(
            load(options),
            tick=tick,
            on_stop=on_stop,
            listen=listen,
            allow_remote=allow_remote,
            page=page,
        ),
        is_observe=observe or dry_run,
        is_once=dry_run,
        log_least="debug" if options.verbose else "warning" if options.quiet else "note",
        environ=os.environ,
    )
    serve(order)


def _tell_aside(options: Options) -> None:
    """Warns where `plan` reads a file that `serve`, the same in every folder, does not."""
    from warmset.adapters.config import find_aside

    aside = find_aside(options.config)
    if aside is not None:
        say(
            f"warning: {aside} of this folder does not count for `serve`: --config {aside} names it"
        )


def with_flags(
    settings: Settings,
    *,
    tick: float | None = None,
    on_stop: OnStop | None = None,
    listen: str = "",
    allow_remote: bool = False,
    page: bool = False,
) -> Settings:
    """Returns the settings in which flags count before the file, also when it is read again."""
    from warmset.adapters.config import parse_listen

    loop, shown, origins = settings.loop, settings.serve, dict(settings.origins)
    if tick is not None:
        loop = replace(loop, tick=tick)
    if on_stop is not None:
        loop = replace(loop, on_stop=on_stop.value)
    if listen:
        try:
            shown = replace(shown, listen=parse_listen(listen))
        except ValueError as error:
            raise typer.BadParameter(f"{listen}: {error}", param_hint="--listen") from error
        origins["serve.listen"] = "--listen"
    if allow_remote:
        shown = replace(shown, allow_remote=True)
    if page:
        shown = replace(shown, page=True)
        origins["serve.page"] = "--page"
    return replace(settings, loop=loop, serve=shown, origins=MappingProxyType(origins))


def load(options: Options) -> Settings:
    """Returns the configuration as a daemon finds it: never from where it happens to start.

    Raises:
        ConfigError: from the adapter.
    """
    from warmset.adapters.config import load_settings

    return load_settings(config=options.config, host=options.host, look_here=False)
