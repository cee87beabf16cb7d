"""A better incumbent: GPU by GPU and pair by pair, filled anew from what is on them or left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from warmset.core.planner.filling import Row, fill_best
from warmset.core.planner.ground import Ground, Node
from warmset.core.planner.problem import Effort, Use

FILL_STEPS: Final = 150
"""Steps of one filling; beyond, the best found counts."""

STEPS_PER_UNIT: Final = 16
"""A step of filling costs a part of one of the search over sets."""

Places = list[dict[int, tuple[int, Use]]]
"""Per item: GPU -> the option that puts it there whole, and what it takes."""


class Refill:
    """Neighbours of a set in which one or two GPUs are filled anew.

    Args:
        ground: the problem.
    """

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self._settled: Node | None = None
        items, packed = ground.problem.items, ground.problem.packed
        base = 1 + sum(item.value for item in items)
        last = max((item.level for item in items), default=0)
        self._worth = [item.value * base ** (last - item.level) for item in items]
        self._must = 1 + sum(self._worth)
        self.places: Places = [{} for _ in items]
        for n, item in enumerate(items):
            for number, use in enumerate(item.options):
                if use and sum(r < packed for r, _ in use) == 1 and use[0][0] < packed:
                    self.places[n].setdefault(use[0][0], (number, use))
        self._profit = [
            worth + self._must * item.is_mandatory
            for worth, item in zip(self._worth, items, strict=True)
        ]
        self._density = [
            min((-profit / use[0][1] for _, use in places.values()), default=0.0)
            for profit, places in zip(self._scaled(), self.places, strict=True)
        ]

    def _scaled(self) -> list[float]:
        """Returns the profits as floats, for sorting only."""
        largest = max(self._profit, default=0) or 1
        return [profit / largest for profit in self._profit]

    def improve(self, node: Node, effort: Effort) -> Node:
        """Returns a set of no lesser value in which no such neighbour is better.

        Among sets of one value, the better leaves its room in larger pieces.
        """
        if node is self._settled:
            return node
        node = self.ground.fill_up(node, effort)
        tried: set[tuple[object, ...]] = set()
        is_better = True
        while is_better:
            is_better = False
            for gpus in self._moves():
                if effort.is_spent:
                    return node
                found = self._move(node, gpus, tried, effort)
                if found is not None:
                    node = self.ground.fill_up(found, effort)
                    is_better = True
        self._settled = node
        return node

    def _moves(self) -> Iterable[tuple[tuple[int, bool], ...]]:
        """Yields which GPUs to fill one after the other, and whether as full as can be."""
        gpus = range(self.ground.problem.packed)
        for one in gpus:
            yield ((one, False),)
        for one in gpus:
            for other in gpus:
                if one != other:
                    yield ((one, True), (other, False))
                    yield ((one, False), (other, False))

    def _move(
        self,
        node: Node,
        gpus: tuple[tuple[int, bool], ...],
        tried: set[tuple[object, ...]],
        effort: Effort,
    ) -> Node | None:
        """Returns the set with these GPUs filled anew, `None` if that is no better.

        The first is filled as full as can be with what was on both, to make room on the second.
        """
        problem = self.ground.problem
        numbers = [gpu for gpu, _ in gpus]
        held = [
            n
            for n, option in node.chosen.items()
            if any(self.places[n].get(gpu, (-1,))[0] == option for gpu in numbers)
        ]
        key = (*((problem.capacities[gpu], full) for gpu, full in gpus), frozenset(held))
        if key in tried:
            return None
        tried.add(key)
        chosen = {n: o for n, o in node.chosen.items() if n not in held}
        free = list(node.free)
        for n in held:
            for r, amount in problem.items[n].options[node.chosen[n]]:
                free[r] += amount
        left = {*held, *(n for n in self.ground.order if n not in node.chosen)}
        for gpu, is_full in gpus:
            pool = [n for n in held if n in left] if is_full else left
            for n in self._fill(gpu, pool, free, effort, is_full=is_full):
                number, use = self.places[n][gpu]
                if any(amount > free[r] for r, amount in use):
                    continue
                chosen[n] = number
                left.discard(n)
                for r, amount in use:
                    free[r] -= amount
        gained = sum(self._profit[n] for n in chosen if n not in node.chosen)
        lost = sum(self._profit[n] for n in held if n not in chosen)
        if gained < lost or not self._is_allowed(chosen):
            return None
        found = self.ground.node(chosen)
        is_better = gained > lost or _pieces(found) > _pieces(node)
        return found if is_better else None

    def _is_allowed(self, chosen: dict[int, int]) -> bool:
        problem = self.ground.problem
        if problem.max_count is not None and len(chosen) > problem.max_count:
            return False
        return not any(conflict <= chosen.keys() for conflict in problem.conflicts)

    def _fill(
        self, gpu: int, pool: Iterable[int], free: list[int], effort: Effort, *, is_full: bool
    ) -> list[int]:
        room = free[gpu]
        rows: list[Row] = []
        for n in pool if is_full else sorted(pool, key=self._density.__getitem__):
            place = self.places[n].get(gpu)
            if place is not None and (weight := place[1][0][1]) <= room:
                rows.append((weight, weight if is_full else self._profit[n], n))
        if is_full:
            rows.sort(key=lambda row: -row[0])
        filled = fill_best(rows, room, FILL_STEPS)
        effort.spend(1 + (len(rows) + filled.steps) // STEPS_PER_UNIT)
        return filled.items


def _pieces(node: Node) -> int:
    return sum(n * n for n in node.free)
