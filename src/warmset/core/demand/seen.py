"""The gap laws of all models of a host, on one clock."""

from __future__ import annotations

from typing import Final

from warmset.core.demand.gaps import GapLaw, Outlook, Pool
from warmset.core.demand.grid import Grid

OPEN_EVERY: Final = 50
"""Requests between two looks at the gaps that are still open: they change slowly."""


class GapLaws:
    """Learns from requests; answers for any model at any time.

    Args:
        fine_per_octave: bins in a doubling of age, see `Grid`.

    Attributes:
        laws: by model, first seen first.
        last: when each of them was asked for last.
    """

    def __init__(self, fine_per_octave: int) -> None:
        self._pool = Pool(Grid(fine_per_octave))
        self.laws: dict[str, GapLaw] = {}
        self.last: dict[str, float] = {}
        self._until_open = 0
        self._expected: set[str] = set()

    def __contains__(self, model: str) -> bool:
        """Whether the model was ever asked for."""
        return model in self.laws

    def models(self) -> tuple[str, ...]:
        """Returns the models that were asked for, first seen first."""
        return tuple(self.laws)

    def expect(self, now: float, model: str) -> None:
        """Takes a model that nobody has asked for yet as if its last use had been now.

        All that is known of it is the pooled law; the time until its first use is no gap.
        """
        if model not in self.laws:
            self.laws[model] = GapLaw(self._pool)
            self.last[model] = now
            self._expected.add(model)

    def requested(self, now: float, model: str) -> None:
        """Learns the gap that this request ends."""
        law = self.laws.get(model)
        if law is None:
            self.laws[model] = GapLaw(self._pool)
        elif model in self._expected:
            self._expected.remove(model)
        else:
            law.add(now - self.last[model])
        self.last[model] = now
        self._until_open -= 1
        if self._until_open < 0:
            used = (at for name, at in self.last.items() if name not in self._expected)
            self._pool.note_open(now - at for at in used)
            self._until_open = OPEN_EVERY

    def age(self, now: float, model: str) -> float:
        """Returns for how long the model has been idle."""
        return now - self.last[model]

    def outlook(self, now: float, model: str, rent: float) -> Outlook:
        """Returns what holding the model promises; see `GapLaw.outlook`."""
        return self.laws[model].outlook(now - self.last[model], rent)

    def hit_rate(self, now: float, model: str) -> float:
        """Returns the chance of a use per second held, at best."""
        return self.laws[model].hit_rate(now - self.last[model])

    def promising_at(self, now: float, model: str, rent: float) -> float:
        """Returns when holding the model may pay next, after its present bin of age."""
        last = self.last[model]
        return last + self.laws[model].promising_age(now - last, rent)

    def chance_within(self, now: float, model: str, seconds: float) -> float:
        """Returns the chance that the model is asked for in the next `seconds`."""
        return self.laws[model].chance_within(now - self.last[model], seconds)
