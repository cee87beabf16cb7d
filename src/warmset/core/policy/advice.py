"""Which keep-alive each model should have, so that together they fit into the memory.

Every model's keep-alives are points of (memory held on average, load seconds saved). The memory is
spent where it saves most per byte, along the upper hull of each model's points, until it is full.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Final, Literal

from warmset.core.demand.keeping import KEEP_ALIVES, Keeping, Kept
from warmset.core.demand.periods import find_period
from warmset.core.policy.base import ModelCost
from warmset.core.units import HOUR, MINUTE

Word = Literal["none", "short", "medium", "long", "pin"]

FEW_REQUESTS: Final = 10
"""With fewer, the share of warm requests is not known to a tenth, and the advice says so."""

NEARLY_ALWAYS: Final = 0.95
"""A model that its keep-alive holds for this share of the time is better pinned: the rest costs
next to nothing, and a pin is never chosen as a victim. Our choice."""

LEAST_FOR_TIMER: Final = MINUTE
"""A timer's model keeps this at least: a keep-alive of 0 would forbid to fetch it ahead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What to do with one model.

    Attributes:
        keep_alive: idle seconds; infinity: a pin.
        is_little: whether too little was seen to be sure.
        period_seconds: of a timer that asks for it.
        mean_bytes: what it holds on average under this advice.
    """

    keeping: Keeping
    cost: ModelCost
    keep_alive: float
    mean_bytes: float
    is_little: bool
    period_seconds: float | None

    @property
    def word(self) -> Word:
        """The keep-alive in the words of the field."""
        if self.keep_alive == inf:
            return "pin"
        if self.keep_alive == 0:
            return "none"
        if self.keep_alive <= 5 * MINUTE:
            return "short"
        return "medium" if self.keep_alive <= HOUR else "long"

    @property
    def chosen(self) -> Kept:
        """What it gives."""
        return self.keeping.at(self.keep_alive)


@dataclass(frozen=True, slots=True)
class _Step:
    """From one point of a model's hull to the next."""

    model: int
    to: Kept
    saved_seconds: float
    mean_bytes: float


def advise(
    keepings: Sequence[Keeping],
    costs: Mapping[str, ModelCost],
    *,
    budget_bytes: float,
    span_seconds: float,
) -> tuple[Advice, ...]:
    """Returns a keep-alive for each model of which the cost is known, in the order given.

    Args:
        keepings: what each keep-alive gives.
        costs: bytes and load seconds by model.
        budget_bytes: what all may hold together on average.
        span_seconds: how long the demand was watched.
    """
    known = [keeping for keeping in keepings if keeping.model in costs]
    span = max(span_seconds, 1.0)
    chosen = [keeping.points[0] for keeping in known]
    left = budget_bytes - sum(_mean_bytes(k.points[0], costs[k.model], span) for k in known)
    steps = [s for n, k in enumerate(known) for s in _steps(n, k, costs[k.model], span)]
    full: set[int] = set()
    for step in sorted(steps, key=lambda s: -s.saved_seconds / s.mean_bytes):
        if step.model in full:
            continue
        if step.mean_bytes > left:
            full.add(step.model)
            continue
        left -= step.mean_bytes
        chosen[step.model] = step.to
    return tuple(
        _advice(keeping, costs[keeping.model], point, span)
        for keeping, point in zip(known, chosen, strict=True)
    )


def _advice(keeping: Keeping, cost: ModelCost, point: Kept, span: float) -> Advice:
    period = find_period(keeping.times)
    always = keeping.points[-1]
    if period is not None and point.keep_alive == 0:
        point = keeping.at(LEAST_FOR_TIMER)
    elif (
        point.keep_alive
        and keeping.requests >= FEW_REQUESTS
        and point.held_seconds >= NEARLY_ALWAYS * always.held_seconds
        and always.held_seconds >= span / 2
    ):
        point = always
    return Advice(
        keeping=keeping,
        cost=cost,
        keep_alive=point.keep_alive,
        mean_bytes=_mean_bytes(point, cost, span),
        is_little=keeping.requests < FEW_REQUESTS,
        period_seconds=None if period is None else period.seconds,
    )


def _mean_bytes(point: Kept, cost: ModelCost, span: float) -> float:
    return cost.bytes * point.held_seconds / span


def _steps(number: int, keeping: Keeping, cost: ModelCost, span: float) -> list[_Step]:
    """Returns the steps along the upper hull, each saving less per byte than the one before."""
    hull: list[Kept] = []
    for point in keeping.points:
        if hull and point.warm <= hull[-1].warm:
            continue
        while len(hull) > 1 and _slope(hull[-1], point) >= _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(point)
    steps = []
    for before, after in pairwise(hull):
        grown = _mean_bytes(after, cost, span) - _mean_bytes(before, cost, span)
        saved = (after.warm - before.warm) * cost.load_seconds
        steps.append(_Step(number, after, saved, max(grown, 1e-9)))
    return steps


def _slope(a: Kept, b: Kept) -> float:
    return (b.warm - a.warm) / max(b.held_seconds - a.held_seconds, 1e-9)


def one_for_all(
    keepings: Sequence[Keeping],
    costs: Mapping[str, ModelCost],
    *,
    budget_bytes: float,
    span_seconds: float,
) -> float:
    """Returns the longest keep-alive that all models can have at once, on average; never a pin."""
    best = 0.0
    for place, keep in enumerate(KEEP_ALIVES[:-1]):
        held = sum(
            _mean_bytes(k.points[place], costs[k.model], max(span_seconds, 1.0))
            for k in keepings
            if k.model in costs
        )
        if held <= budget_bytes:
            best = keep
    return best


def most_at_once(advice: Iterable[Advice]) -> int:
    """Returns how many models would be resident together at most, were memory no limit."""
    moments: list[tuple[float, int]] = []
    for each in advice:
        times = each.keeping.times
        ends = [*times[1:], inf]
        for since, until in zip(times, ends, strict=True):
            moments += [(since, 1), (min(since + each.keep_alive, until), -1)]
    count = most = 0
    for _, change in sorted(moments):
        count += change
        most = max(most, count)
    return most
