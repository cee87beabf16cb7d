"""`warmset plan`: the warm set, what stays out and why, and what would be done. Reads only."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.exits import ExitCode
from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Output, emit, emit_names, say

if TYPE_CHECKING:
    from warmset.core.control.preview import Preview
    from warmset.core.planner.extra import Remedy
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
    on: Annotated[
        str | None, typer.Option("--on", metavar="TWIN", help="These models on a twin's hardware.")
    ] = None,
    gpus: Annotated[
        str | None, typer.Option("--gpus", metavar="2x48GiB", help="These models on other GPUs.")
    ] = None,
    what_if: Annotated[
        list[str] | None,
        typer.Option(
            "--what-if", metavar="CHANGE", help='Such as "drop llama3.3:70b"; repeatable.'
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show which models fit together, and what `apply` and `serve` would do. Changes nothing."""
    from warmset.shell.newcomer import with_somebody

    settings = settings_of(ctx)
    if on is not None or gpus is not None or what_if:
        if out or detailed_exitcode:
            raise typer.BadParameter("what is only supposed cannot be applied", ctx)
        weighed = manage_all(settings) if everything else with_somebody(settings)
        seen = _suppose(ctx, weighed, output, on=on, gpus=gpus, what_ifs=what_if or ())
        raise typer.Exit(ExitCode.OK if seen.wish.conflict is None else ExitCode.REFUSED)
    if everything and out:
        raise typer.BadParameter("`apply` would do something else: set policy.manage", ctx)
    seen = preview_host(manage_all(settings) if everything else settings)
    show(ctx, seen, output)
    exit_unless_applicable(seen)
    if out:
        _save(seen, Path(out), quiet=options_of(ctx).quiet)
    if detailed_exitcode and not seen.decision.is_converged:
        raise typer.Exit(ExitCode.CHANGES)


def exit_unless_applicable(seen: Preview) -> None:
    """Ends with the code of a plan that cannot be applied, if it is one."""
    if seen.wish.conflict is not None:
        raise typer.Exit(ExitCode.REFUSED)
    if not seen.wish.host.knows_residents:
        raise typer.Exit(ExitCode.INCOMPLETE)


def show(
    ctx: typer.Context,
    seen: Preview,
    output: Output,
    *,
    supposing: Sequence[str] = (),
    extra: Remedy | None = None,
) -> None:
    """Prints a plan; `extra` is the memory that a supposed host would need, `None` for a real."""
    from warmset.cli.plan_json import describe
    from warmset.cli.plan_text import print_plan
    from warmset.cli.supposed_text import describe_supposed, print_extra
    from warmset.core.control.preview import find_more
    from warmset.shell.decide import notes_of

    options, wish = options_of(ctx), seen.wish
    if output is Output.NAME:
        emit_names([member.name for member in wish.plan.members])
        return
    more = find_more(seen)
    notes = notes_of(seen.observation, seen.config.settings, wish.host, wish.plan)
    if output is Output.JSON:
        document = describe(seen, more=more, notes=notes)
        emit(document if extra is None else {**document, **describe_supposed(supposing, extra)})
        return
    if supposing:
        print(f"Supposing {'; '.join(supposing)}:")
        print()
    print_plan(seen, more, wide=output is Output.WIDE, no_color=options.no_color)
    if extra is not None:
        print_extra(seen, extra)
    for note in notes:
        say(f"note: {note}", quiet=options.quiet)


def manage_all(settings: Settings) -> Settings:
    """Returns the settings with every installed model configured."""
    return replace(settings, loop=replace(settings.loop, manages_all=True))


def preview_host(settings: Settings) -> Preview:
    """Returns what would be done on the host that the settings name."""
    from warmset.shell.one_pass import prepare

    with prepare(settings, os.environ, may_write=False) as prepared:
        return prepared.work.preview(refuses=False)


def _suppose(
    ctx: typer.Context,
    settings: Settings,
    output: Output,
    *,
    on: str | None,
    gpus: str | None,
    what_ifs: Sequence[str],
) -> Preview:
    """Plans for the models that the loop weighs on a host that is not as it is, and shows it.

    Other hardware needs no Ollama: without one, the models are those that budgets.toml names.
    """
    from warmset.core.control.preview import preview
    from warmset.core.control.state import State
    from warmset.core.planner.extra import find_extra
    from warmset.errors import Unreachable
    from warmset.shell.observe import look_closely
    from warmset.shell.said import config_of
    from warmset.shell.suppose import suppose
    from warmset.shell.unserved import unserved

    try:
        look = look_closely(settings).observation
    except Unreachable as error:
        if on is None and gpus is None:
            raise
        look = unserved(settings, what_ifs, os.environ, error)
        told = f"note: {error.message}: only models that are named count"
        say(told, quiet=options_of(ctx).quiet)
    supposed = suppose(
        look, settings, on=on, gpus=gpus, what_ifs=tuple(what_ifs), environ=os.environ
    )
    config = config_of(supposed.settings, look.at)
    seen = preview(supposed.observation, config, State(), look.at)
    extra = find_extra(seen.wish.host, seen.wish.candidates)
    show(ctx, seen, output, supposing=supposed.words, extra=extra)
    return seen


def _save(seen: Preview, path: Path, *, quiet: bool) -> None:
    from warmset.shell.saved_plan import plan_of, save_plan

    saved = plan_of(seen)
    save_plan(path, saved, made_at=seen.observation.at)
    steps = ", ".join(f"{change.kind.value} {change.name}" for change in seen.decision.changes)
    say(f"saved {saved.digest[:12]} to {path}: {steps or 'nothing to do'}", quiet=quiet)
