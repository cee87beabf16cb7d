"""`scripts/check_transcripts`: every transcript of a folder against the served twin."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, permutations
from pathlib import Path
from typing import Final

from warmset.errors import TraceError
from warmset.shell.conformance.links import InProcess, OverHttp
from warmset.shell.conformance.recorded_models import ModelKnowledge
from warmset.shell.conformance.recording import Recording, Step, read_recording
from warmset.shell.conformance.replay import Replay, Scene, build_scene
from warmset.shell.conformance.unrecorded import Finding, find_unloads

_MOST_ORDERS: Final = 150


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
    attempt = _explain(recording, knowledge)
    misses = attempt.misses
    if over_http:
        scene = build_scene(recording, knowledge, attempt.digests)
        link = OverHttp(scene.api)
        try:
            replay = Replay(scene=scene, link=link, unloads=attempt.unloads, pace=_pace(speed))
            misses = [*replay.run(), *attempt.doubts]
        finally:
            link.close()
    return TranscriptResult(name=recording.name, steps=recording.length, misses=tuple(misses))


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One way to fill in what a recording leaves out, and how it goes in process.

    Attributes:
        digests: made-up weights digests and what stands for them.
        unloads: moments and weights (see `unrecorded`).
        doubts: loads of a model that nothing can have unloaded; they are misses.
    """

    recording: Recording
    knowledge: ModelKnowledge
    digests: dict[str, str]
    unloads: list[tuple[float, str]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)

    def run(self) -> Attempt:
        """Infers the unloads, then replays in process."""
        explained: set[int] = set()
        while found := self._first_finding(explained):
            explained.add(found.step.index)
            self.unloads += found.unloads
            if found.doubt:
                self.doubts.append(found.doubt)
        self.misses = [*self._replay(lambda _scene, _step: False), *self.doubts]
        return self

    def _first_finding(self, explained: set[int]) -> Finding | None:
        found: list[Finding] = []

        def look(scene: Scene, step: Step) -> bool:
            finding = find_unloads(scene, step, self.knowledge)
            if finding is not None and step.index not in explained:
                found.append(finding)
            return bool(found)

        self._replay(look)
        return found[0] if found else None

    def _replay(self, before_step: Callable[[Scene, Step], bool]) -> list[str]:
        scene = build_scene(self.recording, self.knowledge, self.digests)
        look = partial(before_step, scene)
        link = InProcess(scene.api)
        return Replay(scene=scene, link=link, unloads=self.unloads, before_step=look).run()


def _explain(recording: Recording, knowledge: ModelKnowledge) -> Attempt:
    """Returns the first attempt without a miss, else the plainest one.

    A weights digest that no answer names can be any: it decides ties between victims only.
    """
    plain = Attempt(recording=recording, knowledge=knowledge, digests={}).run()
    if not plain.misses:
        return plain
    for digests in islice(_digest_orders(recording, knowledge), _MOST_ORDERS):
        attempt = Attempt(recording=recording, knowledge=knowledge, digests=digests).run()
        if not attempt.misses:
            return attempt
    return plain


def _digest_orders(recording: Recording, knowledge: ModelKnowledge) -> Iterator[dict[str, str]]:
    """Yields the orders of made-up digests among each other and around the known ones."""
    keys = {model.key for model in knowledge.installed(recording)} & knowledge.made_up
    for order in permutations(sorted(keys)):
        for split in range(len(order) + 1):
            yield {
                key: f"sha256:{'0' if rank < split else 'f'}{rank:063x}"
                for rank, key in enumerate(order)
            }


def _pace(speed: float | None) -> Callable[[float], None]:
    """Returns what makes real time pass up to a moment of the scenario."""
    begun = time.monotonic()

    def wait(t: float) -> None:
        if speed is not None:
            left = t / speed - (time.monotonic() - begun)
            if left > 0:
                time.sleep(left)

    return wait
