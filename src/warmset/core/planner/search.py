"""The exact search: depth first over sets, bounded by surrogates, placed by the arranger.

Level by level: the best value of level 0 is found and proved, then kept while level 1 is
maximised, and so on. A node is a set of chosen items with an arrangement. Items are tried in the
order of value by weight, so the first descent is the greedy choice.

All of it is counted in steps, so that the same input gives the same answer on any machine.
"""

from __future__ import annotations

from typing import Final

from warmset.core.planner.arrange import Arranger, room_left
from warmset.core.planner.bounds import LevelBound, surrogates
from warmset.core.planner.problem import Effort, Problem, Solution

DEFAULT_STEPS: Final = 20_000
"""Search steps of one call: under a second on a slow core."""


def solve(problem: Problem, *, steps: int = DEFAULT_STEPS) -> Solution | None:
    """Returns the best choice, or `None` where the mandatory items do not fit.

    Args:
        problem: what to choose from.
        steps: the search budget; when it runs out the best choice so far is returned with the
            bounds that still stand (`is_proved` False).
    """
    search = _Search(problem, Effort(steps))
    if not search.place_mandatory():
        return None
    search.choose_greedily()
    for level in range(search.levels):
        search.improve(level)
    return search.solution()


class _Node:
    """A set of chosen items with its arrangement."""

    __slots__ = ("chosen", "free", "spent", "values")

    def __init__(
        self, chosen: dict[int, int], free: list[int], values: list[int], spent: list[int]
    ) -> None:
        self.chosen = chosen
        self.free = free
        self.values = values
        self.spent = spent  # per surrogate


class _Search:
    def __init__(self, problem: Problem, effort: Effort) -> None:
        self.problem = problem
        self.effort = effort
        self.arranger = Arranger(problem)
        self.levels = max((item.level for item in problem.items), default=-1) + 1
        self.surrogates = surrogates(problem)
        self.conflicts: dict[int, list[frozenset[int]]] = {}
        for conflict in problem.conflicts:
            for member in conflict:
                self.conflicts.setdefault(member, []).append(conflict)
        self.order = self._make_order()
        self.starts = self._make_starts()
        self.bounds = self._make_bounds()
        self.best = _Node({}, list(problem.capacities), [], [])
        self.root = self.best
        self.upper: list[int] = []
        self.open_bound = 0

    def _make_order(self) -> list[int]:
        weights = self.surrogates[0].weights if self.surrogates else (0,) * len(self.problem.items)
        free = [
            number
            for number, item in enumerate(self.problem.items)
            if not item.is_mandatory and self._can_ever_fit(number)
        ]

        def key(number: int) -> tuple[int, bool, float, int, int]:
            item, weight = self.problem.items[number], weights[number]
            density = item.value / weight if weight else 0.0
            return (item.level, weight > 0, -density, -item.value, number)

        return sorted(free, key=key)

    def _can_ever_fit(self, number: int) -> bool:
        return self.arranger.best_fit(number, self.problem.capacities) is not None

    def _make_starts(self) -> list[int]:
        """Returns where each level begins in the order, and the end."""
        starts = []
        for level in range(self.levels + 1):
            before = (1 for n in self.order if self.problem.items[n].level < level)
            starts.append(sum(before))
        return starts

    def _make_bounds(self) -> list[list[LevelBound]]:
        values = [item.value for item in self.problem.items]
        return [
            [
                LevelBound(
                    surrogate,
                    range(self.starts[level], self.starts[level + 1]),
                    self.order[self.starts[level] : self.starts[level + 1]],
                    values,
                )
                for level in range(self.levels)
            ]
            for surrogate in self.surrogates
        ]

    def place_mandatory(self) -> bool:
        """Starts from the mandatory items; returns whether they fit together."""
        pins = [n for n, item in enumerate(self.problem.items) if item.is_mandatory]
        limit = self.problem.max_count
        if limit is not None and len(pins) > limit:
            return False
        if any(conflict <= frozenset(pins) for conflict in self.problem.conflicts):
            return False
        arranged = self.arranger.arrange(pins)
        if arranged is None:
            return False
        values = [0] * self.levels
        for pin in pins:
            values[self.problem.items[pin].level] += self.problem.items[pin].value
        spent = [sum(s.weights[n] for n in pins) for s in self.surrogates]
        chosen = dict(arranged)
        self.root = _Node(chosen, room_left(self.problem, chosen), values, spent)
        self.best = self.root
        return True

    def choose_greedily(self) -> None:
        """Takes whatever fits in the order of the search: the first incumbent."""
        node = self.root
        for number in self.order:
            node = self._include(node, number) or node
        self.best = node

    def improve(self, level: int) -> None:
        """Maximises one level while those before keep their value, as far as steps go."""
        self.open_bound = self.best.values[level]
        self._descend(self.root, 0, level)
        self.upper.append(max(self.open_bound, self.best.values[level]))

    def _descend(self, node: _Node, start: int, level: int) -> None:
        for position in range(start, self.starts[level + 1]):
            bound = self._bound(node, position, level)
            if bound is None or bound <= self.best.values[level]:
                return
            if not self.effort.spend():
                self.open_bound = max(self.open_bound, bound)
                return
            child = self._include(node, self.order[position], bound)
            if child is None:
                continue
            if child.values[: level + 1] > self.best.values[: level + 1]:
                self.best = self._fill_up(child, level)
            self._descend(child, position + 1, level)

    def _fill_up(self, node: _Node, level: int) -> _Node:
        """Adds lower levels greedily, so that an incumbent is always a whole choice."""
        for number in self.order[self.starts[level + 1] :]:
            node = self._include(node, number) or node
        return node

    def _bound(self, node: _Node, start: int, level: int) -> int | None:
        """Returns a bound on this level's value below a node; `None`: an earlier level is lost."""
        lowest: int | None = None
        for surrogate, bounds, spent in zip(self.surrogates, self.bounds, node.spent, strict=True):
            room: int | None = surrogate.limit - spent
            for earlier in range(level):
                need = self.best.values[earlier] - node.values[earlier]
                if need > 0 and room is not None:
                    least = bounds[earlier].least_weight(start, need)
                    room = None if least is None or least > room else room - least
            if room is None or room < 0:
                return None
            bound = node.values[level] + bounds[level].fill(start, room)
            lowest = bound if lowest is None else min(lowest, bound)
        assert lowest is not None or not self.surrogates
        return lowest

    def _include(self, node: _Node, number: int, bound: int | None = None) -> _Node | None:
        """Returns the node with one more item, rearranged if need be; `None`: it does not fit."""
        limit = self.problem.max_count
        if limit is not None and len(node.chosen) >= limit:
            return None
        spent = [
            before + s.weights[number]
            for before, s in zip(node.spent, self.surrogates, strict=True)
        ]
        if any(total > s.limit for total, s in zip(spent, self.surrogates, strict=True)):
            return None
        for conflict in self.conflicts.get(number, ()):
            if all(m == number or m in node.chosen for m in conflict):
                return None
        option = self.arranger.best_fit(number, node.free)
        if option is not None:
            chosen = {**node.chosen, number: option}
            free = list(node.free)
            for resource, amount in self.problem.items[number].options[option]:
                free[resource] -= amount
        else:
            arranged = self.arranger.arrange((*node.chosen, number), self.effort)
            if arranged is None:
                if self.arranger.was_cut_short and bound is not None:
                    self.open_bound = max(self.open_bound, bound)
                return None
            chosen, free = dict(arranged), room_left(self.problem, arranged)
        values = list(node.values)
        values[self.problem.items[number].level] += self.problem.items[number].value
        return _Node(chosen, free, values, spent)

    def solution(self) -> Solution:
        """Returns what was found."""
        values = tuple(self.best.values)
        return Solution(
            chosen=dict(self.best.chosen),
            objective=values,
            bounds=tuple(self.upper),
            is_proved=tuple(self.upper) == values,
            nodes=self.effort.used,
        )
