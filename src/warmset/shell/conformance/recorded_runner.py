"""The recording as physics: how long loads and answers took, and what a failing runner said.

These are facts about the recorded machine, not about Ollama, so they are taken from the
recording. What follows from them (order, residency, status, text) is the twin's own.
"""

from __future__ import annotations

import re
from typing import Final

from warmset.core.ollama.context import effective_context
from warmset.core.ollama.victim import is_out_of_memory
from warmset.core.twin.api import Speech, Work
from warmset.core.twin.api.speech import words
from warmset.core.twin.clock import Timeline
from warmset.core.twin.library import Library
from warmset.core.twin.runner import LoadOrder, LoadResult
from warmset.shell.conformance.recorded_models import ModelKnowledge
from warmset.shell.conformance.recording import Recording, Step

_SHORTEST_SECONDS: Final = 0.001
_BEYOND_SECONDS: Final = 3600.0
_USUAL_TOKENS: Final = 8
_RUNNER_ERROR: Final = re.compile(r"llama-server|^timed out waiting")
_DEATH: Final = "unexpected EOF"


class RecordedRunner:
    """Physics and pace of one recording.

    Args:
        timeline: Unix seconds; the recording begins at its `started_at`.

    Attributes:
        library: tells the weights that a name stands for; set once the host is there.
    """

    def __init__(self, recording: Recording, knowledge: ModelKnowledge, timeline: Timeline) -> None:
        self._recording = recording
        self._knowledge = knowledge
        self._timeline = timeline
        self.library = Library()
        self._open: list[Step] = []

    def begins(self, step: Step) -> None:
        """Says that a request is about to be sent."""
        self._open.append(step)

    def load(self, order: LoadOrder) -> LoadResult:
        """Ends a load when the request that wanted it had its runner."""
        name = order.model.name
        step = next((s for s in self._waiting() if self._wants(s, order)), None)
        context = effective_context(order.shape.options.num_ctx, order.model.file.trained_context)
        size = self._knowledge.memory_bytes(name, context) or order.model.file.file_bytes
        usual = self._knowledge.load_seconds(name)
        if step is None:
            return LoadResult(seconds=usual, total_bytes=size)
        error = _runner_error(step)
        left = self._until(step.server_ends_t if error else step.load_ends_t)
        if left is None:
            latest = self._until(step.head_t or step.server_ends_t) or 0.0
            gave_up = step.client_error.startswith("TimeoutError")
            left = max(latest, 0.0) + usual if gave_up else min(usual, latest)
        elif error and order.must_be_full and is_out_of_memory(error):
            left /= 2  # the others are evicted and it is tried again
        return LoadResult(
            seconds=max(left, _SHORTEST_SECONDS), total_bytes=0 if error else size, error=error
        )

    def serve(self, work: Work) -> Speech:
        """Ends an answer when the recorded one ended, with as many tokens."""
        step = next((s for s in self._open if self._is_served_by(s, work)), None)
        if step is None:
            return Speech(prompt_seconds=0.0, seconds=0.0, tokens=words(work.limit or 1))
        self._open.remove(step)
        first = max(self._until(step.head_t) or 0.0, 0.0)
        whole = max(self._until(step.server_ends_t) or 0.0, first)
        error = str(step.last.get("error", ""))
        if step.client_error or step.is_cut or _DEATH in error:
            parts = max(len(step.value), 1) if isinstance(step.value, list) else 1
            pause = max(whole - first, 0.01) / parts
            count = work.limit or _USUAL_TOKENS
            seconds = pause * count if step.is_cut else whole + _BEYOND_SECONDS
            return Speech(prompt_seconds=first, seconds=seconds, tokens=words(count))
        if error and step.status and step.status >= 400:
            return Speech(prompt_seconds=0.0, seconds=whole, error=error, status=step.status)
        return Speech(
            prompt_seconds=first, seconds=whole - first, tokens=words(_count_tokens(step, work))
        )

    def _is_served_by(self, step: Step, work: Work) -> bool:
        """A request that had its answer already, such as a refusal, is not the one."""
        is_same = step.path == work.path and step.body == work.body
        return is_same and (step.ends_t > self._now() or bool(step.client_error))

    def _waiting(self) -> list[Step]:
        """Requests that, in the recording, are still without their answer now."""
        return [step for step in self._open if step.ends_t > self._now()]

    def _wants(self, step: Step, order: LoadOrder) -> bool:
        model = self.library.find(step.model)
        return model is not None and model.key == order.model.key

    def _now(self) -> float:
        return self._timeline.now - self._recording.started_at

    def _until(self, t: float | None) -> float | None:
        return None if t is None else t - self._now()


def _runner_error(step: Step) -> str:
    """Returns what the runner said when it could not start, as the recording has it."""
    error = str(step.last.get("error", "")) if (step.status or 0) >= 500 else ""
    is_of_runner = bool(_RUNNER_ERROR.search(error)) or is_out_of_memory(error)
    return error if is_of_runner and _DEATH not in error else ""


def _count_tokens(step: Step, work: Work) -> int:
    usage = step.last.get("usage")
    said = step.last.get("eval_count", usage.get("completion_tokens") if usage else None)
    if isinstance(said, int):
        return said
    return work.limit if work.limit is not None else _USUAL_TOKENS
