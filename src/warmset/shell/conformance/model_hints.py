"""What the behaviour of a recorded model tells of it, where no list and no `show` does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from warmset.core.ollama.context import TIER_SMALL
from warmset.core.twin.library import COMPLETION, EMBEDDING
from warmset.core.twin.names import parse_name
from warmset.shell.conformance.recording import Json, Recording, Step

_EMBED_PATHS: Final = frozenset(("/api/embed", "/api/embeddings", "/v1/embeddings"))
_LENGTH: Final = re.compile(r"(\d+) numbers in all")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """Facts that follow from answers.

    Attributes:
        trained_context: what a larger context was clamped to.
        has_template: a model derived from it used a second layer again.
    """

    capabilities: frozenset[str] = frozenset()
    trained_context: int | None = None
    embedding_length: int | None = None
    has_template: bool = False

    def __or__(self, other: Hints) -> Hints:
        """Returns what either tells."""
        return Hints(
            capabilities=self.capabilities | other.capabilities,
            trained_context=self.trained_context or other.trained_context,
            embedding_length=self.embedding_length or other.embedding_length,
            has_template=self.has_template or other.has_template,
        )


@dataclass(slots=True, kw_only=True)
class Known:
    """What the answers tell of one name.

    Attributes:
        row: of any list of models; `tag` of `/api/tags`, which tells most.
        show: of `/api/show`, the verbose one if there is one.
        sizes: context -> bytes in memory, from `/api/ps`.
        load_seconds: what first loads of a scenario took.
    """

    row: Mapping[str, Json] = field(default_factory=dict)
    tag: Mapping[str, Json] = field(default_factory=dict)
    show: Mapping[str, Json] = field(default_factory=dict)
    hints: Hints = field(default_factory=Hints)
    sizes: dict[int, int] = field(default_factory=dict)
    load_seconds: list[float] = field(default_factory=list)


def display(name: str) -> str:
    """Returns a name as Ollama shows it, in lower case; empty for what is no name."""
    parsed = parse_name(name.strip())
    return parsed.display.lower() if parsed is not None else ""


def behaviour(recording: Recording) -> Mapping[str, Hints]:
    """Returns name -> what the steps of a recording tell of it."""
    found: dict[str, Hints] = {}
    for name, hints in (*_capabilities(recording), *_clamped(recording), *_layers(recording)):
        if display(name):
            found[display(name)] = found.get(display(name), Hints()) | hints
    return found


def _capabilities(recording: Recording) -> Iterator[tuple[str, Hints]]:
    for step in recording.steps:
        if not step.uses_runner or step.status != 200:
            continue
        if step.path not in _EMBED_PATHS:
            yield step.model, Hints(capabilities=frozenset((COMPLETION,)))
        elif any(step.last.get(key) for key in ("embedding", "embeddings", "data")):
            length = _LENGTH.search(str(step.last))
            yield (
                step.model,
                Hints(
                    capabilities=frozenset((EMBEDDING,)),
                    embedding_length=int(length.group(1)) if length else None,
                ),
            )


def _clamped(recording: Recording) -> Iterator[tuple[str, Hints]]:
    """A context below the one asked for, shown right after a load, is the trained one."""
    parameters = {
        display(step.model): step.body.get("parameters") or {}
        for step in recording.steps
        if step.path == "/api/create" and isinstance(step.body, dict)
    }
    default = recording.environment.get("OLLAMA_CONTEXT_LENGTH", "")
    last: Step | None = None
    for step in recording.steps:
        if step.path == "/api/ps" and last is not None and step.t >= last.ends_t:
            asked = (last.body.get("options") or {}).get("num_ctx")
            asked = asked or parameters.get(display(last.model), {}).get("num_ctx")
            asked = asked or (int(default) if default.isdigit() else TIER_SMALL)
            for row in step.last.get("models") or ():
                if isinstance(row, dict) and display(row["name"]) == display(last.model):
                    context = row.get("context_length")
                    if isinstance(context, int) and isinstance(asked, int) and context < asked:
                        yield last.model, Hints(trained_context=context)
        elif step.uses_runner:
            last = step if step.status == 200 and isinstance(step.body, dict) else None


def _layers(recording: Recording) -> Iterator[tuple[str, Hints]]:
    for step in recording.steps:
        source = step.body.get("from") if isinstance(step.body, dict) else None
        if step.path == "/api/create" and source and isinstance(step.value, list):
            kept = [line for line in step.value if "existing layer" in str(line.get("status"))]
            yield str(source), replace(Hints(), has_template=len(kept) > 1)
