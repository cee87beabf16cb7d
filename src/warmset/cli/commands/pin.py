"""`warmset pin` and `warmset unpin`: whether a model is always wanted resident."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.completing import complete_model
from warmset.cli.options import options_of, settings_of
from warmset.cli.render import say

if TYPE_CHECKING:
    from warmset.adapters.journal import Orders
    from warmset.core.settings import Settings
    from warmset.shell.ordering import Desk
    from warmset.shell.target import Target

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="As `ollama list` names it.", autocompletion=complete_model
    ),
]
Save = Annotated[bool, typer.Option("--save", help="Write it into budgets.toml, comments kept.")]


def command(ctx: typer.Context, model: Model, *, save: Save = False) -> None:
    """Keep a model resident always: for the running warmset, or with --save for good."""
    change_pin(ctx, model, pin=True, save=save)


def change_pin(ctx: typer.Context, model: str, *, pin: bool, save: bool) -> None:
    """Pins or unpins a model.

    Raises:
        WarmsetError: no such model, or nowhere to write it.
    """
    from warmset.shell.ordering import Desk
    from warmset.shell.target import find_target
    from warmset.shell.wiring import TWIN_SCHEME, connect

    settings = settings_of(ctx)
    connection = connect(settings, environ=os.environ)
    try:
        target = find_target(connection, settings, model)
        is_twin = settings.url.startswith(TWIN_SCHEME)
        desk = Desk(os.environ, connection, is_twin=is_twin)
        word = "pinned" if pin else "unpinned"
        if save:
            remark = _save(settings, target, desk, pin=pin, is_twin=is_twin)
        else:
            desk.change(lambda orders: _ordered(orders, target, settings, pin=pin))
            remark = desk.when()
        desk.note(word, "by the operator", key=target.entry.key, name=target.name)
    finally:
        connection.close()
    print(f"{target.name} is {word}.")
    say(remark, quiet=options_of(ctx).quiet)


def _ordered(orders: Orders, target: Target, settings: Settings, *, pin: bool) -> Orders:
    """An order that says what the file says is none."""
    from warmset.core.model import normalise_name

    pins = dict(orders.pins)
    for name in target.said:
        policy = settings.models.get(normalise_name(name))
        pins.pop(normalise_name(name), None)
        if pin != (policy is not None and policy.pin):
            pins[normalise_name(name)] = pin
    return replace(orders, pins=pins, rests=_without(orders.rests, target) if pin else orders.rests)


def _without(table: Mapping[str, float], target: Target) -> dict[str, float]:
    from warmset.core.model import normalise_name

    names = {normalise_name(name) for name in (*target.said, *target.entry.names)}
    return {name: until for name, until in table.items() if name not in names}


def _save(settings: Settings, target: Target, desk: Desk, *, pin: bool, is_twin: bool) -> str:
    from warmset.adapters.budgets_edit import set_pin
    from warmset.adapters.config import load_settings
    from warmset.core.model import normalise_name
    from warmset.errors import ConfigError

    if not settings.path:
        raise ConfigError(
            "there is no configuration file to write to",
            hint="`warmset init` writes one; or leave --save out",
        )
    path = Path(settings.path)
    set_pin(path, target.said, pin=pin, check=lambda fresh: load_settings(config=str(fresh)))
    if is_twin:
        return f"written to {path}"
    names = {normalise_name(name) for name in target.said}
    if names & set(desk.read().pins):
        desk.change(
            lambda orders: replace(
                orders, pins={n: p for n, p in orders.pins.items() if n not in names}
            )
        )
    return f"written to {path}; {desk.ask_to_reload(path)}"
