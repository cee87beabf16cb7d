"""`warmset unpin`: a model may go again when its rank says so."""

from __future__ import annotations

import typer

from warmset.cli.commands.pin import Model, Save, change_pin


def command(ctx: typer.Context, model: Model, *, save: Save = False) -> None:
    """Let a pinned model go when its rank says so; nothing is unloaded by this alone."""
    change_pin(ctx, model, pin=False, save=save)
