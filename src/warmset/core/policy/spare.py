"""Room that is free anyway, and what to load into it.

Room that nobody holds earns nothing, so it costs no rent, and a load into it displaces nobody: it
pays if the model may well be asked for before the next waiting load takes the room. How long that
is, the last such loads tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Final

from warmset.core.policy.base import ModelCost, View
from warmset.core.policy.rent import RENT_VICTIMS
from warmset.core.policy.trust import Trust
from warmset.core.policy.values import Values
from warmset.core.units import HOUR, MINUTE

SPARE_PRICE: Final = 0.05
"""Cold seconds that a second of loading into free room must save: one such load in twenty of use.

Half of `ahead.LOAD_PRICE`, since no victim can have been misjudged: only disk and power are paid.
At 0.1 loads are 5 % fewer and cold seconds 1 % more, at 0.03 loads 3 % more and cold seconds half
a per cent fewer.
"""

AT_FIRST: Final = (3.0, 3.0)
"""Uses kept and promised before the first: trusted until shown otherwise, as an error costs little.

As many as `trust.AT_FIRST` counts.
"""

FIRST_TURNOVER_SECONDS: Final = HOUR
"""How long room stays free on a host where no load had to evict yet: nobody wants it."""

SAME_ROOM_SECONDS: Final = MINUTE
"""The same room is looked at again after this: when those who left it are past the latch."""

NAP_SHARE: Final = 0.2
"""Of its age: for so long a model not worth it is let be. Half a bin of its law, 41 % wide."""


class Spare:
    """Chooses what to load into free room.

    Args:
        models: what may be asked for; those that may not be preloaded are passed over.
        values: what they are worth; taught by the caller.

    Attributes:
        trust: what came of the choices so far; the caller tells it.
        turnover_seconds: mean time between waiting loads that took somebody's room.
    """

    def __init__(self, models: Iterable[ModelCost], values: Values) -> None:
        self.models = sorted((m for m in models if m.may_preload), key=lambda m: m.bytes)
        self.values = values
        self.trust = Trust(AT_FIRST)
        self.turnover_seconds = FIRST_TURNOVER_SECONDS
        self._taken_at: float | None = None
        self._looked_at = -inf
        self._free_bytes = 0
        self._naps: dict[str, float] = {}  # models that are not worth it before

    def requested(self, model: str) -> None:
        """Takes note of a request: the model's age begins anew."""
        self.trust.settle(model, used=True)
        self._naps.pop(model, None)

    def taken(self, now: float) -> None:
        """Takes note of a waiting load that evicts."""
        if self._taken_at is not None:
            passed = now - self._taken_at
            self.turnover_seconds += (passed - self.turnover_seconds) / RENT_VICTIMS
        self._taken_at = now

    def is_news(self, now: float, free_bytes: int) -> bool:
        """Whether there is room that was not looked at just now; notes that it is."""
        if free_bytes == self._free_bytes and now < self._looked_at + SAME_ROOM_SECONDS:
            return False
        self._looked_at, self._free_bytes = now, free_bytes
        return free_bytes > 0

    def may_fit(self, view: View) -> Iterator[ModelCost]:
        """Yields the absent models that go into the free room, the smallest first."""
        now, free, naps, here = view.now, view.free_bytes, self._naps, frozenset(view.residents)
        known = self.values.wall.laws
        for model in self.models:
            if model.bytes > free:
                break
            name = model.id
            if name not in here and now >= naps.get(name, -inf) and name in known:
                yield model

    def saved(self, now: float, model: ModelCost) -> tuple[float, float]:
        """Returns the seconds that loading a model saves beyond its price, and its chance."""
        chance = self.values.chance_within(now, model.id, self.turnover_seconds)
        saved = chance * self.trust.precision - SPARE_PRICE
        if saved <= 0:
            nap = NAP_SHARE * self.values.wall.age(now, model.id)
            self._naps[model.id] = now + max(SAME_ROOM_SECONDS, nap)
        return model.load_seconds * saved, chance
