"""What every policy is asked and what it answers.

A policy hears of each request, and is asked for a decision at the events it names. It never
reads a clock, never acts, and knows the future no better than its caller. The host obeys two
rules whatever a policy says: a model in use is not evicted, and a preload starts only into free
room while nobody waits for the loader.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Event(StrEnum):
    """Why a policy is asked."""

    REQUEST = "request"  # somebody asked for `subject`; `requested` was told first
    IDLE = "idle"  # the last request on `subject` ended
    LOADED = "loaded"  # `subject` is ready
    WAKE = "wake"  # the time that the policy itself asked for
    SPACE = "space"  # a load waits until `short_bytes` more are free


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCost:
    """What a model costs to hold and to bring back.

    Attributes:
        forecast_bytes: what the server expects it to hold before the load; `None`: what it holds.
    """

    id: str
    bytes: int
    load_seconds: float
    priority: int = 0  # a preload never displaces a higher one
    may_preload: bool = True  # the operator's `preload = false` clears it
    pinned: bool = False  # the operator wants it resident always
    forecast_bytes: int | None = None


@dataclass(slots=True, kw_only=True)
class Held:
    """One resident as a policy sees it; not frozen, since one is made for every use.

    Units:
        `loaded_at` and `last_used` are instants of the caller's clock; `last_used` is when the
        last request ended, or when the model became ready if nobody used it yet.
    """

    id: str
    bytes: int
    load_seconds: float
    loaded_at: float
    last_used: float
    in_use: bool = False
    uses: int = 0
    keep_alive_seconds: float | None = None  # None: it never expires by itself
    priority: int = 0
    pinned: bool = False

    @property
    def may_go(self) -> bool:
        """Whether it can be a victim at all."""
        return not (self.in_use or self.pinned)


@dataclass(slots=True, kw_only=True)
class View:
    """One memory pool at one instant; not frozen, since a replay asks anew with the same one.

    Invariants:
        `short_bytes` is positive exactly for `Event.SPACE`.

    Attributes:
        lacking: absent model -> bytes that would have to go for it, as far as the caller knows.
    """

    now: float
    event: Event
    budget_bytes: int
    free_bytes: int
    residents: Mapping[str, Held]
    subject: str | None = None
    short_bytes: int = 0
    loading: str | None = None
    queued: tuple[str, ...] = ()
    lacking: Mapping[str, int] = field(default_factory=dict)

    def short_of(self, model: ModelCost) -> int:
        """Returns how many bytes would have to go for an absent model; 0 or less: none.

        A server that asks for a margin needs more than the model takes: the caller knows.
        """
        return self.lacking.get(model.id, model.bytes - self.free_bytes)

    @property
    def loader_is_idle(self) -> bool:
        """Whether nothing is loading and nobody waits for a load."""
        return self.loading is None and not self.queued


@dataclass(slots=True, kw_only=True)
class Decision:
    """What a policy wants; not frozen, since one is made at every look.

    Attributes:
        evict: idle residents to drop, in this order; at `Event.SPACE` enough to make the room.
        preload: the new preload queue; `None` leaves the old one.
        keep_alive_seconds: idle time after which a resident expires; `None` means never.
        wake_at: when to ask again, in place of what was said before; `None` leaves that.
        reasons: what a log would say about it.
    """

    evict: tuple[str, ...] = ()
    preload: tuple[str, ...] | None = None
    keep_alive_seconds: Mapping[str, float | None] = field(default_factory=dict)
    wake_at: float | None = None
    reasons: tuple[str, ...] = ()


class Policy(Protocol):
    """Decides what stays hot."""

    @property
    def events(self) -> tuple[Event, ...]:
        """The events at which `decide` wants to be asked; `Event.SPACE` is always among them."""
        ...

    def start(self, models: Mapping[str, ModelCost], budget_bytes: int, /) -> None:
        """Forgets everything and takes the models and the size of the pool."""
        ...

    def requested(self, now: float, model: str, /) -> None:
        """Takes note of one request, before anything is decided about it."""
        ...

    def decide(self, view: View, /) -> Decision | None:
        """Returns what to do now; `None` means nothing (at `Event.SPACE`: it cannot be done)."""
        ...

    def in_order(self, view: View, /) -> list[Held]:
        """Returns those that may go, first to go first, and learns nothing by it.

        This is all that keep-alives can tell a server that picks its victims itself. What may
        come next, and what would have to go for it, stands in `view.lacking`.
        """
        ...


class RankPolicy(ABC):
    """A policy that never expires anything, and evicts in the order of one rank.

    The frame comes first: what is pinned or in use stays, a lower priority goes before a higher.
    """

    events: tuple[Event, ...] = (Event.SPACE,)

    def start(self, models: Mapping[str, ModelCost], budget_bytes: int) -> None:
        """Forgets everything and takes the models and the size of the pool."""
        self.models = models
        self.budget_bytes = budget_bytes

    def requested(self, now: float, model: str) -> None:  # noqa: B027 - most ranks need none
        """Takes note of one request; a rank made of the residents' own facts needs none."""

    @abstractmethod
    def rank(self, held: Held) -> tuple[float | str, ...]:
        """Returns what is compared: the least goes first."""

    def decide(self, view: View) -> Decision | None:
        """Returns the victims that a waiting load needs, or `None` if it cannot be helped."""
        if view.event is not Event.SPACE:
            return None
        victims = self.victims(view)
        return None if victims is None else Decision(evict=victims)

    def victims(self, view: View) -> tuple[str, ...] | None:
        """Returns the first in rank that free enough, or `None` if all together do not."""
        return take(self.in_order(view), view.short_bytes)

    def in_order(self, view: View) -> list[Held]:
        """Returns the possible victims, first to go first."""
        held = (h for h in view.residents.values() if h.may_go)
        return sorted(held, key=lambda h: (h.priority, *self.rank(h)))


def take(order: Iterable[Held], short_bytes: int) -> tuple[str, ...] | None:
    """Returns the shortest head of `order` that frees `short_bytes`, or `None` if none does."""
    gone: list[str] = []
    for held in order:
        if short_bytes <= 0:
            break
        gone.append(held.id)
        short_bytes -= held.bytes
    return tuple(gone) if short_bytes <= 0 else None
