"""How other programs use the planner; checked by mypy, never run."""

from collections.abc import Mapping, Sequence

from warmset.core.model import ModelKey, Observation
from warmset.core.planner import (
    ActionKind,
    Candidate,
    HostCapacity,
    Packing,
    Plan,
    Verdict,
    build_candidates,
    build_host,
    dry_run,
    fit,
    pack,
    plan,
)
from warmset.core.settings import Settings


def planned(observation: Observation, settings: Settings) -> Plan:
    host, where = build_host(observation, settings)
    return plan(build_candidates(observation, settings, host, where), host)


def to_load(outcome: Plan) -> tuple[ModelKey, ...]:
    return tuple(a.key for a in outcome.actions if a.kind is ActionKind.PRELOAD)


def fits(key: ModelKey, candidates: Sequence[Candidate], host: HostCapacity) -> bool:
    return fit([key], candidates, host).verdict in {Verdict.FITS, Verdict.FITS_WITH_EVICTIONS}


def cost(newcomer: Candidate, candidates: Sequence[Candidate], host: HostCapacity) -> float:
    return dry_run(newcomer, candidates, host).lost_value


def chosen(
    devices: Sequence[Mapping[str, object]], models: Sequence[Mapping[str, object]]
) -> list[str]:
    packing: Packing = pack(devices, models, max_loaded=3)
    return [str(name) for name in packing.placement]
