"""Unloads that a recording does not show, inferred from what it proves.

The recorder unloaded models between cases without writing that down. Two things prove it:

- a `CASE` event: a new case begins without the models of the last one, unless the recording
  shows one of them resident before anything asks for it;
- a request that took as long as a load although the twin has the model resident and would serve
  it at once. The unload is then put into the longest pause of the recorded client between the
  last sign of the model and the first sign of its absence. A list of residents that lacks a
  model proves nothing by itself, and without a pause of at least `SHORTEST_PAUSE_SECONDS` in
  which an unload can have happened none is inferred: then the replay shows the difference.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from warmset.core.ollama.options import OptionError
from warmset.core.ollama.reload import reload_reason
from warmset.core.twin.host import TwinHost
from warmset.shell.conformance.model_hints import display
from warmset.shell.conformance.recorded_models import ModelKnowledge
from warmset.shell.conformance.recording import Happening, Recording, Step

if TYPE_CHECKING:
    from warmset.shell.conformance.replay import Scene

SHORTEST_PAUSE_SECONDS: Final = 0.0025
"""An unload and its confirmation took 4 ms and more (transcript 07); times are in milliseconds,
and a client that pauses for nothing leaves one at most."""
_COLD_RATIO: Final = 0.7
_COLD_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Contradiction:
    """A recorded load of a model that the twin would serve at once."""

    step: Step
    key: str
    names: frozenset[str]


def find_contradiction(scene: Scene, step: Step, knowledge: ModelKnowledge) -> Contradiction | None:
    """Returns the proof that a request found its model not resident, where the twin has it."""
    if not step.uses_runner or step.status != 200 or step.load_seconds is None:
        return None
    usual = knowledge.load_seconds(step.model)
    if step.load_seconds < max(usual * _COLD_RATIO, _COLD_SECONDS):
        return None
    if any(other.t < step.t < other.ends_t for other in scene.recording.steps):
        return None
    key = scene.key_of(step.model)
    if not key or not _is_served_at_once(scene.host, step, key):
        return None
    names = {display(m.name) for m in scene.host.library.models() if m.key == key}
    return Contradiction(step=step, key=key, names=frozenset(names))


def _is_served_at_once(host: TwinHost, step: Step, key: str) -> bool:
    model, runner = host.library.find(step.model), host.scheduler.loaded.get(key)
    if model is None or runner is None or not runner.is_alive:
        return False
    is_native = step.path.startswith("/api/") and isinstance(step.body, dict)
    options = step.body.get("options") or {} if is_native else {}
    shift = step.body.get("shift") if is_native else None
    try:
        shape = host.shape(model, options, shift)
    except OptionError:
        return False
    loaded = replace(runner.shape, adapters=shape.adapters, projectors=shape.projectors)
    return reload_reason(loaded, shape) is None


def place_unload(recording: Recording, found: Contradiction) -> float | None:
    """Returns the moment in which the model can have been unloaded, if there is one."""
    until = found.step.t
    since = 0.0
    for step in recording.steps:
        if step.ends_t <= until and step is not found.step and _shows(step, found.names):
            since = max(since, step.ends_t if step.uses_runner else step.t)
    for step in recording.steps:
        if step.path == "/api/ps" and since < step.t < until and not _shows(step, found.names):
            until = step.t
    pauses = [
        (end - begin, (begin + end) / 2)
        for begin, end in _pauses(recording)
        if begin >= since and end <= until and end - begin >= SHORTEST_PAUSE_SECONDS
    ]
    return max(pauses)[1] if pauses else None


def _pauses(recording: Recording) -> list[tuple[float, float]]:
    """Returns the times in which no recorded request was on its way."""
    spans = sorted((step.t, step.ends_t) for step in recording.steps)
    pauses, busy_until = [], 0.0
    for begin, end in spans:
        if begin > busy_until:
            pauses.append((busy_until, begin))
        busy_until = max(busy_until, end)
    return pauses


def _shows(step: Step, names: Collection[str]) -> bool:
    """Whether an answer shows one of the names resident, by listing or by use."""
    if step.path == "/api/ps":
        rows = step.last.get("models") or ()
        return any(isinstance(row, dict) and display(row["name"]) in names for row in rows)
    return step.uses_runner and display(step.model) in names


def stays_after_case(recording: Recording, case: Happening, names: Collection[str]) -> bool:
    """Returns whether a model is seen resident after a `CASE` before anything asks for it."""
    for step in recording.steps:
        if step.index > case.index and _shows(step, names):
            return step.path == "/api/ps"
    return False
