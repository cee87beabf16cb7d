"""From one look at a host to the plan: the way that every verb takes."""

from __future__ import annotations

from dataclasses import dataclass

from warmset.core.model import Observation
from warmset.core.planner.build import build_candidates, build_host
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.planning import plan
from warmset.core.planner.result import Plan
from warmset.core.settings import Settings, merge_server


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A plan with all that it was made from."""

    observation: Observation
    settings: Settings
    host: HostCapacity
    candidates: tuple[Candidate, ...]
    plan: Plan

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What was neither seen of the server nor said of it: Ollama's default is assumed."""
        env, server = self.host.env, merge_server(self.settings.server, self.observation.settings)
        assumed = (
            (server.max_loaded_models, f"at most {self.host.max_count} models"),
            (server.num_parallel, f"{env.num_parallel} slot each"),
            (server.kv_cache_type, "KV cache in f16"),
            (server.context_length, "the automatic context where no model says otherwise"),
        )
        unknown = [words for value, words in assumed if value is None]
        if not unknown:
            return ()
        told = ", ".join(unknown)
        return (f"not known of the server, so Ollama's defaults are assumed: {told}",)

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything that limits what the plan can promise."""
        return (*(self.plan.notes or self.host.notes), *self.assumptions)


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
