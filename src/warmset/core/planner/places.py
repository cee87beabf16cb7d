"""What a place among the loaded models is worth where their number is limited."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from typing import Final

from warmset.core.planner.bounds import Surrogate
from warmset.core.planner.problem import Problem

ROUNDS: Final = 40
"""Halvings in search of a price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """A knapsack of bytes and places, and what of each weight is for the place."""

    surrogate: Surrogate
    place: int


def place_prices(problem: Problem, weights: Sequence[int]) -> list[int]:
    """Returns per level the value that one more place would bring, 0 where places are not short.

    Found as if all GPUs were one: at that price the best filling takes no more items than there
    are places. What comes first takes its bytes and places from what comes later.

    Args:
        problem: the problem.
        weights: bytes per item.
    """
    levels = max((item.level for item in problem.items), default=-1) + 1
    places = problem.max_count
    if places is None:
        return [0] * levels
    room = sum(problem.capacities[: problem.packed])
    pins = [n for n, item in enumerate(problem.items) if item.is_mandatory]
    room = max(0, room - sum(weights[n] for n in pins))
    places = max(0, places - len(pins))
    prices = []
    for level in range(levels):
        rows = [
            (item.value, weights[n])
            for n, item in enumerate(problem.items)
            if item.level == level and not item.is_mandatory and item.options
        ]
        price = _price(rows, room, places)
        count, taken = _fill(rows, room, price)
        room, places = max(0, room - taken), max(0, places - count)
        prices.append(price)
    return prices


def with_places(problem: Problem, surrogate: Surrogate, prices: Sequence[int]) -> Joint | None:
    """Returns bytes and places in one knapsack, in proportion to what they are worth.

    `None`: places are not short. Counts for the first level in which they are.
    """
    level = next((at for at, price in enumerate(prices) if price), None)
    if level is None or problem.max_count is None:
        return None
    price = prices[level]
    gains = sorted(
        (Fraction(item.value - price, weight), item.value - price, weight)
        for item, weight in zip(problem.items, surrogate.weights, strict=True)
        if item.level == level and item.value > price and weight
    )
    room, gain, unit = surrogate.limit, 0, 1
    for _, gain, unit in reversed(gains):  # noqa: B007 - the last that fits is what is sought
        room -= unit
        if room < 0:
            break
    if room >= 0:
        gain, unit = 0, 1  # room is not short
    place = price * unit
    return Joint(
        surrogate=Surrogate(
            weights=tuple(weight * gain + place for weight in surrogate.weights),
            limit=surrogate.limit * gain + problem.max_count * place,
        ),
        place=place,
    )


def _price(rows: Sequence[tuple[int, int]], room: int, places: int) -> int:
    """Returns the least price at which no more than `places` rows are taken."""
    if len(rows) <= places or _fill(rows, room, 0)[0] <= places:
        return 0
    low, high = 0, max([value for value, _ in rows], default=0)
    for _ in range(ROUNDS):
        if high - low <= 1:
            break
        middle = (low + high) // 2
        if _fill(rows, room, middle)[0] <= places:
            high = middle
        else:
            low = middle
    return high


def _fill(rows: Sequence[tuple[int, int]], room: int, price: int) -> tuple[int, int]:
    """Returns how many rows fit by gain per weight, and what they weigh."""
    gains = [((price - value) / (weight or 1), -weight) for value, weight in rows if value > price]
    gains.sort()
    sums = list(accumulate([-weight for _, weight in gains], initial=0))
    count = bisect_right(sums, room) - 1
    return count, sums[count]
