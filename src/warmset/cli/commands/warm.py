"""`warmset warm`: loads one model now, if that costs no other its place."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.commands.pin import Model
from warmset.cli.options import options_of, settings_of
from warmset.cli.render import say

if TYPE_CHECKING:
    from warmset.core.control.actions import Finding
    from warmset.core.settings import Settings

HANDED_OVER_SECONDS = 1800.0


def command(
    ctx: typer.Context,
    model: Model,
    *,
    make_room: Annotated[
        bool, typer.Option("--make-room", help="Unload idle models of a lower rank for it.")
    ] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long it may take.")
    ] = "10m",
) -> None:
    """Load a model before anybody asks for it, if Ollama lets it in without an eviction.

    A warmset that runs on the host is told to hold it for half an hour instead.
    """
    from warmset.cli.durations import parse_seconds
    from warmset.shell.one_pass import prepare
    from warmset.shell.warming import only, refuse_evictions, refuse_hopeless

    limit_seconds = parse_seconds(timeout, "--timeout")
    quiet = options_of(ctx).quiet
    settings = settings_of(ctx)
    name = _hand_over(settings, model, quiet=quiet)
    if name is None:
        return

    def tell(finding: Finding) -> None:
        say(f"{finding.name or 'host'}: {finding.text}", quiet=quiet)

    with prepare(only(settings, name), os.environ, may_write=True, tell=tell) as prepared:
        seen = prepared.work.preview()
        refuse_hopeless(name, seen.observation, seen.decision)
        if not make_room:
            hint = "--make-room unloads idle models of a lower rank"
            refuse_evictions(name, seen.decision, hint=hint)
        prepared.work.run(limit_seconds=limit_seconds, check=lambda _: None)
    print(f"{name} is resident.")


def _hand_over(settings: Settings, model: str, *, quiet: bool) -> str | None:
    """Lets a running warmset do it; returns the name if none runs.

    Raises:
        UnknownModel: there is no such model.
    """
    from warmset.core.model import normalise_name
    from warmset.shell.ordering import Desk
    from warmset.shell.target import find_target
    from warmset.shell.wiring import TWIN_SCHEME, connect

    connection = connect(settings, environ=os.environ)
    try:
        target = find_target(connection, settings, model)
        desk = Desk(os.environ, connection, is_twin=settings.url.startswith(TWIN_SCHEME))
        if desk.holder is None:
            return target.said[0]
        until = connection.clock.now() + HANDED_OVER_SECONDS
        key = normalise_name(target.said[0])
        desk.change(
            lambda orders: replace(
                orders,
                holds={**orders.holds, key: max(until, orders.holds.get(key, 0.0))},
                rests={n: u for n, u in orders.rests.items() if n != key},
            )
        )
        desk.note("held", "to be warmed, by the operator", key=target.entry.key, name=target.name)
        print(f"{target.name} is held for 30m.")
        say(desk.when(), quiet=quiet)
        return None
    finally:
        connection.close()
