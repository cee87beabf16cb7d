"""`scripts/check_transcripts`: every transcript of a folder against the served twin."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from warmset.errors import TraceError
from warmset.shell.conformance.links import InProcess, OverHttp
from warmset.shell.conformance.recorded_models import ModelKnowledge
from warmset.shell.conformance.recording import Recording, Step, read_recording
from warmset.shell.conformance.replay import Replay, build_scene
from warmset.shell.conformance.unrecorded import (
    Contradiction,
    find_contradiction,
    place_unload,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TranscriptResult:
    """What became of one transcript. `steps` counts requests and events."""

    name: str
    steps: int
    misses: tuple[str, ...]


def check_transcripts(
    folder: Path, *, known: Iterable[Path] = (), speed: float | None = None
) -> Iterator[TranscriptResult]:
    """Replays every `.json` file of a folder over HTTP, in the order of names.

    Args:
        folder: holds the transcripts.
        known: further transcripts that tell of models only.
        speed: recorded seconds per real second; as fast as it goes when `None`.

    Raises:
        TraceError: there is no such folder, no such file, or one without the form.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise TraceError(f"{folder}: no .json files there", hint="Name a folder of transcripts.")
    recordings = [read_recording(path) for path in paths]
    knowledge = ModelKnowledge([*map(read_recording, known), *recordings])
    for recording in recordings:
        yield check_recording(recording, knowledge, speed=speed)


def check_recording(
    recording: Recording,
    knowledge: ModelKnowledge,
    *,
    speed: float | None = None,
    over_http: bool = True,
) -> TranscriptResult:
    """Replays one transcript."""
    unloads, doubts = infer_unloads(recording, knowledge)
    scene = build_scene(recording, knowledge)
    pace = _pace(speed)
    if over_http:
        link = OverHttp(scene.api)
        try:
            misses = Replay(scene=scene, link=link, unloads=unloads, pace=pace).run()
        finally:
            link.close()
    else:
        local = InProcess(scene.api)
        misses = Replay(scene=scene, link=local, unloads=unloads, pace=pace).run()
    return TranscriptResult(name=recording.name, steps=recording.length, misses=(*misses, *doubts))


def infer_unloads(
    recording: Recording, knowledge: ModelKnowledge
) -> tuple[list[tuple[float, str]], list[str]]:
    """Returns the unloads that the recording proves but does not show (see `unrecorded`).

    With them come the misses: loads of a model that nothing can have unloaded.
    """
    unloads: list[tuple[float, str]] = []
    doubts: list[str] = []
    explained: set[int] = set()
    while True:
        found = _first_contradiction(recording, knowledge, unloads, explained)
        if found is None:
            return unloads, doubts
        explained.add(found.step.index)
        moment = place_unload(recording, found)
        if moment is not None:
            unloads.append((moment, found.key))
        else:
            step = found.step
            doubts.append(
                f"step {step.index}: {step.method} {step.path}: recorded as a load of "
                f"{step.load_seconds:.3f} s, but the twin has {step.model} resident"
            )


def _first_contradiction(
    recording: Recording,
    knowledge: ModelKnowledge,
    unloads: list[tuple[float, str]],
    explained: set[int],
) -> Contradiction | None:
    scene = build_scene(recording, knowledge)
    found: list[Contradiction] = []

    def look(step: Step) -> bool:
        contradiction = find_contradiction(scene, step, knowledge)
        if contradiction is not None and step.index not in explained:
            found.append(contradiction)
        return bool(found)

    Replay(scene=scene, link=InProcess(scene.api), unloads=unloads, before_step=look).run()
    return found[0] if found else None


def _pace(speed: float | None) -> Callable[[float], None]:
    """Returns what makes real time pass up to a moment of the scenario."""
    begun = time.monotonic()

    def wait(t: float) -> None:
        if speed is not None:
            left = t / speed - (time.monotonic() - begun)
            if left > 0:
                time.sleep(left)

    return wait
