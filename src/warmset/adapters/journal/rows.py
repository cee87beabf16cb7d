"""The rows of the journal, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """Something that happened: an order's end, an alarm, a word of the operator.

    Units:
        `at` is Unix seconds. `id` and `decision` are row numbers, `None` before they are known.
    """

    at: float
    kind: str
    text: str
    key: str = ""
    name: str = ""
    severity: str = "note"
    basis: Mapping[str, object] = field(default_factory=dict)
    decision: int | None = None
    id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRow:
    """One load of ours: what was predicted and what it was.

    Units:
        Bytes, seconds; `None`: not known.
    """

    at: float
    key: str
    name: str
    outcome: str
    predicted_bytes: int | None = None
    upper_bytes: int | None = None
    actual_bytes: int | None = None
    predicted_seconds: float | None = None
    actual_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """One decision with all it was made from.

    Attributes:
        until, repeats: when and how often the same was decided again.
        body: what was decided, and the inputs that change with every look.
        parts: the inputs that rarely change, by name; each is stored once.
    """

    at: float
    digest: str
    body: Mapping[str, object]
    parts: Mapping[str, object] = field(default_factory=dict)
    until: float | None = None
    repeats: int = 0
    id: int | None = None
