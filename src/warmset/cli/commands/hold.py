"""`warmset hold`: a pin that ends by itself."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Annotated

import typer

from warmset.cli.commands.pin import Model
from warmset.cli.options import options_of, settings_of
from warmset.cli.render import say


def command(
    ctx: typer.Context,
    model: Model,
    *,
    duration: Annotated[
        str, typer.Option("--for", metavar="DURATION", help="How long, such as 2h or 90m.")
    ] = "",
    end: Annotated[bool, typer.Option("--end", help="End the hold now.")] = False,
) -> None:
    """Keep a model as if it were pinned, for a while."""
    from warmset.cli.durations import clock_text, parse_seconds
    from warmset.core.model import normalise_name
    from warmset.shell.ordering import Desk
    from warmset.shell.target import find_target
    from warmset.shell.wiring import TWIN_SCHEME, connect

    if bool(duration) == end:
        raise typer.BadParameter("say either --for DURATION or --end")
    seconds = parse_seconds(duration, "--for") if duration else 0.0
    settings = settings_of(ctx)
    connection = connect(settings, environ=os.environ)
    try:
        target = find_target(connection, settings, model)
        desk = Desk(os.environ, connection, is_twin=settings.url.startswith(TWIN_SCHEME))
        until = connection.clock.now() + seconds
        names = {normalise_name(name) for name in target.entry.names}
        key = normalise_name(target.said[0])
        desk.change(
            lambda orders: replace(
                orders,
                holds={n: u for n, u in orders.holds.items() if n not in names}
                | ({} if end else {key: until}),
                rests={n: u for n, u in orders.rests.items() if n not in names},
            )
        )
        text = "not held any more" if end else f"held until {clock_text(until)}"
        kind = "hold_ended" if end else "held"
        desk.note(kind, f"{text}, by the operator", key=target.entry.key, name=target.name)
        when = desk.when()
    finally:
        connection.close()
    print(f"{target.name} is {text}.")
    say(when, quiet=options_of(ctx).quiet)
