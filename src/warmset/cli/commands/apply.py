"""`warmset apply`: makes the plan true once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

if TYPE_CHECKING:
    from warmset.core.control.actions import Decision, Finding
    from warmset.core.model import ModelKey
    from warmset.shell.apply import Applied
    from warmset.shell.one_pass import Prepared

STEP_COLUMNS = (
    Column(key="step", title="STEP", right=True),
    Column(key="action", title="ACTION"),
    Column(key="name", title="NAME"),
    Column(key="reason", title="REASON"),
)


def command(
    ctx: typer.Context,
    file: Annotated[
        str, typer.Argument(metavar="[PLAN]", help="The same as --plan FILE.", show_default=False)
    ] = "",
    *,
    plan: Annotated[
        str, typer.Option("--plan", metavar="FILE", help="Do what `warmset plan --out` saved.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be done, as `plan` does.")
    ] = False,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long it may take.")
    ] = "10m",
    output: OutputOption = Output.TABLE,
) -> None:
    """Load and unload until the plan is true, or say why it is not (exit code 8)."""
    from warmset.cli.durations import parse_seconds
    from warmset.shell.one_pass import prepare
    from warmset.shell.saved_plan import load_plan, plan_of, refuse_stale

    options = options_of(ctx)
    settings = settings_of(ctx)
    limit_seconds = parse_seconds(timeout, "--timeout")
    if file and plan:
        raise typer.BadParameter("two plans: one at a time is applied", ctx)
    saved = load_plan(Path(file or plan)) if file or plan else None
    if dry_run:
        from warmset.cli.commands.plan import exit_unless_applicable, preview_host, show

        seen = preview_host(settings)
        if saved is not None:
            refuse_stale(saved, plan_of(seen))
        show(ctx, seen, output)
        exit_unless_applicable(seen)
        return

    def tell(finding: Finding) -> None:
        say(f"{finding.name or 'host'}: {finding.text}", quiet=options.quiet)

    with prepare(settings, os.environ, may_write=True, tell=tell) as prepared:
        seen = prepared.work.preview()
        decision = seen.decision
        if saved is not None:
            refuse_stale(saved, plan_of(seen))
        if decision.changes and output is not Output.JSON:
            _print_steps(decision, no_color=options.no_color)
        if decision.changes and not yes and saved is None:
            _ask()
        agreed = {member.key for member in decision.members}

        def check(present: Decision) -> None:
            if saved is not None:
                _refuse_change(agreed, present)

        applied = prepared.work.run(limit_seconds=limit_seconds, check=check)
        _print_result(applied, prepared, output, had_changes=bool(decision.changes))


def _refuse_change(agreed: set[ModelKey], decision: Decision) -> None:
    """A plan that was agreed to must stay the plan.

    Raises:
        Refused: it is another one now.
    """
    from warmset.errors import Refused

    if {member.key for member in decision.members} != agreed:
        raise Refused(
            "the host has moved on since the plan was made: the warm set that fits now",
            hint="make the plan again with `warmset plan --out FILE`",
        )


def _ask() -> None:
    """Asks on a terminal; elsewhere nobody could answer.

    Raises:
        Refused: the answer is no, or there is nobody to ask.
    """
    from warmset.errors import Refused

    if not sys.stdin.isatty():
        raise Refused("nothing was done: there is nobody to ask", hint="say --yes, or --plan FILE")
    if not typer.confirm("Do it?", err=True):
        raise Refused("nothing was done")


def _print_steps(decision: Decision, *, no_color: bool) -> None:
    rows = [
        {"step": n, "action": c.kind.value, "name": c.name, "reason": c.reason}
        for n, c in enumerate(decision.changes, start=1)
    ]
    table(rows, STEP_COLUMNS, no_color=no_color)


def _print_result(
    applied: Applied, prepared: Prepared, output: Output, *, had_changes: bool
) -> None:
    names = [member.name for member in applied.decision.members]
    if output is Output.JSON:
        emit(
            {
                "converged": True,
                "server": prepared.connection.server.url,
                "warm_set": names,
                "left_out": [
                    {"key": m.key, "name": m.name, "reason": m.reason}
                    for m in applied.decision.left_out
                ],
                "findings": [
                    {"kind": f.kind, "name": f.name or None, "text": f.text, "basis": f.basis}
                    for f in applied.findings
                ],
            }
        )
    elif output is Output.NAME:
        emit_names(names)
    else:
        _print_text(applied, names, had_changes=had_changes)


def _print_text(applied: Applied, names: list[str], *, had_changes: bool) -> None:
    for model in applied.decision.left_out:
        print(f"left out: {model.name}: {model.reason}")
    if had_changes:
        print(f"The plan is true: {', '.join(names) or 'nothing'} resident.")
    else:
        print("Nothing to do: what is resident is what is wanted.")
