"""The demand of a host summed up by day and model."""

from __future__ import annotations

import time
from dataclasses import dataclass

from warmset.adapters.journal import Demand
from warmset.shell.demand_history import names_of


@dataclass(slots=True, kw_only=True)
class Day:
    """One model on one day of the machine's calendar.

    Attributes:
        cold_starts: loads that a request waited for.
        waited_seconds: the sum of their load times; what queues behind them is not seen.
        untimed_starts: those of them of which no load time is known, as from another machine.
        evictions: unloads by warmset and for other models; not those by an idle timer.
    """

    day: str
    model: str
    uses: int = 0
    loads: int = 0
    cold_starts: int = 0
    waited_seconds: float = 0.0
    untimed_starts: int = 0
    evictions: int = 0
    expired: int = 0


def sum_up(demand: Demand, *, model: str = "") -> tuple[Day, ...]:
    """Returns the days, oldest first, and on each the models by name.

    Args:
        demand: as kept.
        model: only this name; empty: all.
    """
    names, days = names_of(demand), dict[tuple[str, str], Day]()

    def day_of(at: float, key: str) -> Day:
        text = time.strftime("%Y-%m-%d", time.localtime(at))
        name = names[key]
        return days.setdefault((text, name), Day(day=text, model=name))

    for use in demand.uses:
        day_of(use.at, use.key).uses += 1
    for load in demand.loads:
        day = day_of(load.at, load.key)
        day.loads += 1
        if load.cause == "demand":
            day.cold_starts += 1
            day.waited_seconds += load.seconds or 0.0
            day.untimed_starts += load.seconds is None
    for gone in demand.departures:
        day = day_of(gone.at, gone.key)
        if gone.cause == "expired":
            day.expired += 1
        else:
            day.evictions += 1
    found = (days[place] for place in sorted(days))
    return tuple(day for day in found if not model or day.model == model)
