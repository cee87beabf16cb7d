"""The document of `warmset plan -o json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmset.cli.demand_text import describe_demand
from warmset.core.control.actions import Wait
from warmset.core.control.preview import Preview
from warmset.core.planner.result import Conflict, Member


def describe(
    seen: Preview, *, more: Sequence[Member], notes: Sequence[str]
) -> Mapping[str, object]:
    """Returns the document; `more` is what nobody configured and would fit too."""
    plan, host, decision = seen.wish.plan, seen.wish.host, seen.decision
    return {
        "verdict": plan.verdict.value,
        "is_self_restoring": plan.is_self_restoring,
        "is_proved": plan.is_proved,
        "is_converged": decision.is_converged,
        "knows_residents": host.knows_residents,
        "gap": plan.gap,
        "devices": [
            {
                "id": gpu.id,
                "name": gpu.name,
                "total_bytes": gpu.gpu.total_bytes,
                "usable_bytes": gpu.usable_bytes,
                "unknown": gpu.unknown,
            }
            for gpu in host.gpus
        ],
        "warm_set": [_member(member, seen) for member in plan.members],
        "left_out": [{"key": m.key, "name": m.name, "reason": m.reason} for m in plan.left_out],
        "would_fit_too": [
            {"key": m.key, "name": m.name, "upper_bytes": sum(m.upper.values()) or m.ram_bytes}
            for m in more
        ],
        "fragile": [
            {"key": r.key, "name": r.name, "evicts": list(r.evicts), "reason": r.reason}
            for r in plan.fragile
        ],
        "load_order": list(plan.order),
        "actions": [
            {"kind": a.kind.value, "key": a.key, "name": a.name, "reason": a.reason}
            for a in decision.changes
        ],
        "renewals": [
            {"key": r.key, "name": r.name, "keep_alive_seconds": r.keep_alive, "reason": r.reason}
            for r in decision.renewals
        ],
        "waits": [
            {"key": w.key, "name": w.name or None, "reason": w.reason}
            for w in decision.actions
            if isinstance(w, Wait)
        ],
        "objective": {str(priority): value for priority, value in plan.objective.items()},
        "conflict": _conflict(seen.wish.conflict),
        "postponed": _conflict(seen.wish.postponed),
        "notes": list(notes),
    }


def _member(member: Member, seen: Preview) -> Mapping[str, object]:
    is_managed = member.key in seen.wish.managed
    return {
        "key": member.key,
        "name": member.name,
        "is_configured": is_managed,
        "priority": member.priority if is_managed else None,
        "pin": member.pin,
        "placement_bytes": dict(member.point),
        "placement_upper_bytes": dict(member.upper),
        "ram_bytes": member.ram_bytes,
        "basis": member.basis,
        "ollama_forecast_bytes": seen.wish.candidate(member.key).forecast_bytes,
        "is_resident": member.is_resident,
        "value_seconds_per_day": member.value,
        "demand": describe_demand(seen.wish.candidate(member.key).demand),
    }


def _conflict(conflict: Conflict | None) -> Mapping[str, object] | None:
    if conflict is None:
        return None
    return {"names": list(conflict.names), "reason": conflict.reason}
