"""From one look at a host to the plan: the way that every verb takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from warmset.core.host.observed import observe_by_device
from warmset.core.model import DeviceId, ModelKey, Observation, find_entry
from warmset.core.planner.build import build_candidates
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.host_room import build_host
from warmset.core.planner.planning import plan
from warmset.core.planner.result import Plan
from warmset.core.settings import Settings, merge_server
from warmset.shell.observe import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A plan with all that it was made from."""

    observation: Observation
    settings: Settings
    host: HostCapacity
    candidates: tuple[Candidate, ...]
    plan: Plan

    @property
    def notes(self) -> tuple[str, ...]:
        """Everything that limits what the plan can promise."""
        return notes_of(self.observation, self.settings, self.host, self.plan)


def notes_of(
    observation: Observation, settings: Settings, host: HostCapacity, made: Plan
) -> tuple[str, ...]:
    """Returns everything that limits what a plan can promise."""
    return (
        *(made.notes or host.notes),
        *missing_pins(observation, settings),
        *unreadable(observation),
        *assumptions(observation, settings, host),
    )


def assumptions(
    observation: Observation, settings: Settings, host: HostCapacity
) -> tuple[str, ...]:
    """Returns what was neither seen of the server nor said of it: Ollama's default is assumed."""
    env, server = host.env, merge_server(settings.server, observation.settings)
    taken = f" beside {host.strangers} that cannot be weighed" if host.strangers else ""
    assumed = (
        (server.max_loaded_models, f"at most {host.max_count} models{taken}"),
        (server.num_parallel, f"{env.num_parallel} slot each"),
        (server.kv_cache_type, "KV cache in f16"),
        (server.context_length, "the automatic context where no model says otherwise"),
    )
    unknown = [words for value, words in assumed if value is None]
    if not unknown:
        return ()
    told = ", ".join(unknown)
    return (f"not known of the server, so Ollama's defaults are assumed: {told}",)


def missing_pins(observation: Observation, settings: Settings) -> tuple[str, ...]:
    """Returns what to say of pinned models that are not installed: nothing can hold them."""
    return tuple(
        f"{policy.name} is pinned, but not installed on this server"
        for policy in settings.models.values()
        if policy.pin and find_entry(observation.entries, policy.name) is None
    )


def unreadable(observation: Observation) -> tuple[str, ...]:
    """Returns what to say of installed models whose metadata did not come."""
    return tuple(
        f"{entry.name}: its metadata is not known ({entry.basis}), so nothing is promised of it"
        for entry in observation.entries
        if not entry.facts
    )


def locate(seen: Seen) -> Mapping[ModelKey, Mapping[DeviceId, int]]:
    """Returns device -> bytes of each resident that the drivers count wholly."""
    found: dict[ModelKey, Mapping[DeviceId, int]] = {}
    for resident in seen.observation.residents or ():
        counts = observe_by_device(seen.picture, resident)
        if resident.key is not None and counts and None not in counts.values():
            found[resident.key] = {d: n for d, n in counts.items() if n is not None}
    return found


def decide(
    observation: Observation,
    settings: Settings,
    *,
    located: Mapping[ModelKey, Mapping[DeviceId, int]] | None = None,
) -> Decision:
    """Returns the plan for what was seen; `located` is what `locate` tells of the residents."""
    host, where = build_host(observation, settings, located=located)
    candidates = build_candidates(observation, settings, host, where)
    return Decision(
        observation=observation,
        settings=settings,
        host=host,
        candidates=candidates,
        plan=plan(candidates, host),
    )
