"""`warmset evict`: unloads one model."""

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
        str,
        typer.Option(
            "--for", metavar="DURATION", help="A running warmset does not fetch it for so long."
        ),
    ] = "10m",
    force: Annotated[
        bool, typer.Option("--force", help="Even if it is pinned or shows signs of use.")
    ] = False,
) -> None:
    """Unload a model that is idle, like `ollama stop`; running requests are never cut."""
    from warmset.cli.durations import parse_seconds
    from warmset.core.model import normalise_name
    from warmset.shell.evict import evict
    from warmset.shell.ordering import Desk
    from warmset.shell.said import with_orders
    from warmset.shell.target import find_target
    from warmset.shell.wiring import TWIN_SCHEME, connect

    seconds = parse_seconds(duration, "--for")
    settings = settings_of(ctx)
    is_twin = settings.url.startswith(TWIN_SCHEME)
    connection = connect(settings, environ=os.environ)
    try:
        target = find_target(connection, settings, model)
        desk = Desk(os.environ, connection, is_twin=is_twin)
        words = with_orders(settings, desk.read())
        remark = ""

        def keep_out() -> None:
            nonlocal remark
            if desk.holder is None:
                return
            until = connection.clock.now() + seconds
            rests = {normalise_name(name): until for name in target.said}
            desk.change(lambda orders: replace(orders, rests={**orders.rests, **rests}))
            remark = f"the running warmset does not fetch it for {duration}"

        done = evict(connection, words, target.entry, is_forced=force, before=keep_out)
        if done.was_resident:
            desk.note("evicted", "by the operator", key=target.entry.key, name=target.name)
    finally:
        connection.close()
    print(f"{target.name} is {'unloaded' if done.was_resident else 'not resident'}.")
    if remark:
        say(remark, quiet=options_of(ctx).quiet)
