"""How `warmset plan` looks to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmset.cli.demand_text import demand_text
from warmset.cli.render import Column, printable, table
from warmset.core.control.actions import Wait
from warmset.core.control.preview import Preview
from warmset.core.planner.result import ActionKind, Member, Plan
from warmset.core.units import format_bytes

SET_COLUMNS = (
    Column(key="name", title="NAME"),
    Column(key="priority", title="PRIORITY", right=True),
    Column(key="pin", title="PIN"),
    Column(key="where", title="WHERE"),
    Column(key="need", title="NEED", right=True),
    Column(key="upper", title="AT MOST", right=True),
    Column(key="basis", title="BASIS", wide=True),
    Column(key="forecast", title="OLLAMA EXPECTS", right=True),
    Column(key="state", title="STATE"),
    Column(key="value", title="SAVES S/DAY", right=True, wide=True),
    Column(key="demand", title="REQUESTS A DAY", right=True, wide=True),
    Column(key="if_lost", title="IF LOST"),
)
ACTION_COLUMNS = (
    Column(key="step", title="STEP", right=True),
    Column(key="action", title="ACTION"),
    Column(key="name", title="NAME"),
    Column(key="reason", title="REASON"),
)


def print_plan(seen: Preview, more: Sequence[Member], *, wide: bool, no_color: bool) -> None:
    """Prints the warm set, what stays out, and the steps.

    Args:
        seen: the plan.
        more: what nobody configured and would fit too.
        wide: with all columns.
        no_color: plain even on a terminal.
    """
    wish = seen.wish
    if wish.conflict is not None:
        print(f"refused: {printable(wish.conflict.reason)}")
        print(_way_out([printable(name) for name in wish.conflict.names]))
        return
    rows = [_member_row(member, seen) for member in wish.plan.members]
    if rows:
        table(rows, SET_COLUMNS, wide=wide, no_color=no_color)
    else:
        print(_why_empty(seen))
    _print_others(seen, more)
    print()
    _print_steps(seen, no_color=no_color)
    print()
    print(_summary(wish.plan))
    if not wish.managed:
        print(
            "No installed model is configured, so none is loaded: `warmset init` writes a "
            "budgets.toml, `warmset plan --all` shows what could be in it."
        )


def _why_empty(seen: Preview) -> str:
    if not seen.wish.managed:
        return "no model is resident, and none is configured"
    host = seen.wish.host
    return "nothing can be promised" if host.gpus and not host.known else "nothing fits"


def _way_out(names: Sequence[str]) -> str:
    """Returns what works where these are pinned in vain."""
    pins = names[0] if len(names) == 1 else f"one of {', '.join(names)}"
    return f"Unpin {pins}, or see `warmset fit {' '.join(names)}` for a smaller form that fits."


def _print_others(seen: Preview, more: Sequence[Member]) -> None:
    if seen.wish.plan.left_out:
        print()
        print("Left out:")
        for model in seen.wish.plan.left_out:
            print(f"  {printable(model.name)}: {printable(model.reason)}")
    if more:
        print()
        print("Would fit too, and nobody configured it:")
        for member in more:
            held = format_bytes(sum(member.upper.values()) or member.ram_bytes)
            print(f"  {printable(member.name)}: up to {held}")


def _print_steps(seen: Preview, *, no_color: bool) -> None:
    decision = seen.decision
    waits = [action for action in decision.actions if isinstance(action, Wait)]
    if not seen.wish.host.knows_residents:
        print("No steps: what is resident is not known.")
        return
    if not seen.is_decided:
        print(f"No steps now: {'; '.join(printable(wait.reason) for wait in waits)}.")
        return
    if decision.changes:
        steps = [
            {"step": n, "action": a.kind.value, "name": a.name, "reason": a.reason}
            for n, a in enumerate(decision.changes, start=1)
        ]
        table(steps, ACTION_COLUMNS, no_color=no_color)
    elif decision.is_converged:
        print("Nothing to do: what is resident is what is wanted.")
    for wait in waits:
        name = f"{printable(wait.name)}: " if wait.name else ""
        print(f"Held back: {name}{printable(wait.reason)}")
    if decision.renewals:
        names = ", ".join(printable(renew.name) for renew in decision.renewals)
        print(f"Leases to give or renew: {names}")


def _summary(plan: Plan) -> str:
    if not plan.members:
        return "The warm set is empty."
    proof = "the best set under these rules" if plan.is_proved else "not proved to be the best"
    if not plan.fragile:
        return f"The set is self-restoring ({proof})."
    names = ", ".join(restore.name for restore in plan.fragile)
    return f"The set is fragile ({proof}): Ollama would not simply take back {printable(names)}."


def _member_row(member: Member, seen: Preview) -> Mapping[str, object]:
    wish = seen.wish
    restore = next((r for r in wish.plan.fragile if r.key == member.key), None)
    if_lost = "returns by itself"
    if restore is not None:
        if_lost = f"evicts {', '.join(restore.evicts)}" if restore.evicts else "does not fit back"
    is_managed = member.key in wish.managed
    return {
        "name": member.name,
        "priority": member.priority if is_managed else None,
        "pin": "yes" if member.pin else "",
        "where": _where(member, seen),
        "need": format_bytes(sum(member.point.values()) or member.ram_bytes),
        "upper": format_bytes(sum(member.upper.values()) or member.ram_bytes),
        "basis": member.basis,
        "forecast": format_bytes(wish.candidate(member.key).forecast_bytes),
        "state": _state(member, seen),
        "value": f"{member.value:.0f}",
        "demand": demand_text(wish.candidate(member.key).demand),
        "if_lost": if_lost,
    }


def _state(member: Member, seen: Preview) -> str:
    if not seen.wish.host.knows_residents:
        return "unknown"
    if not member.is_resident:
        return "to load"
    is_reload = any(
        change.key == member.key and change.kind is not ActionKind.WAIT
        for change in seen.decision.changes
    )
    return "to reload" if is_reload else "resident"


def _where(member: Member, seen: Preview) -> str:
    labels = {gpu.id: gpu.label for gpu in seen.wish.host.gpus}
    return " + ".join(labels[device] for device in member.upper) or "RAM"
