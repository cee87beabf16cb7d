"""Verdicts: does this set fit, and what would a new model change?

A negative verdict is a value with its numbers, never an error.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from warmset.core.model import ModelKey
from warmset.core.ollama.admission import Forecast
from warmset.core.planner.admission import Denied, forecast_on, try_load
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.explain import why_impossible
from warmset.core.planner.planning import plan
from warmset.core.planner.restore import evictions_for
from warmset.core.planner.result import Conflict, Member, Plan, Verdict
from warmset.core.planner.search import DEFAULT_WORK
from warmset.core.planner.standing import standing_world
from warmset.core.replacing import replace
from warmset.core.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether models can be resident together.

    Attributes:
        verdict: the worst of what applies.
        members: where the wanted models would be; empty if refused.
        evicts: residents that would have to go, lowest rank first.
        reason: the numbers.
        plan: the warm set around the wanted models.
    """

    verdict: Verdict
    members: tuple[Member, ...]
    evicts: tuple[str, ...]
    reason: str
    plan: Plan
    conflict: Conflict | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What adding one model would change.

    Attributes:
        fit: if somebody uses it: can it be resident beside the pins?
        with_it: the warm set while the newcomer is resident, whether it joins by itself or not;
            `after` if it cannot be, or where only the choice was asked for.
        joins: whether it would belong to the warm set by its own priority and value.
        pushed_out: members of the warm set that would leave it for the newcomer.
        absent: members of the warm set that are away while it is resident.
        lost_value: seconds of waiting per day that their absence costs.
        ollama_evicts: whom Ollama itself would evict if it were asked for now.
        ollama_reason: why, in Ollama's numbers; empty if it loads it without an eviction.
        forecast: Ollama's count on an empty host; `None`: not known.
    """

    fit: Fit
    before: Plan
    after: Plan
    with_it: Plan
    joins: bool
    pushed_out: tuple[str, ...]
    absent: tuple[str, ...]
    lost_value: float
    ollama_evicts: tuple[str, ...]
    ollama_reason: str
    forecast: Forecast | None


def fit(
    wanted: Collection[ModelKey],
    candidates: Sequence[Candidate],
    host: HostCapacity,
    *,
    work: int = DEFAULT_WORK,
) -> Fit:
    """Returns whether all of `wanted` can be resident together, beside the operator's pins.

    Args:
        wanted: keys among the candidates.
        candidates: all models of the host.
        host: what there is room for.
        work: search budget.
    """
    assert set(wanted) <= {c.key for c in candidates}, wanted
    pinned = [
        replace(c, pin=True, is_preloadable=True) if c.key in wanted else c
        for c in candidates
        if c.key in wanted or c.pin or c.is_resident  # whom else it could hold is not the question
    ]
    asked = frozenset(c.key for c in candidates if c.key in wanted and not c.pin)
    outcome = plan(pinned, host, asked=asked, work=work)
    members = tuple(m for m in outcome.members if m.key in wanted)
    if outcome.conflict is not None:
        verdict, reason = _refusal(host, [c for c in pinned if c.key in wanted], outcome.conflict)
        return Fit(
            verdict=verdict,
            members=(),
            evicts=(),
            reason=reason,
            plan=outcome,
            conflict=outcome.conflict,
        )
    inside = {m.key for m in outcome.members}
    ranked = sorted(candidates, key=lambda c: c.rank)
    evicts = tuple(c.name for c in ranked if c.is_resident and c.key not in inside)
    verdict = Verdict.FITS_WITH_EVICTIONS if evicts else Verdict.FITS
    if any(m.is_split for m in members):
        verdict = Verdict.SPLITS
    reason = "; ".join(_place_text(host, member) for member in members)
    return Fit(verdict=verdict, members=members, evicts=evicts, reason=reason, plan=outcome)


def _refusal(
    host: HostCapacity, wanted: Sequence[Candidate], conflict: Conflict
) -> tuple[Verdict, str]:
    """Tells a model that Ollama would load in part to RAM from one that cannot be held at all."""
    if len(wanted) != 1 or conflict.keys != (wanted[0].key,):
        return Verdict.REFUSED, conflict.reason
    candidate = wanted[0]
    whole, ram = candidate.on_cpu_bytes, host.ram_bytes
    is_readable = why_impossible(host, candidate) is None and not host.is_cpu_only
    if not is_readable or whole is None or ram is None:
        return Verdict.REFUSED, conflict.reason
    gpus = sum(gpu.usable_bytes or 0 for gpu in host.known)
    if whole > ram + gpus:
        return Verdict.REFUSED, conflict.reason
    need = max(whole, candidate.on_one.upper_bytes if candidate.on_one else 0)
    return (
        Verdict.SPILLS,
        f"{conflict.reason}; about {format_bytes(need - gpus)} of it would lie in RAM"
        if need > gpus
        else f"{conflict.reason}; Ollama would leave a part of it in RAM",
    )


def _place_text(host: HostCapacity, member: Member) -> str:
    labels = {gpu.id: gpu.label for gpu in host.gpus}
    if not member.upper:
        return f"{member.name}: in RAM, {format_bytes(member.ram_bytes)}"
    places = ", ".join(f"{labels[d]} {format_bytes(count)}" for d, count in member.upper.items())
    return f"{member.name}: up to {places}"


def dry_run(
    newcomer: Candidate,
    candidates: Sequence[Candidate],
    host: HostCapacity,
    *,
    before: Plan | None = None,
    fixed: Collection[ModelKey] = (),
    is_brief: bool = False,
    work: int = DEFAULT_WORK,
) -> DryRun:
    """Returns what adding `newcomer` to the host's models would change.

    Args:
        newcomer: a model that is not among `candidates`, or one of them to look at alone.
        candidates: the models of the host.
        host: what there is room for.
        before: the plan without it, if that is known already.
        fixed: residents that the warm set is planned around, though Ollama may evict them.
        is_brief: whether it is enough to know if it joins, without the set around it if not.
        work: search budget of each plan.
    """
    others = [c for c in candidates if c.key != newcomer.key]
    around = [replace(c, pin=True) if c.key in fixed else c for c in others]
    if before is None:
        before = plan(around, host, work=work)
    after = plan([*around, newcomer], host, work=work)
    joins = any(m.key == newcomer.key for m in after.members)
    is_enough = joins or is_brief
    with_it = after if is_enough else _plan_with(newcomer, others, host, after, work)
    pushed, absent = (_missing(before, later) for later in (after, with_it))
    residents = [c for c in others if c.is_resident]
    world = standing_world(host, residents) or ()
    outcome = try_load(host, world, newcomer)
    refusal = outcome if isinstance(outcome, Denied) else None
    return DryRun(
        fit=fit([newcomer.key], [*others, newcomer], host, work=work),
        before=before,
        after=after,
        with_it=with_it,
        joins=joins,
        pushed_out=tuple(m.name for m in pushed),
        absent=tuple(m.name for m in absent),
        lost_value=sum(m.value for m in absent),
        ollama_evicts=evictions_for(host, world, newcomer) if refusal and refusal.evicts else (),
        ollama_reason=refusal.reason if refusal else "",
        forecast=first_forecast(host, newcomer),
    )


def _plan_with(
    newcomer: Candidate, others: Sequence[Candidate], host: HostCapacity, without: Plan, work: int
) -> Plan:
    """Returns the best set around a newcomer that is resident all the same, as after a request."""
    held = replace(newcomer, pin=True, is_preloadable=True)
    around = plan([*others, held], host, asked=frozenset({newcomer.key}), work=work)
    return without if around.conflict is not None else around


def _missing(before: Plan, later: Plan) -> list[Member]:
    inside = {member.key for member in later.members}
    return [member for member in before.members if member.key not in inside]


def first_forecast(host: HostCapacity, candidate: Candidate) -> Forecast | None:
    """Returns Ollama's count for a model on the empty host; `None` if it is not known."""
    return next(iter(forecast_on(host, (), candidate)), None)
