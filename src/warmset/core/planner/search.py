"""The exact search: depth first over sets, bounded by surrogates, placed by the arranger.

Level by level: the best value of level 0 is found and proved, then kept while level 1 is
maximised, and so on. A node is a set of chosen items with an arrangement. Items are tried in the
order of value by weight, so the first descent is the greedy choice.

All of it is counted in steps, so that the same input gives the same answer on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from warmset.core.planner.bounds import (
    Surrogate,
    blend,
    item_grains,
    weighted_surrogate,
)
from warmset.core.planner.ground import Ground, Node, View
from warmset.core.planner.problem import Effort, Problem, Solution

DEFAULT_WORK: Final = 1_000_000
"""Steps of one call times items: well under a second on a slow core, whatever the size."""

GREEDY_STEPS: Final = 60
"""Steps of rearranging for each item of the first incumbent: little more than one best fit."""

GLANCE: Final = 1000
"""Steps of a first plain search of a level, before the sharper and dearer means."""

EVEN_PRICE: Final = 64
"""Price of a byte on every GPU at the start of the search for better prices."""

PRICE_ROUNDS: Final = 2
"""Rounds of that search over the sizes of GPUs."""

MAX_BLENDED: Final = 4
"""Surrogates blended with the one of bytes: those that bound lowest by themselves."""

MAX_SWAPS: Final = 200
"""Exchanges tried before an incumbent counts as polished."""


def solve(problem: Problem, *, work: int = DEFAULT_WORK) -> Solution | None:
    """Returns the best choice, or `None` where the mandatory items do not fit.

    Args:
        problem: what to choose from.
        work: the search budget, in steps times items; when it runs out the best choice so far is
            returned with the bounds that still stand (`is_proved` False).
    """
    ground = Ground(problem)
    base = ground.mandatory()
    if base is None:
        return None
    search = _Search(ground, base, work // max(32, len(problem.items)))
    for level in range(ground.levels):
        search.improve(level)
    return search.solution()


def relative_gap(solution: Solution) -> float:
    """Returns how much better the first level that is not proved could be, as a ratio."""
    for value, bound in zip(solution.objective, solution.bounds, strict=True):
        if bound > value:
            return (bound - value) / bound
    return 0.0


def _or_none_first(bound: int | None) -> int:
    """Returns a sort key: no bound at all rules out everything and so is the lowest."""
    return -1 if bound is None else bound


class _Search:
    """The search over one problem: the best set so far, and what bounds it."""

    def __init__(self, ground: Ground, base: Node, steps: int) -> None:
        self.ground = ground
        self.base = base
        self.steps = steps
        self.used = 0
        self.effort = Effort(steps)
        self.best = ground.fill_up(base, self.effort, steps=GREEDY_STEPS)
        self.upper: list[int] = []
        self.open_bound = 0

    def improve(self, level: int) -> None:
        """Maximises one level while those before keep their value, as far as steps go."""
        self.used += self.effort.used
        is_last = level == self.ground.levels - 1
        self.effort = Effort((self.steps - self.used) // (1 if is_last else 2))
        whole = self.ground.view(self.base, (), level)
        if self._promises_more(whole, level):
            self._polish(level)
            if not self._explore(whole, level, self.effort.part(GLANCE)):
                self._sharpen(level)
                view = self._narrow(level)
                if view is None:
                    self.open_bound = self.best.values[level]
                else:
                    self._explore(view, level, self.effort)
        else:
            self.open_bound = self.best.values[level]
        self.upper.append(max(self.open_bound, self.best.values[level]))

    def _explore(self, view: View, level: int, effort: Effort) -> bool:
        """Searches a view within an effort; returns whether nothing better is left in it."""
        if view.root.values[: level + 1] > self.best.values[: level + 1]:
            self.best = self.ground.fill_up(view.root, effort)
        self.open_bound = self.best.values[level]
        self._descend(view, view.root, 0, level, effort)
        return self.open_bound <= self.best.values[level]

    def _promises_more(self, view: View, level: int) -> bool:
        bound = self._bound(view, view.root, 0, level)
        return bound is not None and bound > self.best.values[level]

    def _sharpen(self, level: int) -> None:
        """Adds the surrogate that bounds this level lowest, if one beats those in use."""
        view = self.ground.view(self.base, (), level)
        problem, in_use = self.ground.problem, self.ground.surrogates
        if not problem.packed:
            return
        priced = self._priced(view, level)
        grains = [*self.ground.arranger.grains, *item_grains(problem, view.order)]
        singles = sorted(
            (*grains, *in_use[1:]),
            key=lambda s: _or_none_first(self._root_bound(view, s, level)),
        )[:MAX_BLENDED]
        blends = [blend(priced, other, share) for other in singles for share in (1, 2, 3)]
        lowest, sharpest = self._bound(view, view.root, 0, level), None
        for surrogate in (priced, *singles, *blends):
            bound = self._root_bound(view, surrogate, level)
            if bound is None or lowest is None or bound < lowest:
                lowest, sharpest = bound, surrogate
        if sharpest is not None:
            in_use.append(sharpest)

    def _priced(self, view: View, level: int) -> Surrogate:
        """Returns the knapsack with the best prices found, one price for GPUs of one size."""
        problem = self.ground.problem
        gpus = range(problem.packed)
        prices = [EVEN_PRICE] * problem.packed
        best = weighted_surrogate(problem, prices)
        lowest = self._root_bound(view, best, level)
        for _ in range(PRICE_ROUNDS):
            for size in sorted({problem.capacities[r] for r in gpus}):
                for quarters in (1, 3, 5, 8):
                    tried = [
                        max(1, p * quarters // 4) if problem.capacities[r] == size else p
                        for r, p in enumerate(prices)
                    ]
                    surrogate = weighted_surrogate(problem, tried)
                    bound = self._root_bound(view, surrogate, level)
                    if bound is None or lowest is None or bound < lowest:
                        prices, best, lowest = tried, surrogate, bound
        return best

    def _root_bound(self, view: View, surrogate: Surrogate, level: int) -> int | None:
        root = view.root
        alone = View(
            root=root,
            order=view.order,
            starts=view.starts,
            bounds=(self.ground.level_bounds(surrogate, view.order, view.starts),),
        )
        room = surrogate.limit - sum(surrogate.weights[n] for n in root.chosen)
        return self._bound_by(alone, 0, room, root.values, 0, level)

    def _polish(self, level: int) -> None:
        """Improves the incumbent by exchanging one chosen item for one that is left out."""
        while not self.effort.is_spent:
            better = next((node for node in self._exchanges(level) if self._is_better(node)), None)
            if better is None:
                return
            self.best = better

    def _exchanges(self, level: int) -> Iterator[Node | None]:
        """Yields neighbours of the incumbent, the greatest gain first."""
        items, chosen = self.ground.problem.items, self.best.chosen
        swaps = [
            (items[comes].value - items[goes].value, comes, goes)
            for comes in self.ground.order
            if items[comes].level == level and comes not in chosen
            for goes in chosen
            if not items[goes].is_mandatory and items[goes].level >= level
        ]
        for _, comes, goes in sorted(swaps, reverse=True)[:MAX_SWAPS]:
            if not self.effort.spend():
                return
            rest = self.ground.node({n: option for n, option in chosen.items() if n != goes})
            entered = self.ground.include(rest, comes, self.effort)
            yield None if entered is None else self.ground.fill_up(entered, self.effort)

    def _is_better(self, node: Node | None) -> bool:
        return node is not None and node.values > self.best.values

    def _narrow(self, level: int) -> View | None:
        """Returns the view in which a better set must lie, `None` if there is no such set.

        An item without which no bound beats the incumbent is in every better set; one with which
        none does is in no better set.
        """
        ground = self.ground
        inside: list[int] = []
        closed: list[int] = []
        root = self.base
        while True:
            view = ground.view(root, closed, level)
            if not self._promises_more(view, level):
                return None
            forced = [n for at, n in enumerate(view.order) if not self._can_miss(view, at, level)]
            barred = [n for at, n in enumerate(view.order) if not self._can_take(view, at, level)]
            if set(forced) & set(barred):
                return None
            if not forced and not barred:
                return view
            closed += barred
            inside += forced
            if forced:
                held = ground.hold((*self.base.chosen, *inside))
                if held is None:
                    return view if ground.arranger.was_cut_short else None
                root = held

    def _can_miss(self, view: View, position: int, level: int) -> bool:
        """Whether a set without this item may beat the incumbent."""
        bound = self._bound(view, view.root, 0, level, skip=position)
        return bound is not None and bound > self.best.values[level]

    def _can_take(self, view: View, position: int, level: int) -> bool:
        """Whether a set with this item may beat the incumbent."""
        number = view.order[position]
        item, root = self.ground.problem.items[number], view.root
        values = list(root.values)
        values[item.level] += item.value
        spent = [
            n + s.weights[number] for n, s in zip(root.spent, self.ground.surrogates, strict=True)
        ]
        node = Node(root.chosen, root.free, values, spent)
        bound = self._bound(view, node, 0, level, skip=position)
        return bound is not None and bound > self.best.values[level]

    def _descend(self, view: View, node: Node, start: int, level: int, effort: Effort) -> None:
        for position in range(start, len(view.order)):
            bound = self._bound(view, node, position, level)
            if bound is None or bound <= self.best.values[level]:
                return
            if not effort.spend():
                self.open_bound = max(self.open_bound, bound)
                return
            number = view.order[position]
            if any(rival not in node.chosen for rival in self.ground.rivals[number]):
                continue
            child = self.ground.include(node, number, effort)
            if child is None:
                if self.ground.arranger.was_cut_short:
                    self.open_bound = max(self.open_bound, bound)
                continue
            if child.values[: level + 1] > self.best.values[: level + 1]:
                self.best = self.ground.fill_up(child, effort)
            self._descend(view, child, position + 1, level, effort)

    def _bound(self, view: View, node: Node, start: int, level: int, skip: int = -1) -> int | None:
        """Returns a bound on this level's value below a node; `None`: an earlier level is lost.

        Stops at the first surrogate that rules the node out. The item at `skip` is left out.
        """
        lowest: int | None = None
        for index, surrogate in enumerate(self.ground.surrogates):
            room = surrogate.limit - node.spent[index]
            bound = self._bound_by(view, index, room, node.values, start, level, skip)
            if bound is None or bound <= self.best.values[level]:
                return bound
            lowest = bound if lowest is None else min(lowest, bound)
        return lowest

    def _bound_by(  # noqa: PLR0917 - the innermost loop: keywords cost a fifth of its time
        self,
        view: View,
        index: int,
        room: int,
        values: list[int],
        start: int,
        level: int,
        skip: int = -1,
    ) -> int | None:
        bounds = view.bounds[index]
        for earlier in range(level):
            need = self.best.values[earlier] - values[earlier]
            if need > 0:
                least = bounds[earlier].least_weight(start, need, skip)
                if least is None or least > room:
                    return None
                room -= least
        return None if room < 0 else values[level] + bounds[level].fill(start, room, skip)

    def solution(self) -> Solution:
        """Returns what was found."""
        values = tuple(self.best.values)
        return Solution(
            chosen=dict(self.best.chosen),
            objective=values,
            bounds=tuple(self.upper),
            is_proved=tuple(self.upper) == values,
            nodes=self.used + self.effort.used,
        )
