"""The residents of a replayed pool and those that lack, as it keeps them and as a policy sees them.

A resident's requests are not kept one by one: `busy_until` is all that matters of them, so a warm
hit costs next to nothing and nothing is queued for its end unless the policy wants to hear of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import inf

from warmset.core.policy import Held, ModelCost


class Slot:
    """One resident."""

    __slots__ = (
        "before", "busy_until", "changed", "cost", "expiry", "keep_alive", "last_keep_alive",
        "loaded_at", "preloaded", "shown", "telling", "uses",
    )  # fmt: skip

    def __init__(self, cost: ModelCost, now: float, *, preloaded: bool) -> None:
        self.cost = cost
        self.loaded_at = now - cost.load_seconds
        self.busy_until = now
        self.before = now  # what `busy_until` was before the tick in which it changed last
        self.changed = now
        self.uses = 0
        self.preloaded = preloaded
        self.keep_alive: float | None = None  # seconds; `None`: never
        self.last_keep_alive: tuple[float, float] | None = None  # when, what a client sent last
        self.expiry = inf  # of the timer event that is queued
        self.telling = False  # whether the end of its use is queued
        self.shown: Held | None = None  # as a policy saw it last


class Residents(Mapping[str, Held]):
    """The residents as a policy sees them, each made when it is looked at."""

    __slots__ = ("_slots", "now")

    def __init__(self, slots: dict[str, Slot], now: float) -> None:
        self._slots = slots
        self.now = now

    def __getitem__(self, name: str) -> Held:
        """Returns one resident."""
        return held(self._slots[name], self.now)

    def __iter__(self) -> Iterator[str]:
        """Goes through the names in the order of their loads."""
        return iter(self._slots)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._slots)

    def __contains__(self, name: object) -> bool:
        """Whether a model is resident."""
        return name in self._slots


class Lacking(Mapping[str, int]):
    """What would have to go for each absent model, reckoned when it is looked at."""

    __slots__ = ("_models", "_short_bytes", "_slots")

    def __init__(
        self,
        models: Mapping[str, ModelCost],
        slots: Mapping[str, Slot],
        short_bytes: Callable[[ModelCost], int],
    ) -> None:
        self._models = models
        self._slots = slots
        self._short_bytes = short_bytes

    def __getitem__(self, name: str) -> int:
        """Returns the bytes; 0 or less: the model fits as it is."""
        if name in self._slots:
            raise KeyError(name)
        return self._short_bytes(self._models[name])

    def __iter__(self) -> Iterator[str]:
        """Goes through the absent models."""
        return (name for name in self._models if name not in self._slots)

    def __len__(self) -> int:
        """How many there are."""
        return sum(1 for _ in self)


def held(slot: Slot, now: float) -> Held:
    """Returns a resident as it is at that moment; made anew only if it changed."""
    last_used, shown = min(slot.busy_until, now), slot.shown
    if (
        shown is not None
        and shown.last_used == last_used
        and shown.uses == slot.uses
        and shown.in_use == (slot.busy_until > now)
        and shown.keep_alive_seconds == slot.keep_alive
    ):
        return shown
    cost = slot.cost
    slot.shown = Held(
        id=cost.id,
        bytes=cost.bytes,
        load_seconds=cost.load_seconds,
        loaded_at=slot.loaded_at,
        last_used=last_used,
        in_use=slot.busy_until > now,
        uses=slot.uses,
        keep_alive_seconds=slot.keep_alive,
        priority=cost.priority,
        pinned=cost.pinned,
    )
    return slot.shown
