"""`warmset init`: writes a first budgets.toml from what the host has."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from warmset.cli.options import options_of
from warmset.cli.render import say


class ProfileName(StrEnum):
    """The ready profiles; a test holds that these are all."""

    SOLO = "solo"
    CODING = "coding"
    INTERNAL_API = "internal-api"
    BATCH = "batch"
    LAPTOP = "laptop"


def command(
    ctx: typer.Context,
    *,
    out: Annotated[str, typer.Option("--out", metavar="FILE", help="Where to; - prints it.")] = (
        "budgets.toml"
    ),
    profile: Annotated[
        ProfileName | None,
        typer.Option("--profile", help="Who uses the host: classes with their usual keep-alives."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented budgets.toml with the models and GPUs of the host."""
    from warmset.adapters.budgets_edit import write_new
    from warmset.adapters.config import load_settings
    from warmset.shell.observe import look
    from warmset.shell.profiles import PROFILES
    from warmset.shell.starter import write_starter

    options = options_of(ctx)
    settings = load_settings(config=options.config, host=options.host)
    chosen = None if profile is None else PROFILES[profile.value]
    text = write_starter(look(settings), settings.url, chosen)
    if out == "-":
        print(text, end="")
        return
    write_new(
        Path(out),
        text,
        check=lambda fresh: load_settings(config=str(fresh)),
        may_replace=force,
    )
    print(out)
    say(
        f"look it through, then try `warmset plan`; `warmset serve` reads it with --config {out}",
        quiet=options.quiet,
    )
