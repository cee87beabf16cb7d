"""What holding a model is worth, as two clocks see it.

Some models go with the bustle of the host, others with the time of day: an idle night says little
about the first and much about the second. So one law of gaps runs on the clock of the host's own
demand and one on the wall clock, each with its rent, and the mean of what they say counts. Neither
is right for every model, and their errors are their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from warmset.core.demand.activity import ActivityClock
from warmset.core.demand.seen import GapLaws
from warmset.core.policy.appointments import Appointments
from warmset.core.policy.base import Held, ModelCost
from warmset.core.policy.rent import NEAR_SECONDS, Rent, worth
from warmset.core.policy.victims import Candidate

BUSY_FINE: Final = 1
"""Bins per octave of the law on the clock of demand, each as wide as all ages before it: that
clock is a guess, it shows nothing sharper."""

WALL_FINE: Final = 2
"""Bins per octave of the law on the wall clock: 41 % wide; what is sharper than that is a timer."""


class Values:
    """Learns from requests and evictions; says at any time what is lost with a resident.

    Args:
        near_seconds: see `rent.NEAR_SECONDS`.
        appointments: models that will be loaded just before they are due; `None`: no such loads.

    Attributes:
        wall, rent: the law on the wall clock and its rent.
    """

    def __init__(
        self, near_seconds: float = NEAR_SECONDS, appointments: Appointments | None = None
    ) -> None:
        self.near_seconds = near_seconds
        self.appointments = appointments
        self.clock = ActivityClock()
        self.busy, self.busy_rent = GapLaws(BUSY_FINE), Rent()
        self.wall, self.rent = GapLaws(WALL_FINE), Rent()

    def __contains__(self, model: str) -> bool:
        """Whether the model was ever asked for."""
        return model in self.wall

    def expect(self, now: float, models: Iterable[str]) -> None:
        """Takes models that nobody has asked for yet as if each had been used now, once."""
        busy = self.clock.read(now)
        for model in models:
            self.busy.expect(busy, model)
            self.wall.expect(now, model)

    def requested(self, now: float, model: str) -> None:
        """Learns the gap that this request ends."""
        self.busy.requested(self.clock.requested(now, model), model)
        self.wall.requested(now, model)

    def candidates(self, now: float, residents: Iterable[Held]) -> list[Candidate]:
        """Returns residents with the load seconds that evicting each of them costs."""
        rows: list[Candidate] = []
        timers = self.appointments.timers.found if self.appointments else {}
        for held in residents:
            loads = self.loads(now, held)
            if held.id in timers and loads:
                loads = self._until_due(now, held, loads)
            rows.append(Candidate(held.id, held.bytes, held.priority, held.load_seconds * loads))
        return rows

    def _until_due(self, now: float, held: Held, by_law: float) -> float:
        """Returns the loads lost with a resident, its timer and what its law says in mind."""
        wait = self.appointments.wait(now, held.id) if self.appointments else 0.0
        if not self.appointments or not wait:
            return by_law
        before = self.wall.chance_within(now, held.id, wait / 2)
        rent = self.rent.of(held.bytes, held.load_seconds)
        return self.appointments.loss(now, held, by_law, before, rent)

    def loads(self, now: float, model: Held | ModelCost) -> float:
        """Returns what having the model from now on is worth; 0 if nobody was seen to ask."""
        if model.id not in self.wall.laws:
            return 0.0
        size, load = model.bytes, model.load_seconds
        busy_rent, rent = self.busy_rent.of(size, load), self.rent.of(size, load)
        busy = self.busy.outlook(self.clock.read(now), model.id, busy_rent)
        wall = self.wall.outlook(now, model.id, rent)
        near = self.near_seconds
        return (worth(busy, busy_rent, near) + worth(wall, rent, near)) / 2

    def chance_within(self, now: float, model: str, seconds: float) -> float:
        """Returns the chance that a model is asked for in the next `seconds`, by both clocks."""
        busy = self.busy.chance_within(self.clock.read(now), model, seconds)
        return (busy + self.wall.chance_within(now, model, seconds)) / 2

    def evicted(self, now: float, victims: Iterable[Held]) -> None:
        """Learns from the victims of a waiting load what room is worth."""
        for held in victims:
            per_use = held.load_seconds / held.bytes
            busy = wall = 0.0
            if held.id in self.wall:
                busy = self.busy.hit_rate(self.clock.read(now), held.id)
                wall = self.wall.hit_rate(now, held.id)
            self.busy_rent.learn(busy * per_use)
            self.rent.learn(wall * per_use)
