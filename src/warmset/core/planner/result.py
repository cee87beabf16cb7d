"""The values of a plan: who stays, who does not and why, and what to do in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from warmset.core.footprint.result import Basis
from warmset.core.model import DeviceId, ModelKey
from warmset.core.planner.restore import Restore


class Verdict(StrEnum):
    """Whether something fits, best first."""

    FITS = "fits"
    FITS_WITH_EVICTIONS = "fits-with-evictions"
    SPLITS = "splits"  # over all GPUs of a group
    SPILLS = "spills"  # in part to RAM
    REFUSED = "refused"


class ActionKind(StrEnum):
    """What to do with one model."""

    KEEP = "keep"
    WAIT = "wait"  # it should go, but is busy: nothing after this can be promised yet
    UNLOAD = "unload"
    PRELOAD = "preload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One step from what is resident to the plan."""

    kind: ActionKind
    key: ModelKey
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One model of the warm set.

    Attributes:
        upper: device -> upper bound of its bytes there; empty: in RAM.
        point: device -> expected bytes.
        basis: how those are known.
    """

    key: ModelKey
    name: str
    priority: int
    pin: bool
    value: float
    upper: Mapping[DeviceId, int]
    point: Mapping[DeviceId, int]
    ram_bytes: int
    is_resident: bool
    basis: Basis = "estimated"

    @property
    def is_split(self) -> bool:
        """Whether it lies on several GPUs."""
        return len(self.upper) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """One model outside the warm set, and why, with numbers."""

    key: ModelKey
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """Models that cannot all be resident, as few as possible, with the numbers."""

    keys: tuple[ModelKey, ...]
    names: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The warm set, and the way there.

    Attributes:
        members: highest rank first.
        order: keys in the order in which Ollama loads them without an eviction.
        fragile: members that Ollama would not take back by itself; none: self-restoring.
        objective: priority -> summed value (seconds of waiting saved per day), highest first.
        is_proved: whether no better warm set exists under these rules.
        gap: how much better the first priority that is not proved could be, as a ratio.
        conflict: pins that cannot be held together; then nothing is planned.
    """

    members: tuple[Member, ...]
    left_out: tuple[LeftOut, ...]
    actions: tuple[Action, ...]
    fragile: tuple[Restore, ...]
    order: tuple[ModelKey, ...]
    objective: Mapping[int, float]
    is_proved: bool
    gap: float
    conflict: Conflict | None = None
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """What the plan amounts to."""
        if self.conflict is not None:
            return Verdict.REFUSED
        if any(a.kind in (ActionKind.UNLOAD, ActionKind.WAIT) for a in self.actions):
            return Verdict.FITS_WITH_EVICTIONS
        return Verdict.FITS

    @property
    def is_self_restoring(self) -> bool:
        """Whether Ollama takes back each lost member without an eviction."""
        return not self.fragile

    @property
    def changes(self) -> tuple[Action, ...]:
        """The actions that change something: wanted against observed."""
        return tuple(a for a in self.actions if a.kind is not ActionKind.KEEP)
