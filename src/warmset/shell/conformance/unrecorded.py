"""Unloads that a recording does not show, inferred from what it proves.

The recorder unloaded models between cases without writing that down. Three things prove it:

- a `CASE` event: a new case begins without the models of the last one, unless the recording
  shows one of them resident before anything asks for it;
- a request that took as long as a load although the twin has the model resident and would serve
  it at once. The unload is then put into the last pause of the recorded client before that
  request and after the last sign of the model;
- a clean slate: a list that has models loaded after some pause of the client and none of those
  that were there before, and no later answer that shows one of these without a load.

One model missing from a list proves nothing. Without a pause of `SHORTEST_PAUSE_SECONDS` in
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
class Finding:
    """What a step proves: unloads before it, or that it cannot be explained.

    Attributes:
        unloads: moments and weights.
        doubt: why the step does not fit, when no unload explains it.
    """

    step: Step
    unloads: tuple[tuple[float, str], ...] = ()
    doubt: str = ""


def find_unloads(scene: Scene, step: Step, knowledge: ModelKnowledge) -> Finding | None:
    """Returns what a step, about to be replayed, proves of models that the twin has resident."""
    if step.path == "/api/ps":
        return _find_clean_slate(scene, step)
    key = _loaded_in_vain(scene, step, knowledge)
    if not key:
        return None
    moment = _place_unload(scene.recording, step, _names_of(scene.host, key))
    if moment is not None:
        return Finding(step=step, unloads=((moment, key),))
    text = (
        f"recorded as a load of {step.load_seconds:.3f} s, but the twin has {step.model} resident"
    )
    return Finding(step=step, doubt=f"step {step.index}: {step.method} {step.path}: {text}")


def _loaded_in_vain(scene: Scene, step: Step, knowledge: ModelKnowledge) -> str:
    """Returns the weights that a request loaded where the twin would serve it at once."""
    if not step.uses_runner or step.status != 200 or step.load_seconds is None:
        return ""
    usual = knowledge.load_seconds(step.model)
    if step.load_seconds < max(usual * _COLD_RATIO, _COLD_SECONDS):
        return ""
    if any(other.t < step.t < other.ends_t for other in scene.recording.steps):
        return ""
    key = scene.key_of(step.model)
    return key if key and _is_served_at_once(scene.host, step, key) else ""


def _find_clean_slate(scene: Scene, step: Step) -> Finding | None:
    rows = step.last.get("models")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    recording, host = scene.recording, scene.host
    listed = {display(row["name"]) for row in rows}
    present = {key: _names_of(host, key) for key in host.scheduler.loaded}
    missing = {key: names for key, names in present.items() if not names & listed}
    if not listed or not missing or any(host.scheduler.loaded[key].refs for key in missing):
        return None
    if any(_is_seen_again(recording, step, names) for names in missing.values()):
        return None
    since = max(_last_sign(recording, step, names) for names in missing.values())
    pause = next((p for p in _pauses(recording) if since <= p[0] and p[1] <= step.t), None)
    if pause is None:
        return None
    moment = (pause[0] + pause[1]) / 2
    for names in present.values():
        if names & listed and _first_sign(recording, names) < moment:
            return None  # something stayed: then an unload of the rest is no clean slate
    return Finding(step=step, unloads=tuple((moment, key) for key in missing))


def _names_of(host: TwinHost, key: str) -> frozenset[str]:
    """Returns the names of some weights: those installed, and the one it was loaded under."""
    names = {display(m.name) for m in host.library.models() if m.key == key}
    runner = host.scheduler.loaded.get(key)
    return frozenset(names | ({display(runner.model.name)} if runner is not None else set()))


def _last_sign(recording: Recording, before: Step, names: Collection[str]) -> float:
    """Returns the last moment at which a model is known to have been resident."""
    signs = [
        step.ends_t if step.uses_runner else step.t
        for step in recording.steps
        if step.ends_t <= before.t and step is not before and _shows(step, names)
    ]
    return max(signs, default=0.0)


def _first_sign(recording: Recording, names: Collection[str]) -> float:
    return min((step.t for step in recording.steps if _shows(step, names)), default=0.0)


def _is_seen_again(recording: Recording, after: Step, names: Collection[str]) -> bool:
    """Whether the next answer about a model shows it resident without a load."""
    for step in recording.steps:
        if step.index > after.index and _shows(step, names):
            return not step.uses_runner or (step.load_seconds or 0.0) < _COLD_SECONDS
    return False


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


def _place_unload(recording: Recording, found: Step, names: Collection[str]) -> float | None:
    """Returns the moment in which the model can have been unloaded last, if there is one."""
    since = _last_sign(recording, found, names)
    pauses = [
        (begin + end) / 2 for begin, end in _pauses(recording) if begin >= since and end <= found.t
    ]
    return max(pauses, default=None)


def _pauses(recording: Recording) -> list[tuple[float, float]]:
    """Returns the times long enough for an unload in which no request was on its way."""
    spans = sorted((step.t, step.ends_t) for step in recording.steps)
    pauses, busy_until = [], 0.0
    for begin, end in spans:
        if begin - busy_until >= SHORTEST_PAUSE_SECONDS:
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
