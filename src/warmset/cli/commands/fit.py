"""`warmset fit A B C`: can these models be resident together? Reads only; exit code 6 for no."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.completing import complete_model
from warmset.cli.exits import ExitCode
from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

if TYPE_CHECKING:
    from warmset.core.planner.capacity import HostCapacity
    from warmset.core.planner.verdict import Fit

COLUMNS = (
    Column(key="name", title="NAME"),
    Column(key="where", title="WHERE"),
    Column(key="need", title="NEED", right=True),
    Column(key="upper", title="AT MOST", right=True),
    Column(key="basis", title="BASIS", wide=True),
    Column(key="state", title="STATE"),
)


def command(
    ctx: typer.Context,
    models: Annotated[
        list[str],
        typer.Argument(metavar="MODEL…", help="Installed models.", autocompletion=complete_model),
    ],
    *,
    context: Annotated[
        int | None, typer.Option("--context", "--ctx", min=1, help="Context of each, in tokens.")
    ] = None,
    parallel: Annotated[
        int | None, typer.Option("--parallel", min=1, max=256, help="Slots of each.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Tell whether models fit together, beside the pinned ones, and where they would be."""
    from warmset.cli.demand_text import describe_demand
    from warmset.cli.fit_text import describe_instead, print_instead
    from warmset.core.planner.result import Verdict
    from warmset.core.planner.verdict import fit
    from warmset.shell.decide import decide, locate
    from warmset.shell.instead import Fitting, fit_instead
    from warmset.shell.naming import require_entry
    from warmset.shell.newcomer import notes_on_context, with_policy
    from warmset.shell.observe import look_closely

    settings = settings_of(ctx)
    close = look_closely(settings)
    seen = close.observation
    entries = [require_entry(seen.entries, name, url=seen.server_url) for name in models]
    for entry in entries:
        settings = with_policy(settings, entry.name, context=context, parallel=parallel)
    located = locate(close)
    decision = decide(seen, settings, located=located)
    wanted = tuple(dict.fromkeys(entry.key for entry in entries))
    outcome = fit(wanted, decision.candidates, decision.host)
    instead = Fitting()
    if outcome.conflict is not None and output is not Output.NAME:
        instead = fit_instead(decision, located, wanted)
    if output is Output.JSON:
        asked = {c.name: describe_demand(c.demand) for c in decision.candidates if c.key in wanted}
        emit({**describe(outcome), **describe_instead(instead), "demand": asked})
    elif output is Output.NAME:
        emit_names([member.name for member in outcome.members])
    else:
        options = options_of(ctx)
        print_fit(outcome, decision.host, wide=output is Output.WIDE, no_color=options.no_color)
        if outcome.conflict is not None:
            print_instead(instead, no_color=options.no_color)
        for note in (*decision.notes, *notes_on_context(entries, context)):
            say(f"note: {note}", quiet=options.quiet)
    if outcome.verdict in (Verdict.REFUSED, Verdict.SPILLS):
        raise typer.Exit(ExitCode.REFUSED)


def print_fit(outcome: Fit, host: HostCapacity, *, no_color: bool, wide: bool = False) -> None:
    """Prints the verdict, where the models would be, and who would have to go."""
    from warmset.core.units import format_bytes

    print(f"{outcome.verdict.value}: {outcome.reason}")
    if outcome.evicts:
        print(f"would have to go: {', '.join(outcome.evicts)}")
    labels = {gpu.id: gpu.label for gpu in host.gpus}
    rows = [
        {
            "name": member.name,
            "where": " + ".join(labels[d] for d in member.upper) or "RAM",
            "need": format_bytes(sum(member.point.values()) or member.ram_bytes),
            "basis": member.basis,
            "upper": format_bytes(sum(member.upper.values()) or member.ram_bytes),
            "state": "resident" if member.is_resident else "to load",
        }
        for member in outcome.members
    ]
    if rows:
        print()
        table(rows, COLUMNS, wide=wide, no_color=no_color)
    if outcome.plan.fragile and outcome.members:
        print()
        for restore in outcome.plan.fragile:
            evicts = ", ".join(restore.evicts) or "nothing that would help"
            print(f"fragile: a lost {restore.name} comes back only by evicting {evicts}")


def describe(outcome: Fit) -> Mapping[str, object]:
    """Returns the document of `-o json`."""
    return {
        "verdict": outcome.verdict.value,
        "reason": outcome.reason,
        "evicts": list(outcome.evicts),
        "members": [
            {
                "name": member.name,
                "key": member.key,
                "placement_bytes": dict(member.point),
                "placement_upper_bytes": dict(member.upper),
                "ram_bytes": member.ram_bytes,
                "basis": member.basis,
                "is_resident": member.is_resident,
            }
            for member in outcome.members
        ],
        "fragile": [
            {"name": r.name, "evicts": list(r.evicts), "reason": r.reason}
            for r in outcome.plan.fragile
        ],
        "conflict": None if outcome.conflict is None else list(outcome.conflict.names),
    }
