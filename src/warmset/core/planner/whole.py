"""Bounds on one level's value by whole items: no item is cut, as it is in `LevelBound`.

Per position of the search order there is a *front*: all (weight, value) that sets of the items from
there on can have, without those that another one beats in both. A pair that goes into no set which
is sought, however well the items before it are cut, is left out; so a front stays short where few
sets are open, and what is read off it holds for all sets which are sought.

Source: Nemhauser & Ullmann 1969; bounds of what is left as in Martello & Toth 1990, chapter 2.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from warmset.core.planner.bounds import by_density
from warmset.core.planner.ground import Bound, Ground, View
from warmset.core.planner.problem import Effort
from warmset.core.replacing import replace

FRONT_STEPS: Final = 4000
"""Steps for the fronts of one knapsack; beyond, items are cut on the levels that are left."""

Pair = tuple[int, int]
"""Weight and value of a set."""

PAIRS_PER_STEP: Final = 8
"""Pairs that are made in the time of a step of the search over sets."""


class WholeBound:
    """Like `LevelBound`, but of whole items; holds for sets that are sought only.

    Args:
        plain: the bound with an item cut, for what is asked without one of the items.
        first: the first position.
        fronts: per position from there on, and after the last.
    """

    def __init__(self, plain: Bound, first: int, fronts: Sequence[Sequence[Pair]]) -> None:
        self._plain = plain
        self._first = first
        self._fronts = [([w for w, _ in front], [v for _, v in front]) for front in fronts]

    def fill(self, start: int, room: int, skip: int = -1) -> int:
        """Returns at least what the items from a position on can be worth in `room`."""
        if skip >= 0:
            return self._plain.fill(start, room, skip)
        weights, values = self._front(start)
        at = bisect_right(weights, room) - 1
        return values[at] if at >= 0 else 0

    def least_weight(self, start: int, value: int, skip: int = -1) -> int | None:
        """Returns at most what it takes to gather `value`; `None` if it is out of reach."""
        if skip >= 0:
            return self._plain.least_weight(start, value, skip)
        weights, values = self._front(start)
        at = bisect_left(values, value)
        return weights[at] if at < len(values) else None

    def _front(self, start: int) -> tuple[list[int], list[int]]:
        return self._fronts[min(max(0, start - self._first), len(self._fronts) - 1)]


def in_wholes(ground: Ground, view: View, reached: Sequence[int], effort: Effort) -> View:
    """Returns a view whose bounds cut no item, as far as that does not take too long.

    Args:
        ground: the problem.
        view: the open items.
        reached: values per level up to the one that is to be bettered; the others are to be kept.
        effort: charged.
    """
    needs = [value - within for value, within in zip(reached, view.root.values, strict=False)]
    needs[-1] += 1
    bounds = [
        _wholly(ground, view, at, needs, effort.part(FRONT_STEPS))
        for at in range(len(ground.surrogates))
    ]
    return replace(view, bounds=tuple(bounds))


def _wholly(
    ground: Ground, view: View, at: int, needs: Sequence[int], effort: Effort
) -> tuple[Bound, ...]:
    """Returns the bounds of one surrogate, level by level."""
    weights, items = ground.surrogates[at].weights, ground.problem.items
    found: list[Bound] = list(view.bounds[at])
    room = view.root.rooms[at]
    for level, need in enumerate(needs):
        start, stop = view.starts[level : level + 2]
        rows = [(weights[n], items[n].value) for n in view.order[start:stop]]
        left: int | None = room
        for other, (bound, least) in enumerate(zip(found, needs, strict=True)):
            taken = bound.least_weight(0, least) if other != level and least > 0 else 0
            left = None if left is None or taken is None else left - taken
        if left is None:
            break  # some need is out of reach, which the search will find at its root
        fronts = whole_fronts(rows, left, need, effort)
        if fronts is not None:
            found[level] = WholeBound(view.bounds[at][level], start, fronts)
    return tuple(found)


def whole_fronts(
    rows: Sequence[Pair], room: int, target: int, effort: Effort
) -> list[list[Pair]] | None:
    """Returns the fronts from each row on, and after the last; `None`: that takes too long.

    Args:
        rows: (weight, value) in the order of the search.
        room: what a set which is sought may weigh.
        target: what it is worth at least.
        effort: what this may take.
    """
    ranked = sorted(range(len(rows)), key=lambda at: by_density((*rows[at], at)))
    front: list[Pair] = [(0, 0)]
    fronts = [front]
    for at in range(len(rows) - 1, -1, -1):
        weight, value = rows[at]
        merged = _merge(front, [(w + weight, v + value) for w, v in front])
        if not effort.spend(1 + (len(merged) + at) // PAIRS_PER_STEP):
            return None
        fill = _filling([rows[n] for n in ranked if n < at])
        front = [(w, v) for w, v in merged if w <= room and fill(room - w) + v >= target]
        fronts.append(front)
    fronts.reverse()
    return fronts


def _merge(one: Sequence[Pair], other: Sequence[Pair]) -> list[Pair]:
    """Returns two fronts as one."""
    merged: list[Pair] = []
    most = -1
    for pair in sorted([*one, *other], key=_lightest):
        if pair[1] > most:
            merged.append(pair)
            most = pair[1]
    return merged


def _lightest(pair: Pair) -> Pair:
    return (pair[0], -pair[1])


def _filling(rows: Sequence[Pair]) -> Callable[[int], int]:
    """Returns what rows, the densest first, are worth in a room with the last one cut."""
    weights = list(accumulate([w for w, _ in rows], initial=0))
    values = list(accumulate([v for _, v in rows], initial=0))

    def fill(room: int) -> int:
        at = bisect_right(weights, room) - 1
        if at + 1 == len(weights):
            return values[at]
        part = (values[at + 1] - values[at]) * (room - weights[at])
        return values[at] + part // (weights[at + 1] - weights[at])

    return fill
