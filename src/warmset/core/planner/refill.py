"""A better incumbent: GPU by GPU and pair by pair, filled anew from what is on them or left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from warmset.core.planner.filling import Row, fill_best
from warmset.core.planner.ground import Ground, Node
from warmset.core.planner.problem import Effort, Use

FILL_STEPS: Final = 60
"""Steps of one filling; beyond, the best found counts."""

MOST_ROWS: Final = 32
"""Models, the best first, that a GPU is filled from."""

STEPS_PER_UNIT: Final = 4
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
        self.places: Places = [{} for _ in items]
        for n, item in enumerate(items):
            for number, use in enumerate(item.options):
                if use and sum(r < packed for r, _ in use) == 1 and use[0][0] < packed:
                    self.places[n].setdefault(use[0][0], (number, use))
        base = 1 + sum(item.value for item in items)
        last = max((item.level for item in items), default=0)
        worth = [item.value * base ** (last - item.level) for item in items]
        must = 1 + sum(worth)
        self._profit = [
            amount + must * item.is_mandatory for amount, item in zip(worth, items, strict=True)
        ]
        largest = max(self._profit, default=0) or 1
        place = sum(p * base ** (last - at) for at, p in enumerate(ground.place_prices))
        self._rows: list[list[Row]] = [[] for _ in range(packed)]
        for n, places in enumerate(self.places):
            for gpu, (_, use) in places.items():
                if self._profit[n] > place:
                    self._rows[gpu].append((use[0][1], self._profit[n] - place, n))
        for rows in self._rows:
            rows.sort(key=lambda row: -row[1] / largest / (row[0] or 1))

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
            held, out = self._held(node), self._out(node)
            for gpus in self._moves():
                if effort.is_spent:
                    return node
                found = self._move(node, (held, out), gpus, tried, effort)
                if found is not None:
                    node = self.ground.fill_up(found, effort)
                    held, out = self._held(node), self._out(node)
                    is_better = True
        self._settled = node
        return node

    def _held(self, node: Node) -> list[list[int]]:
        """Returns what lies whole on each GPU."""
        held: list[list[int]] = [[] for _ in self._rows]
        for n, option in node.chosen.items():
            gpu = self.ground.problem.items[n].options[option][0][0]
            if self.places[n].get(gpu, (-1,))[0] == option:
                held[gpu].append(n)
        return held

    def _out(self, node: Node) -> set[int]:
        """Returns what could be chosen and is not."""
        return {n for n in self.ground.order if n not in node.chosen}

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
        parts: tuple[list[list[int]], set[int]],
        gpus: tuple[tuple[int, bool], ...],
        tried: set[tuple[object, ...]],
        effort: Effort,
    ) -> Node | None:
        """Returns the set with these GPUs filled anew, `None` if that is no better.

        The first is filled as full as can be with what was on both, to make room on the second.
        """
        problem = self.ground.problem
        held, out = parts
        before = {n for gpu, _ in gpus for n in held[gpu]}
        key = (*((problem.capacities[gpu], full) for gpu, full in gpus), frozenset(before))
        if key in tried:
            return None
        tried.add(key)
        free = list(node.free)
        for n in before:
            for r, amount in problem.items[n].options[node.chosen[n]]:
                free[r] += amount
        left = before | out
        after: dict[int, int] = {}
        for gpu, is_full in gpus:
            pool = before & left if is_full else left
            for n in self._fill(gpu, pool, free[gpu], effort, is_full=is_full):
                number, use = self.places[n][gpu]
                if any(amount > free[r] for r, amount in use):
                    continue
                after[n] = number
                left.discard(n)
                for r, amount in use:
                    free[r] -= amount
        gained = sum(self._profit[n] for n in after) - sum(self._profit[n] for n in before)
        if gained < 0 or (gained == 0 and _pieces(free) <= _pieces(node.free)):
            return None
        chosen = {n: option for n, option in node.chosen.items() if n not in before} | after
        return self.ground.node(chosen) if self._is_allowed(chosen) else None

    def _is_allowed(self, chosen: dict[int, int]) -> bool:
        problem = self.ground.problem
        if problem.max_count is not None and len(chosen) > problem.max_count:
            return False
        return not any(conflict <= chosen.keys() for conflict in problem.conflicts)

    def _fill(
        self, gpu: int, pool: set[int], room: int, effort: Effort, *, is_full: bool
    ) -> list[int]:
        rows = [row for row in self._rows[gpu] if row[2] in pool and row[0] <= room]
        if is_full:
            rows = sorted(((row[0], row[0], row[2]) for row in rows), reverse=True)
        filled = fill_best(rows[:MOST_ROWS], room, FILL_STEPS)
        effort.spend(1 + (len(rows) + filled.steps) // STEPS_PER_UNIT)
        return filled.items


def _pieces(free: list[int]) -> int:
    return sum(n * n for n in free)
