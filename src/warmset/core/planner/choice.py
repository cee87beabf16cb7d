"""The set that a plan is made for, with the way there and what no other set exceeds."""

from __future__ import annotations

from dataclasses import dataclass

from warmset.core.planner.standing import Route
from warmset.core.planner.wanted import Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The set that was chosen, and how good it is known to be.

    Attributes:
        values, bounds: per level of the problem; no set can exceed the bounds.
    """

    wanted: Wanted
    route: Route
    values: tuple[int, ...]
    bounds: tuple[int, ...]


def measured(wanted: Wanted, route: Route, bounds: tuple[int, ...]) -> Choice:
    """Returns a route with what it is worth in the units of the problem."""
    inside = {loaded.candidate.key for loaded in route.world}
    values = [0] * len(bounds)
    for item, candidate in zip(wanted.problem.items, wanted.candidates, strict=True):
        if candidate.key in inside:
            values[item.level] += item.value
    return Choice(wanted=wanted, route=route, values=tuple(values), bounds=bounds)
