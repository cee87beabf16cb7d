"""`warmset plan`: the warm set, what stays out and why, and what would be done. Reads only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmset.cli.exits import ExitCode
from warmset.cli.options import OutputOption, options_of, settings_of
from warmset.cli.render import Column, Output, emit, emit_names, say, table

if TYPE_CHECKING:
    from warmset.core.planner.result import Member, Plan
    from warmset.core.settings import Settings
    from warmset.shell.decide import Decision

SET_COLUMNS = (
    Column(key="name", title="NAME"),
    Column(key="priority", title="PRIORITY", right=True),
    Column(key="pin", title="PIN"),
    Column(key="where", title="WHERE"),
    Column(key="need", title="NEED", right=True),
    Column(key="upper", title="AT MOST", right=True),
    Column(key="forecast", title="OLLAMA EXPECTS", right=True),
    Column(key="state", title="STATE"),
    Column(key="value", title="SAVES S/DAY", right=True, wide=True),
    Column(key="if_lost", title="IF LOST"),
)
ACTION_COLUMNS = (
    Column(key="step", title="STEP", right=True),
    Column(key="action", title="ACTION"),
    Column(key="name", title="NAME"),
    Column(key="reason", title="REASON"),
)


def command(
    ctx: typer.Context,
    *,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 7 when changes are pending.")
    ] = False,
    out: Annotated[
        str, typer.Option("--out", metavar="FILE", help="Save the plan for `apply --plan FILE`.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Show which models fit together, and what would be done. Changes nothing."""
    from warmset.shell.decide import decide, locate
    from warmset.shell.observe import look_closely

    options = options_of(ctx)
    settings = settings_of(ctx)
    close = look_closely(settings)
    decision = decide(close.observation, settings, located=locate(close))
    plan = decision.plan
    if output is Output.JSON:
        emit(describe(decision))
    elif output is Output.NAME:
        emit_names([member.name for member in plan.members])
    else:
        _print(decision, wide=output is Output.WIDE, no_color=options.no_color)
        for note in decision.notes:
            say(f"note: {note}", quiet=options.quiet)
    if plan.conflict is not None:
        raise typer.Exit(ExitCode.REFUSED)
    if not decision.host.knows_residents:
        raise typer.Exit(ExitCode.INCOMPLETE)
    if out:
        _save(settings, out, quiet=options.quiet)
    if detailed_exitcode and plan.changes:
        raise typer.Exit(ExitCode.CHANGES)


def _save(settings: Settings, out: str, *, quiet: bool) -> None:
    """Saves what `apply` would do: the configured models only, by the loop's own step."""
    from warmset.shell.one_pass import prepare
    from warmset.shell.saved_plan import plan_of, save_plan

    with prepare(settings, os.environ, may_write=False) as prepared:
        observation, decision = prepared.work.preview()
        saved = plan_of(observation, prepared.config(), decision)
        save_plan(Path(out), saved, made_at=observation.at)
    steps = ", ".join(f"{change.kind.value} {change.name}" for change in decision.changes)
    say(f"saved {saved.digest[:12]} to {out}: {steps or 'nothing to do'}", quiet=quiet)


def _print(decision: Decision, *, wide: bool, no_color: bool) -> None:
    plan = decision.plan
    if plan.conflict is not None:
        print(f"refused: {plan.conflict.reason}")
        return
    rows = [_member_row(member, decision) for member in plan.members]
    if rows:
        table(rows, SET_COLUMNS, wide=wide, no_color=no_color)
    else:
        print("nothing fits")
    if plan.left_out:
        print()
        print("Left out:")
        for model in plan.left_out:
            print(f"  {model.name}: {model.reason}")
    print()
    if not decision.host.knows_residents:
        print("No steps: what is resident is not known.")
    elif not plan.changes:
        print("Nothing to do: what is resident is what is wanted.")
    else:
        steps = [
            {"step": n, "action": a.kind.value, "name": a.name, "reason": a.reason}
            for n, a in enumerate(plan.changes, start=1)
        ]
        table(steps, ACTION_COLUMNS, no_color=no_color)
    print()
    print(_summary(plan))


def _summary(plan: Plan) -> str:
    if not plan.members:
        return "The warm set is empty."
    proof = "the best set under these rules" if plan.is_proved else "not proved to be the best"
    if not plan.fragile:
        return f"The set is self-restoring ({proof})."
    names = ", ".join(restore.name for restore in plan.fragile)
    return f"The set is fragile ({proof}): Ollama would not simply take back {names}."


def _member_row(member: Member, decision: Decision) -> Mapping[str, object]:
    from warmset.core.units import format_bytes

    restore = next((r for r in decision.plan.fragile if r.key == member.key), None)
    if_lost = "returns by itself"
    if restore is not None:
        if_lost = f"evicts {', '.join(restore.evicts)}" if restore.evicts else "does not fit back"
    return {
        "name": member.name,
        "priority": member.priority,
        "pin": "yes" if member.pin else "",
        "where": _where(member, decision),
        "need": format_bytes(sum(member.point.values()) or member.ram_bytes),
        "upper": format_bytes(sum(member.upper.values()) or member.ram_bytes),
        "forecast": format_bytes(_forecast(member, decision)),
        "state": _state(member, decision),
        "value": f"{member.value:.0f}",
        "if_lost": if_lost,
    }


def _state(member: Member, decision: Decision) -> str:
    if not decision.host.knows_residents:
        return "unknown"
    if not member.is_resident:
        return "to load"
    is_reload = any(a.key == member.key for a in decision.plan.changes)
    return "to reload" if is_reload else "resident"


def _where(member: Member, decision: Decision) -> str:
    labels = {gpu.id: gpu.label for gpu in decision.host.gpus}
    return " + ".join(labels[device] for device in member.upper) or "RAM"


def _forecast(member: Member, decision: Decision) -> int | None:
    """Returns what Ollama's own formula says of the same load."""
    from warmset.core.ollama.context import server_context
    from warmset.core.ollama.predict import predict_vram

    candidate = next(c for c in decision.candidates if c.key == member.key)
    if candidate.file is None or candidate.shape is None:
        return None
    cells = server_context(candidate.shape.options.num_ctx, candidate.file, candidate.parallel)
    return predict_vram(candidate.file, cells)


def describe(decision: Decision) -> Mapping[str, object]:
    """Returns the document of `-o json`."""
    plan = decision.plan
    return {
        "verdict": plan.verdict.value,
        "is_self_restoring": plan.is_self_restoring,
        "is_proved": plan.is_proved,
        "knows_residents": decision.host.knows_residents,
        "gap": plan.gap,
        "devices": [
            {
                "id": gpu.id,
                "name": gpu.name,
                "total_bytes": gpu.gpu.total_bytes,
                "usable_bytes": gpu.usable_bytes,
                "unknown": gpu.unknown,
            }
            for gpu in decision.host.gpus
        ],
        "warm_set": [
            {
                "key": member.key,
                "name": member.name,
                "priority": member.priority,
                "pin": member.pin,
                "placement_bytes": dict(member.point),
                "placement_upper_bytes": dict(member.upper),
                "ram_bytes": member.ram_bytes,
                "ollama_forecast_bytes": _forecast(member, decision),
                "is_resident": member.is_resident,
                "value_seconds_per_day": member.value,
            }
            for member in plan.members
        ],
        "left_out": [{"key": m.key, "name": m.name, "reason": m.reason} for m in plan.left_out],
        "fragile": [
            {"key": r.key, "name": r.name, "evicts": list(r.evicts), "reason": r.reason}
            for r in plan.fragile
        ],
        "load_order": list(plan.order),
        "actions": [
            {"kind": a.kind.value, "key": a.key, "name": a.name, "reason": a.reason}
            for a in plan.actions
        ],
        "objective": {str(priority): value for priority, value in plan.objective.items()},
        "conflict": None
        if plan.conflict is None
        else {"names": list(plan.conflict.names), "reason": plan.conflict.reason},
        "notes": list(decision.notes),
    }
