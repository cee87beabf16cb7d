"""Upper bounds: what no choice can exceed, from relaxations to one knapsack.

A *surrogate* replaces all limits by one: each item gets a weight, and the weights of any
feasible choice sum up to at most its limit. Valid surrogates here:

- the bytes of an item over all GPUs, against the bytes of all GPUs;
- the same counted in whole grains, `floor(bytes / grain)` against `sum of floor(capacity /
  grain)`: if 13 GiB models stand before 24 GiB GPUs, a grain of 13 GiB says one per GPU;
- each shared resource (RAM) alone, and the number of items.

Filled by density with the last item cut, a surrogate gives the bound of Dantzig (1957).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from warmset.core.planner.problem import Item, Problem, Use

MAX_PARTS: Final = 6
"""Parts of a GPU up to which whole models are counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrogate:
    """One knapsack that every feasible choice respects: a weight per item, and the limit."""

    weights: tuple[int, ...]
    limit: int


class LevelBound:
    """Bounds on one level's value over the items from a position on.

    Args:
        surrogate: the knapsack.
        positions: places in the search order of this level's items, ascending.
        items: item number at each of these positions.
        values: value per item.
    """

    def __init__(
        self,
        surrogate: Surrogate,
        positions: range,
        items: Sequence[int],
        values: Sequence[int],
    ) -> None:
        self._weights = [surrogate.weights[n] for n in items]
        self._values = [values[n] for n in items]
        self._start = positions.start
        ranks = [
            (weight > 0, -value / weight if weight else 0.0)
            for weight, value in zip(self._weights, self._values, strict=True)
        ]
        order = sorted(range(len(ranks)), key=ranks.__getitem__)
        self._order = order  # of the items here, the best first
        # Where this is the search order, what is open from a place on is the end of one list.
        self._is_in_order = order == list(range(len(order)))
        self._whole = self._sums(order)
        self._from: dict[int, _Sums] = {}
        self._places: dict[int, dict[int, int]] = {}  # asked for at few starts only

    def fill(self, start: int, room: int, skip: int = -1) -> int:
        """Returns at least what the items at positions >= `start` can be worth in `room`.

        The item at position `skip` is left out: what it weighs is room for others instead.
        """
        weights, values = self._whole
        at = 0
        if start > self._start:
            weights, values, at = self._look_up(start - self._start)
        room += weights[at]
        cut = bisect_right(weights, room, at) - 1
        without = values[at]
        if skip >= start and (k := self._place(skip, start)) <= cut:
            without += values[k + 1] - values[k]
            room += weights[k + 1] - weights[k]
            cut = bisect_right(weights, room, at) - 1
        total = values[cut] - without
        if cut + 1 < len(weights):
            left, weight = room - weights[cut], weights[cut + 1] - weights[cut]
            total += (values[cut + 1] - values[cut]) * left // weight
        return total

    def least_weight(self, start: int, value: int, skip: int = -1) -> int | None:
        """Returns at most what it takes to gather `value`; `None` if it is out of reach."""
        weights, values = self._whole
        at = 0
        if start > self._start:
            weights, values, at = self._look_up(start - self._start)
        value += values[at]
        cut = bisect_left(values, value, at)
        without = weights[at]
        if skip >= start and (k := self._place(skip, start)) < cut:
            without += weights[k + 1] - weights[k]
            value += values[k + 1] - values[k]
            cut = bisect_left(values, value, at)
        if cut == len(values):
            return None
        if cut == at:
            return 0
        spent, gathered = weights[cut - 1], values[cut - 1]
        part = (weights[cut] - spent) * (value - gathered) // (values[cut] - gathered)
        return spent + part - without

    def _look_up(self, at: int) -> tuple[list[int], list[int], int]:
        """Returns sums of weights and of values, and where in them the items from `at` on begin."""
        if self._is_in_order:
            weights, values = self._whole
            return weights, values, min(at, len(self._order))
        found = self._from.get(at)
        if found is None:
            found = self._from[at] = self._sums([n for n in self._order if n >= at])
        return (*found, 0)

    def _sums(self, some: Sequence[int]) -> _Sums:
        """Returns the sums of weights and of values of some of the items here."""
        return (
            list(accumulate([self._weights[n] for n in some], initial=0)),
            list(accumulate([self._values[n] for n in some], initial=0)),
        )

    def _place(self, position: int, start: int) -> int:
        """Returns the place of a position in the sums of a start; behind all: none."""
        first = 0 if self._is_in_order else max(0, start - self._start)
        places = self._places.get(first)
        if places is None:
            some = [n for n in self._order if n >= first]
            places = self._places[first] = {n: at for at, n in enumerate(some)}
        return places.get(position - self._start, len(places) + 1)


_Sums = tuple[list[int], list[int]]
"""Sums of weights, and of values."""


def surrogates(problem: Problem, shapes: Shapes) -> tuple[Surrogate, ...]:
    """Returns the knapsacks to bound with, the one of plain bytes first.

    Args:
        problem: the problem.
        shapes: what items take of the packed resources.
    """
    packed, resources = problem.packed, len(problem.capacities)
    found = [_in_grains(problem, shapes, 1)] if packed else []
    for r in range(packed, resources):
        least = [
            min([sum([n for at, n in use if at == r]) for use in possible], default=0)
            for possible in (possible_options(problem, item) for item in problem.items)
        ]
        found.append(Surrogate(weights=tuple(least), limit=problem.capacities[r]))
    if problem.max_count is not None:
        found.append(Surrogate(weights=(1,) * len(problem.items), limit=problem.max_count))
    return tuple(found) or (Surrogate(weights=(0,) * len(problem.items), limit=0),)


def capacity_grains(problem: Problem, shapes: Shapes) -> tuple[Surrogate, ...]:
    """Returns the knapsacks of the grains just above a half, a third, … of each size of GPU.

    Of models larger than a third of a GPU it holds two, however small the third part is missed by.
    """
    sizes = {problem.capacities[r] for r in range(problem.packed)}
    grains = {size // parts + 1 for size in sizes for parts in range(1, MAX_PARTS + 1)}
    return tuple([_in_grains(problem, shapes, grain) for grain in sorted(grains)])


Shapes = Sequence[tuple[tuple[int, ...], ...]]
"""Per item, the different amounts that its possible options take of the packed resources."""


def packed_shapes(problem: Problem, sizes: Sequence[int | None]) -> Shapes:
    """Returns what the possible options of each item take of what is packed.

    Args:
        problem: the problem.
        sizes: per item, what it takes of whichever of them it lies on, where that is all.
    """
    packed = problem.packed
    largest = max(problem.capacities[:packed], default=-1)
    shapes: list[tuple[tuple[int, ...], ...]] = []
    for size, item in zip(sizes, problem.items, strict=True):
        if size is not None:
            shapes.append(((size,),) if size <= largest else ())
            continue
        possible = possible_options(problem, item)
        shapes.append(tuple({tuple([n for r, n in use if r < packed]) for use in possible}))
    return shapes


def _in_grains(problem: Problem, shapes: Shapes, grain: int) -> Surrogate:
    """Returns the knapsack in whole grains over the packed resources."""
    weights = []
    for found in shapes:
        if len(found) == 1 and len(found[0]) == 1:
            weights.append(found[0][0] // grain)
        else:
            weights.append(min([sum([n // grain for n in some]) for some in found], default=0))
    limit = sum([n // grain for n in problem.capacities[: problem.packed]])
    return Surrogate(weights=tuple(weights), limit=limit)


def possible_options(problem: Problem, item: Item) -> list[Use]:
    """Returns the options that fit an empty host."""
    capacities = problem.capacities
    possible = []
    for use in item.options:
        for r, n in use:
            if n > capacities[r]:
                break
        else:
            possible.append(use)
    return possible


def by_density(row: tuple[int, int, int]) -> tuple[bool, float, int]:
    """Sorts best first: what weighs nothing, then value by weight, then the search order."""
    weight, value, position = row
    return (weight > 0, -value / weight if weight else 0.0, position)
