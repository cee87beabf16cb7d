"""Saying no in time: a model that would not come, told with the reason before anything is done."""

from __future__ import annotations

from warmset.core.control.actions import Decision, Wait
from warmset.core.model import Observation, find_entry
from warmset.core.planner.result import ActionKind
from warmset.errors import Refused


def refuse_hopeless(name: str, observation: Observation, decision: Decision) -> None:
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
        hint="warmset unloads only models that the configuration names",
        context={"model": name},
    )
