"""From one look at a host to the plan: the way that every verb takes."""

from __future__ import annotations

from dataclasses import dataclass

from warmset.core.model import Observation
from warmset.core.planner.build import build_candidates, build_host
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.planning import plan
from warmset.core.planner.result import Plan
from warmset.core.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A plan with all that it was made from."""

    observation: Observation
    settings: Settings
    host: HostCapacity
    candidates: tuple[Candidate, ...]
    plan: Plan


def decide(observation: Observation, settings: Settings) -> Decision:
    """Returns the plan for what was seen."""
    host, where = build_host(observation, settings)
    candidates = build_candidates(observation, settings, host, where)
    return Decision(
        observation=observation,
        settings=settings,
        host=host,
        candidates=candidates,
        plan=plan(candidates, host),
    )
