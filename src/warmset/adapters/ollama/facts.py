"""Values of a server's JSON as core facts: arrays as tuples, tokenizer tables as their lengths.

A GGUF tokenizer is tens of megabytes of text that no formula reads; its length is the vocabulary
size, which the compute buffers depend on. So `tokenizer.ggml.tokens` becomes the fact
`tokenizer.ggml.tokens.length`. An array that the server left out (`null`) stays `None`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from warmset.core.model import FactValue

_MAX_DEPTH: Final = 4
_MAX_INTEGER: Final = 1 << 64  # GGUF knows nothing wider than 64 bits
_MAX_TEXT: Final = 4096
_TOKENIZER: Final = "tokenizer."


def to_facts(raw: Mapping[str, object]) -> dict[str, FactValue]:
    """Returns the facts in a decoded `model_info` or `projector_info`.

    Raises:
        ValueError: naming the key whose value GGUF could not hold.
    """
    facts: dict[str, FactValue] = {}
    for key, value in raw.items():
        if key.startswith(_TOKENIZER) and isinstance(value, list):
            facts[f"{key}.length"] = len(value)
        else:
            facts[printable(key)] = _to_fact(key, value, 0)
    return facts


def printable(text: str, limit: int = _MAX_TEXT) -> str:
    """Returns text that is safe to print: control characters become `?`, long text is cut."""
    cut = text[:limit]
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "?" for c in cut)


def _to_fact(key: str, value: object, depth: int) -> FactValue:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, int):
        if abs(value) < _MAX_INTEGER:
            return value
    elif isinstance(value, float):
        if math.isfinite(value):
            return value
    elif isinstance(value, list) and depth < _MAX_DEPTH:
        return tuple(_to_fact(key, item, depth + 1) for item in value)
    raise ValueError(f"{printable(key, 100)}: not a value that GGUF can hold")
