"""The picture as plain values: what the page draws, `top` draws and `/api/status.json` tells.

Units:
    Bytes and seconds; `at` is Unix seconds. What is not known is `None`, never zero. There are no
    infinities: `is_forever` says it in a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final

from warmset.core.control.plain import PlainError, from_plain

SCHEMA_VERSION: Final = 1
"""Of the JSON form; grows when a key changes its meaning or goes away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Bytes of one GPU under one name.

    Attributes:
        owner: model, other-runner, foreign, reserved, draining, unattributed or free.
        mark: the letter of a model in every drawing; empty for all else.
    """

    owner: str
    name: str
    mark: str
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU; its parts are in the order in which they are drawn, free memory last."""

    label: str
    name: str
    state: str  # empty: it answers
    total_bytes: int | None
    free_bytes: int | None
    budget_bytes: int | None  # what models may fill
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GapPoint:
    """Of all uses of a model, the share that was followed by the next within `seconds`."""

    seconds: float
    chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model that is resident, wanted or configured.

    Attributes:
        state: resident, loading, stopping, absent (installed), not installed.
        rank: 1 is kept longest; `None`: warmset gave it none.
        where: GPUs or RAM, as far as seen.
        is_observed: `held_bytes` is the driver's count, else an estimate.
        keep_alive_seconds: the timer in force; `left_seconds` of it.
        is_busy: at work when it was looked at; `None`: no sign either way.
        next: what happens to it next, in words.
        gap_count: how many idle gaps `gaps` is made of.
    """

    name: str
    mark: str
    state: str
    is_wanted: bool
    is_pinned: bool
    priority: int | None
    rank: int | None
    where: str
    held_bytes: int | None
    is_observed: bool
    keep_alive_seconds: float | None
    left_seconds: float | None
    is_forever: bool
    is_busy: bool | None
    used_ago_seconds: float | None
    next: str
    gap_count: float = 0.0
    gaps: tuple[GapPoint, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One thing that happened. `kind` is load, eviction, failure or server."""

    at: float
    kind: str
    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """One action on the way to the warm set."""

    kind: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Something that is wanted and not done now. `name` is empty if it concerns all models."""

    name: str
    reason: str
    left_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingAlarm:
    """An alarm that holds now."""

    code: str
    severity: str
    text: str
    age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A host at one moment.

    Attributes:
        verdict: converged, acting, waiting, unreachable; `look`: nobody steers, this is a look.
        trouble: why nothing can be decided.
        moments: newest first.
    """

    at: float
    warmset: str
    server: str
    ollama: str | None
    verdict: str
    trouble: str
    tick_seconds: float | None
    ram_total_bytes: int | None
    ram_available_bytes: int | None
    gpus: tuple[Gpu, ...]
    models: tuple[Model, ...]
    moments: tuple[Moment, ...] = ()
    steps: tuple[NextStep, ...] = ()
    pauses: tuple[Pause, ...] = ()
    alarms: tuple[StandingAlarm, ...] = ()
    notes: tuple[str, ...] = ()


def board_to_plain(board: Board) -> Mapping[str, object]:
    """Returns the JSON form."""
    return {"schema_version": SCHEMA_VERSION, **asdict(board)}


def board_from_plain(plain: object) -> Board | None:
    """Returns the board of a JSON form, `None` if it is of another version of warmset."""
    if not isinstance(plain, dict) or plain.get("schema_version") != SCHEMA_VERSION:
        return None
    try:
        return from_plain(Board, {k: v for k, v in plain.items() if k != "schema_version"})
    except PlainError:
        return None
