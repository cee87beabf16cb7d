"""The recurrent state of hybrid and recurrent models: constant in context, linear in slots."""

from __future__ import annotations

from typing import Final

from warmset.core.footprint.engine import Engine
from warmset.core.footprint.shape import Shape

_STATE_BYTES: Final = 4
"""States are f32. Source: llama.cpp `src/llama-memory-recurrent.cpp`, types of R and S."""
_GO_CHECKPOINTS: Final = 24
_GO_CHECKPOINTS_MIN: Final = 8
"""Source: Ollama v0.20 `kvcache/recurrent.go: DefaultCheckpointCount`, `Init`."""


def count_states(shape: Shape, engine: Engine, *, slots: int, draft_tokens: int) -> int:
    """Returns how many copies of the state are kept.

    llama.cpp keeps one for each slot, and one more for each token it may have to take back;
    Ollama's Go engine keeps checkpoints in VRAM.
    """
    if engine.is_go(shape.architecture):
        return slots + max(_GO_CHECKPOINTS * slots, _GO_CHECKPOINTS_MIN)
    return slots * (1 + draft_tokens)


def state_bytes(elements: int, states: int) -> int:
    """Returns the bytes of `states` copies of a state of `elements`.

    Formula:
        4 * elements * copies
    """
    return _STATE_BYTES * elements * states
