"""`warmset status`: the GPUs, whose bytes are on them, what is resident; once or as a watch."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Output, emit, emit_names, is_terminal, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from warmset.cli.options import Options
    from warmset.core.settings import Settings
    from warmset.errors import WarmsetError
    from warmset.shell.observe import Seen
    from warmset.shell.wiring import Connection

DEFAULT_INTERVAL_SECONDS = 2.0
SHORTEST_INTERVAL_SECONDS = 0.1
CLEAR_SCREEN = "\x1b[H\x1b[2J"

WatchOption = Annotated[
    bool, typer.Option("--watch", "-w", help="Look again every SEC seconds (2), until stopped.")
]
LearnOption = Annotated[
    bool, typer.Option("--learn", help="Keep what the resident models hold for later estimates.")
]
IntervalArgument = Annotated[
    float | None,
    typer.Argument(metavar="[SEC]", help="With --watch.", min=SHORTEST_INTERVAL_SECONDS),
]


def command(
    ctx: typer.Context,
    interval_seconds: IntervalArgument = None,
    *,
    watch: WatchOption = False,
    learn: LearnOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the GPUs, whose bytes are on them, and the resident models with their memory."""
    from warmset.shell.observe import see
    from warmset.shell.wiring import connect

    if interval_seconds is not None and not watch:
        raise typer.BadParameter(f"{interval_seconds:g} says how often to look: add --watch")
    settings, options = settings_of(ctx), options_of(ctx)
    connection = connect(settings, environ=os.environ, weighs_demand=False)
    try:
        if not watch:
            seen = see(connection, settings)
            if learn:
                _learn(connection, seen, options)
            _show(seen, settings, output, options)
            return
        from warmset.shell.watch import watch as watch_host

        seconds = interval_seconds or DEFAULT_INTERVAL_SECONDS
        said: tuple[str, ...] = ()
        for news in watch_host(connection, settings, interval_seconds=seconds):
            if learn and not isinstance(news, Exception):
                _learn(connection, news, options, is_quiet=True)
            said = _show_news(news, settings, output, options, said)
    finally:
        connection.close()


def _learn(connection: Connection, seen: Seen, options: Options, *, is_quiet: bool = False) -> None:
    from warmset.shell.learn import keep_lessons

    said = keep_lessons(connection, seen)
    say(said, quiet=is_quiet or options.quiet)


def _show(seen: Seen, settings: Settings, output: Output, options: Options) -> None:
    if output is Output.JSON:
        from warmset.cli.status_json import describe

        emit(describe(seen, settings))
    elif output is Output.NAME:
        emit_names([resident.name for resident in seen.observation.residents or ()])
    else:
        from warmset.cli.status_table import print_status

        is_wide = output is Output.WIDE
        print_status(seen, settings, wide=is_wide, no_color=options.no_color)
        for remark in _remarks(seen, wide=is_wide):
            say(remark, quiet=options.quiet)


def _show_news(
    news: Seen | WarmsetError,
    settings: Settings,
    output: Output,
    options: Options,
    said: Sequence[str],
) -> tuple[str, ...]:
    """Shows one look of a watch; returns its remarks, which are not repeated in a stream."""
    if isinstance(news, Exception):
        if output is Output.JSON:
            emit({"error": {"message": news.message, "hint": news.hint}}, one_line=True)
        say(f"warmset: {news.message}", quiet=options.quiet)
        return ()
    if output is Output.JSON:
        from warmset.cli.status_json import describe

        emit(describe(news, settings), one_line=True)
        return ()
    remarks: tuple[str, ...] = ()
    redraws = is_terminal()
    if output is Output.NAME:
        emit_names([resident.name for resident in news.observation.residents or ()])
    else:
        from warmset.cli.status_table import format_moment, print_status

        is_wide = output is Output.WIDE
        remarks = _remarks(news, wide=is_wide)
        print(f"{CLEAR_SCREEN if redraws else ''}at {format_moment(news.observation.at)}")
        print_status(news, settings, wide=is_wide, no_color=options.no_color)
    if not redraws:
        print()
    sys.stdout.flush()
    for remark in remarks:
        if redraws or remark not in said:
            say(remark, quiet=options.quiet)
    return remarks


def _remarks(seen: Seen, *, wide: bool) -> tuple[str, ...]:
    """Returns notes and troubles for stderr; those of no consequence only with `-o wide`."""
    from warmset.core.host.readings import Severity

    troubles = [
        f"{trouble.severity}: {trouble.message}" + (f" ({trouble.hint})" if trouble.hint else "")
        for trouble in seen.survey.troubles
        if wide or trouble.severity is not Severity.INFO
    ]
    notes = [f"note: {note}" for note in seen.observation.notes]
    blind = [f"not visible from here: {spot}" for spot in seen.sight.blind_spots if wide]
    return (*notes, *blind, *troubles)
