"""What a model says and how long it takes: the runner's side of a request."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from warmset.core.twin.library import InstalledModel, digest_of
from warmset.core.twin.runner import Runner

_WORDS: Final = ("a", "model", "in", "its", "twin", "says", "nothing", "of", "note", "at", "length")
_USUAL_TOKENS: Final = 64
"""Length of an answer that nobody limited; short, since nobody reads it."""

RAM_BYTES_PER_SECOND: Final = 30e9
GPU_BYTES_PER_SECOND: Final = 400e9
"""How fast a token's pass reads the weights: two-channel DDR4, and a mid-range card.
Source: nominal bandwidths; generation is bound by memory bandwidth."""
_PROMPT_SPEEDUP: Final = 20.0
"""Prompt tokens per generated token in equal time; prompts are evaluated in batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A request that has reached its runner.

    Attributes:
        limit: most tokens to generate, `None` without a limit; 0 for embedding.
        body: the request as it was received, decoded.
    """

    path: str
    body: object
    model: InstalledModel
    runner: Runner
    prompt_tokens: int
    limit: int | None
    started_at: float  # when the request came in


@dataclass(frozen=True, slots=True, kw_only=True)
class Speech:
    """How a request is served. Units: seconds."""

    prompt_seconds: float
    seconds: float  # after the prompt
    tokens: tuple[str, ...] = ()
    error: str = ""
    status: int = 500


class Pace(Protocol):
    """Says how each request is served."""

    def serve(self, work: Work) -> Speech:
        """Returns the words and the times of one request."""
        ...


class BandwidthPace:
    """Serves at the speed of the memory that the weights lie in."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def serve(self, work: Work) -> Speech:
        """See `Pace`; an answer without limit has a usual length, drawn by the seed."""
        file_bytes = max(work.model.weights.size_bytes, 1)
        held = max(work.runner.total_bytes, 1)
        on_gpu = file_bytes * min(work.runner.vram_bytes / held, 1.0)
        token_seconds = on_gpu / GPU_BYTES_PER_SECOND
        token_seconds += (file_bytes - on_gpu) / RAM_BYTES_PER_SECOND
        wanted = self._random.randint(_USUAL_TOKENS // 2, _USUAL_TOKENS * 2)
        limited = work.limit is not None and work.limit >= 0
        count = min(work.limit or 0, wanted) if limited else wanted
        return Speech(
            prompt_seconds=work.prompt_tokens * token_seconds / _PROMPT_SPEEDUP,
            seconds=count * token_seconds,
            tokens=words(count),
        )


def words(count: int) -> tuple[str, ...]:
    """Returns that many tokens of text, always the same."""
    return tuple(f" {_WORDS[n % len(_WORDS)]}" for n in range(count))


def count_tokens(text: str) -> int:
    """Returns about how many tokens a text has: four characters each."""
    return -(-len(text) // 4)


def embed(text: str, length: int) -> list[float]:
    """Returns a vector of length 1 that depends on the text alone."""
    source = random.Random(digest_of("embedding", text))
    return unit([source.uniform(-1.0, 1.0) for _ in range(max(length, 1))])


def unit(vector: Sequence[float]) -> list[float]:
    """Returns the vector scaled to length 1."""
    norm = sum(x * x for x in vector) ** 0.5 or 1.0
    return [round(x / norm, 9) for x in vector]
