"""`warmset plan`: the warm set, what stays out and why, and what would be done. Reads only."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.exits import ExitCode
from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Output, emit, emit_names, say

if TYPE_CHECKING:
    from warmset.core.control.preview import Preview
    from warmset.core.settings import Settings


def command(
    ctx: typer.Context,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="As if every installed model were configured.")
    ] = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 7 when changes are pending.")
    ] = False,
    out: Annotated[
        str, typer.Option("--out", metavar="FILE", help="Save the plan for `apply --plan FILE`.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Show which models fit together, and what `apply` and `serve` would do. Changes nothing."""
    from warmset.cli.plan_json import describe
    from warmset.cli.plan_text import print_plan
    from warmset.core.control.preview import find_more
    from warmset.shell.decide import notes_of

    options = options_of(ctx)
    if everything and out:
        raise typer.BadParameter("`apply` would do something else: set policy.manage", ctx)
    settings = settings_of(ctx)
    seen = _preview(manage_all(settings) if everything else settings)
    wish = seen.wish
    if output is Output.NAME:
        emit_names([member.name for member in wish.plan.members])
    else:
        more = find_more(seen)
        notes = notes_of(seen.observation, seen.config.settings, wish.host, wish.plan)
        if output is Output.JSON:
            emit(describe(seen, more=more, notes=notes))
        else:
            print_plan(seen, more, wide=output is Output.WIDE, no_color=options.no_color)
            for note in notes:
                say(f"note: {note}", quiet=options.quiet)
    if wish.conflict is not None:
        raise typer.Exit(ExitCode.REFUSED)
    if not wish.host.knows_residents:
        raise typer.Exit(ExitCode.INCOMPLETE)
    if out:
        _save(seen, Path(out), quiet=options.quiet)
    if detailed_exitcode and not seen.decision.is_converged:
        raise typer.Exit(ExitCode.CHANGES)


def manage_all(settings: Settings) -> Settings:
    """Returns the settings with every installed model configured."""
    return replace(settings, loop=replace(settings.loop, manages_all=True))


def _preview(settings: Settings) -> Preview:
    from warmset.shell.one_pass import prepare

    with prepare(settings, os.environ, may_write=False) as prepared:
        return prepared.work.preview(refuses=False)


def _save(seen: Preview, path: Path, *, quiet: bool) -> None:
    from warmset.shell.saved_plan import plan_of, save_plan

    saved = plan_of(seen)
    save_plan(path, saved, made_at=seen.observation.at)
    steps = ", ".join(f"{change.kind.value} {change.name}" for change in seen.decision.changes)
    say(f"saved {saved.digest[:12]} to {path}: {steps or 'nothing to do'}", quiet=quiet)
