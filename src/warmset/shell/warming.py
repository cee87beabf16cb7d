"""One model that is wanted now: the words for it, and saying no in time, with the reason."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Final

from warmset.core.control.actions import Decision, Wait
from warmset.core.model import Observation, find_entry, normalise_name
from warmset.core.planner.result import ActionKind
from warmset.core.settings import ModelPolicy, Settings
from warmset.errors import Refused


def only(settings: Settings, name: str) -> Settings:
    """Returns the settings under which this one model is fetched, and no other."""
    key = normalise_name(name)
    models = {n: replace(policy, preload=False) for n, policy in settings.models.items()}
    known = settings.models.get(key) or ModelPolicy(name=name)
    models[key] = replace(known, pin=True, preload=True)
    return replace(settings, models=MappingProxyType(models))


ONLY_CONFIGURED: Final = "warmset unloads only models that the configuration names"


def refuse_hopeless(
    name: str, observation: Observation, decision: Decision, *, hint: str = ONLY_CONFIGURED
) -> None:
    """Refuses a model that would not even be loaded after all that may go is gone.

    Raises:
        Refused: with the numbers.
    """
    entry = find_entry(observation.entries, name)
    assert entry is not None, name
    loading = {c.key for c in decision.changes if c.kind is ActionKind.PRELOAD}
    if entry.key in loading | {row.key for row in observation.residents or ()}:
        return
    waits = [a.reason for a in decision.actions if isinstance(a, Wait) and a.key == entry.key]
    outside = [model.reason for model in decision.left_out if model.key == entry.key]
    raise Refused(
        f"{name} cannot be loaded now: {'; '.join((*waits, *outside)) or 'there is no room'}",
        hint=hint,
        context={"model": name},
    )


def refuse_evictions(name: str, decision: Decision, *, hint: str) -> None:
    """Refuses a model for which others would have to go.

    Raises:
        Refused: naming them.
    """
    leaving = [c.name for c in decision.changes if c.kind is not ActionKind.PRELOAD]
    if leaving:
        raise Refused(
            f"{name} does not fit beside what is resident: {', '.join(leaving)} would have to go",
            hint=hint,
            context={"model": name, "leaving": tuple(leaving)},
        )
