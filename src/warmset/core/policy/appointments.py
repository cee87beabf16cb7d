"""Models on timers: when to load them, in which order, and what they are worth until then.

A timer says when the next use comes, far sharper than a law of ages can. So such a model need not
be held between its beats, and is loaded just in time. Several may be due at the same minute while
there is one loader: the schedule runs backwards from the last due time.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf
from typing import Final, NamedTuple

from warmset.core.demand.timers import Timer, Timers
from warmset.core.policy.base import Held, ModelCost
from warmset.core.policy.rent import NEAR_SECONDS
from warmset.core.units import MINUTE

SURE_JITTERS: Final = 3.0
"""Early and late enough for 99.7 % of the beats of a normal law."""

SLACK_SECONDS: Final = 8.0
"""How much earlier than needed a load starts: one other load may be in its way.

Source: a 7-9B model in 4 bits, the most common one, is 5 GB: 8 s at 0.6 GB/s, a slow disk.
"""

LOADS_PER_PERIOD: Final = 2.0
"""A period of less than so many loads leaves no time without the model worth having."""

HORIZON_SECONDS: Final = MINUTE
"""A beat further off than its load and this is far: the room serves somebody else until then."""

RELOAD_SHARE: Final = 0.1
"""What evicting a model costs that will be loaded ahead again, in loads: `ahead.LOAD_PRICE`."""


class Appointment(NamedTuple):
    """A load to be made. Units: instants of the caller's clock.

    Attributes:
        start: the last moment to begin, with the appointments after it in mind.
        until: when the use has come, if it comes.
        chance: that it comes.
    """

    start: float
    until: float
    chance: float
    model: ModelCost


class Appointments:
    """The timers of a host, as appointments of its loader."""

    def __init__(self, models: Mapping[str, ModelCost]) -> None:
        self.models = models
        self.timers = Timers()

    def requested(self, now: float, model: str) -> bool:
        """Takes note of one request; returns whether it may have moved an appointment."""
        found = self.timers.found
        had = model in found
        self.timers.requested(now, model)
        return had or model in found

    def timer(self, model: str) -> Timer | None:
        """Returns the timer of a model that need not be held between its beats."""
        timer = self.timers.found.get(model)
        if timer is None:
            return None
        least = LOADS_PER_PERIOD * self.models[model].load_seconds
        return timer if timer.period_seconds >= least else None

    def schedule(self, now: float, residents: Collection[str]) -> list[Appointment]:
        """Returns the next load of each model on a timer that is not there, first due first."""
        ready: list[tuple[float, str, float, float]] = []
        for name, timer in self.timers.found.items():
            if name in residents:
                continue
            model = self.models[name]
            if model.may_preload and timer.period_seconds >= LOADS_PER_PERIOD * model.load_seconds:
                due, spread = timer.due(now), SURE_JITTERS * timer.jitter_seconds
                ready.append((due - spread - SLACK_SECONDS, name, due + spread, timer.share))
        rows: list[Appointment] = []
        latest = inf
        for at, name, until, chance in sorted(ready, reverse=True):
            model = self.models[name]
            latest = min(latest, at) - model.load_seconds
            rows.append(Appointment(latest, until, chance, model))
        rows.reverse()
        return rows

    def loss(
        self, now: float, held: Held, by_law: float, chance_before: float, rent: float
    ) -> float:
        """Returns the loads lost by evicting a resident.

        Args:
            by_law: what its gap law says.
            chance_before: of a use in the first half of the time until its next beat.
            rent: of a second, in its uses.
        """
        timer = self.timer(held.id)
        if timer is None:
            return by_law
        spread = SURE_JITTERS * timer.jitter_seconds
        due = timer.due(now)
        if due - now > held.load_seconds + spread + SLACK_SECONDS + HORIZON_SECONDS:
            idle = min(by_law, RELOAD_SHARE)
            return idle + chance_before * (by_law - idle)
        wait = max(1.0, due + spread - now)
        return max(by_law, worth_at(timer.share, wait, rent))

    def wait(self, now: float, model: str) -> float:
        """Returns the time until the next beat, 0 without a timer."""
        timer = self.timer(model)
        return 0.0 if timer is None else max(0.0, timer.due(now) - now)


def worth_at(chance: float, wait_seconds: float, rent: float) -> float:
    """Returns what holding for one use that comes at a known time is worth, in loads."""
    near = NEAR_SECONDS * chance / max(wait_seconds, NEAR_SECONDS)
    return max(0.0, chance - rent * wait_seconds) + near
