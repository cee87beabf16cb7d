"""The memory of a replayed host: who lives in it, and what has to go before a load may begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, inf
from typing import Final

from warmset.core.policy import ModelCost
from warmset.core.twin.score import Tally
from warmset.core.twin.slots import Lacking, Slot
from warmset.core.units import format_bytes
from warmset.errors import ConfigError

FIT_SHARE: Final = 0.8
"""Of the free memory a load may take beside others. Source: ollama-behaviour 4.2, v0.33."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """A host as a replay takes it.

    Attributes:
        models: what may be asked for.
        budget_bytes: what all residents may hold together.
        max_loaded: the server's limit on their number; `None`: none.
        fit_share: see `FIT_SHARE`; 1.0 for a server that asks for no margin.
    """

    models: Mapping[str, ModelCost]
    budget_bytes: int
    max_loaded: int | None = None
    fit_share: float = FIT_SHARE

    def servable(self) -> dict[str, ModelCost]:
        """Returns the models that fit when they are alone."""
        return {k: m for k, m in self.models.items() if m.bytes <= self.budget_bytes}

    def pins(self) -> list[ModelCost]:
        """Returns the pins in the order in which they are loaded."""
        pins = (m for m in self.models.values() if m.pinned)
        return sorted(pins, key=lambda m: (-m.priority, m.id))

    def short_bytes(self, cost: ModelCost, free_bytes: int, residents: int) -> int:
        """Returns how many bytes must go before a load may begin; 0 or less: none."""
        if not residents:
            return cost.bytes - free_bytes
        need = self._room_for(cost) - free_bytes
        if self.max_loaded is not None and residents >= self.max_loaded:
            need = max(need, 1)
        return min(need, self.budget_bytes - free_bytes)

    def least_for_pins(self) -> int:
        """Returns the least budget in which all pins find room, loaded one after the other."""
        held = least = 0
        for cost in self.pins():
            least = max(least, held + (self._room_for(cost) if held else cost.bytes))
            held += cost.bytes
        return least

    def check_pins(self) -> None:
        """Raises ConfigError if the memory, or the limit on models, is too small for the pins."""
        pins, least = self.pins(), self.least_for_pins()
        names = ", ".join(cost.id for cost in pins)
        if least > self.budget_bytes:
            raise ConfigError(
                f"{format_bytes(self.budget_bytes)} for models are too little for its own pins, "
                f"which need {format_bytes(least)}: {names}",
                hint="pin less, or try more memory with --budget",
            )
        if self.max_loaded is not None and len(pins) > self.max_loaded:
            raise ConfigError(
                f"{len(pins)} pins are more than the {self.max_loaded} models that the server "
                f"holds at once: {names}",
                hint="pin less, or raise OLLAMA_MAX_LOADED_MODELS",
            )

    def _room_for(self, cost: ModelCost) -> int:
        """Returns what has to be free for a load beside others."""
        expected = cost.bytes if cost.forecast_bytes is None else cost.forecast_bytes
        return max(cost.bytes, ceil(expected / self.fit_share))


class Memory:
    """The residents of a replay, and what their coming and going costs.

    Args:
        spec: the host.
        end: when the replay's accounts close.
    """

    def __init__(self, spec: PoolSpec, end: float) -> None:
        self.spec = spec
        self.models = spec.servable()
        self.now = 0.0
        self.end = end
        self.free_bytes = spec.budget_bytes
        self.slots: dict[str, Slot] = {}
        self.lacking = Lacking(self.models, self.slots, self.short_bytes)
        self.tally = Tally()

    def short_bytes(self, cost: ModelCost) -> int:
        """Returns how many bytes must go before a load may begin; 0 or less: none."""
        return self.spec.short_bytes(cost, self.free_bytes, len(self.slots))

    def idle_for(self, short: int) -> dict[str, Slot] | None:
        """Returns the idle ones to choose victims from; `None` if they do not free enough.

        Pins are among them only where everybody else together would not do, in use or not.
        """
        others = [s for s in self.slots.values() if not s.cost.pinned]
        without_pins = sum(s.cost.bytes for s in others) >= short
        among = others if without_pins else self.slots.values()
        idle = {s.cost.id: s for s in among if s.busy_until <= self.now}
        return idle if sum(s.cost.bytes for s in idle.values()) >= short else None

    def next_end(self, after_seconds: float = 0.0) -> float:
        """Returns when the next resident will have been idle for so long; infinite: none will."""
        ends = (s.busy_until + after_seconds for s in self.slots.values())
        return min((at for at in ends if at > self.now), default=inf)

    def evict(self, slot: Slot) -> None:
        """Ends a residency."""
        name = slot.cost.id
        self.tally.evictions += 1
        self.tally.unused_preloads += slot.preloaded and not slot.uses
        self.tally.evicted_at[name] = self.now
        del self.slots[name]
        self.free_bytes += slot.cost.bytes
        self._account(slot, self.now)

    def close(self) -> None:
        """Accounts for those that are still there."""
        for slot in self.slots.values():
            self._account(slot, max(self.end, self.now))

    def _account(self, slot: Slot, until: float) -> None:
        seconds = max(0.0, min(until, self.end) - slot.loaded_at)
        self.tally.held_byte_seconds += slot.cost.bytes * seconds
