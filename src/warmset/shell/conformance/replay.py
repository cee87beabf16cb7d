"""One recording replayed against a twin: requests at their moments, events acted out or checked.

The twin's time is held and moved to the moment of each step, so the order of things is that of
the recording however slow the machine is. `pace` makes real time pass as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Final, Generic, TypeVar

from warmset.core.ollama.env import ServerEnv
from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.events import Event, Unloaded
from warmset.core.twin.host import HostSpec, TwinHost
from warmset.core.twin.library import InstalledModel
from warmset.core.units import GIB
from warmset.shell.conformance.compare import compare_answer
from warmset.shell.conformance.happenings import act_out
from warmset.shell.conformance.links import (
    DISCONNECTED,
    GAVE_UP,
    NO_ANSWER,
    REFUSED,
    InProcess,
    Outcome,
    OverHttp,
)
from warmset.shell.conformance.recorded_models import ModelKnowledge
from warmset.shell.conformance.recorded_runner import RecordedRunner
from warmset.shell.conformance.recording import Happening, Recording, Step

_MODELS_FOLDER: Final = "<OLLAMA_MODELS>"
_USUAL_RAM_BYTES: Final = 16 * GIB
_MOMENT_SECONDS: Final = 1e-6
_AS_KNOWN: Final[Mapping[str, str]] = MappingProxyType({})
_LinkT = TypeVar("_LinkT", InProcess, OverHttp)


@dataclass(slots=True, kw_only=True)
class Scene:
    """A twin made for one recording, and what has happened in it.

    Attributes:
        unloaded: names unloaded since the last request for a runner.
        pid_before: pid of that request's model before it came.
    """

    recording: Recording
    host: TwinHost
    api: Api
    runner: RecordedRunner
    unloaded: list[str]
    last_key: str = ""
    pid_before: int | None = None
    damaged: str = ""

    def key_of(self, name: str) -> str:
        """Returns the weights of a name, empty when it is not installed."""
        model = self.host.library.find(name)
        return model.key if model is not None else ""

    def pid_of(self, key: str) -> int | None:
        """Returns the runner process of some weights."""
        runner = self.host.scheduler.loaded.get(key)
        return runner.pid if runner is not None else None


def build_scene(
    recording: Recording, knowledge: ModelKnowledge, digests: Mapping[str, str] = _AS_KNOWN
) -> Scene:
    """Returns a twin as the recorded server was at the beginning.

    `digests` replaces weights digests that are made up.
    """
    timeline = Timeline(recording.started_at)
    models = tuple(_renamed(model, digests) for model in knowledge.installed(recording))
    environ = {"OLLAMA_MODELS": _MODELS_FOLDER, **recording.environment}
    ram = re.search(r"([\d.]+) GiB", recording.machine)
    spec = HostSpec(
        name=recording.name,
        system_total_bytes=int(float(ram.group(1)) * GIB) if ram else _USUAL_RAM_BYTES,
        models=tuple(m for m in models if not _is_later(m, recording)),
        env=ServerEnv.from_environ(environ),
        version=recording.version,
    )
    runner = RecordedRunner(recording, knowledge, timeline)
    unloaded: list[str] = []

    def remember(event: Event) -> None:
        if isinstance(event, Unloaded):
            unloaded.append(event.name)

    host = TwinHost(spec, runner, timeline, on_event=remember)
    host.library.expect(knowledge.readable())
    runner.library = host.library
    for model in models:
        if _is_later(model, recording):
            timeline.at(model.modified_at, partial(_install, host, model))
    api = Api(host, runner)
    return Scene(recording=recording, host=host, api=api, runner=runner, unloaded=unloaded)


def _renamed(model: InstalledModel, digests: Mapping[str, str]) -> InstalledModel:
    weights = model.weights
    return replace(model, weights=replace(weights, digest=digests.get(model.key, model.key)))


def _install(host: TwinHost, model: InstalledModel) -> None:
    host.library.install(model)


def _is_later(model: InstalledModel, recording: Recording) -> bool:
    """Whether a model came in the course of a scenario, by a request that is not recorded."""
    end = max((step.ends_t for step in recording.steps), default=0.0)
    return recording.started_at < model.modified_at <= recording.started_at + end


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Something to do at a moment; `order` keeps the recorded order at equal moments."""

    t: float
    order: tuple[int, int]
    what: Step | Happening | str  # a key: an unload that nobody recorded
    is_departure: bool = False  # of the client of the step


@dataclass(slots=True, kw_only=True)
class Replay(Generic[_LinkT]):
    """One run of a recording.

    Attributes:
        unloads: (moment, weights) that were not recorded (see `unrecorded`).
        before_step: asked before each request; `True` ends the run there.
        pace: makes real time pass up to a moment of the scenario.
    """

    scene: Scene
    link: _LinkT
    unloads: Sequence[tuple[float, str]] = ()
    before_step: Callable[[Step], bool] = lambda _: False
    pace: Callable[[float], None] = lambda _: None

    def run(self) -> list[str]:
        """Replays everything; returns the misses in the order of the recording."""
        sent: dict[int, object] = {}
        found: list[tuple[int, str]] = []
        for act in self._acts():
            self.pace(act.t)
            self.link.advance(self.scene.recording.started_at + act.t)
            if isinstance(act.what, str):
                with self.link.locked() as host:
                    host.scheduler.unload(act.what)
            elif isinstance(act.what, Happening):
                found += [(act.what.index, miss) for miss in act_out(self, act.what)]
            elif act.is_departure:
                self.link.give_up(sent[act.what.index])  # type: ignore[arg-type]  # of this link
            else:
                if self.before_step(act.what):
                    return []
                self._note_before(act.what)
                self.scene.runner.begins(act.what)
                sent[act.what.index] = self.link.send(act.what)
        steps = self.scene.recording.steps
        end = max((step.ends_t for step in steps), default=0.0)
        self.link.advance(self.scene.recording.started_at + end)
        for step in steps:
            outcome = self.link.result(sent[step.index])  # type: ignore[arg-type]  # of this link
            found += [(step.index, miss) for miss in check_outcome(step, outcome)]
        return [f"step {index}: {miss}" for index, miss in sorted(found)]

    def _acts(self) -> list[Act]:
        recording = self.scene.recording
        acts = [Act(t=s.t, order=(1, s.index), what=s) for s in recording.steps]
        acts += [Act(t=h.t, order=(1, h.index), what=h) for h in recording.happenings]
        acts += [Act(t=t, order=(0, 0), what=key) for t, key in self.unloads]
        for step in recording.steps:
            if step.is_cut or step.client_error.startswith("TimeoutError"):
                leaves = max(step.ends_t, step.t + _MOMENT_SECONDS)
                order = (0, step.index)
                acts.append(Act(t=leaves, order=order, what=step, is_departure=True))
        return sorted(acts, key=lambda act: (act.t, act.order))

    def _note_before(self, step: Step) -> None:
        if step.uses_runner:
            self.scene.unloaded.clear()
            self.scene.last_key = self.scene.key_of(step.model)
            self.scene.pid_before = self.scene.pid_of(self.scene.last_key)


def check_outcome(step: Step, outcome: Outcome) -> Iterator[str]:
    """Yields how a client's end of a request differs from the recorded one."""
    what = f"{step.method} {step.path}"
    recorded = _end_of(step)
    if outcome.error != recorded:
        said = outcome.error or f"status {outcome.status}"
        yield f"{what}: {said}, recorded {recorded or f'status {step.status}'}"
    elif step.status is not None:
        differing = compare_answer(step, outcome.status, outcome.content_type, outcome.body)
        yield from (f"{what}: {difference}" for difference in differing)


def _end_of(step: Step) -> str:
    if step.is_cut or step.client_error.startswith("TimeoutError"):
        return GAVE_UP
    if "Refused" in step.client_error:
        return REFUSED
    if step.client_error:
        return DISCONNECTED
    return "" if step.status is not None else NO_ANSWER
