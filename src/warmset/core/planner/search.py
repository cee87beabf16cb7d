"""The exact search: depth first over sets, bounded by surrogates, placed by the arranger.

Level by level: the best value of level 0 is found and proved, then kept while level 1 is
maximised, and so on. A node is a set of chosen items with an arrangement. Items are tried in the
order of value by weight, so the first descent is the greedy choice.

All of it is counted in steps, so that the same input gives the same answer on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Final

from warmset.core.planner.gather import Gather
from warmset.core.planner.ground import Ground, Node, View
from warmset.core.planner.problem import Effort, Problem, Solution
from warmset.core.planner.refill import Refill
from warmset.core.planner.settle import settle
from warmset.core.planner.shake import Shake
from warmset.core.planner.sharpen import Sharpener

DEFAULT_WORK: Final = 14_000_000
"""Steps of one call times items: well under a second on a slow core, whatever the size."""

PEEP: Final = 300
GLANCE: Final = 800
"""Steps of the first plain searches of a level, before the sharper and dearer means."""

FEW: Final = 16
"""Open items up to which nothing but the plain search is tried, for `FEW_STEPS`."""

FEW_STEPS: Final = 4000

LEAST_ITEMS: Final = 32
"""Items that a step is charged for at least."""

DEPTHS: Final = (1, 8, 64)
"""How much more thoroughly sets are arranged each time a search ends without certainty."""

REFILL_SHARE: Final = 8
"""Part of a level's effort for filling GPUs anew by turns."""

PRICE_SHARES: Final = (8, 2, 2)
"""Twentieths of a level's effort for each round of pricing and narrowing."""

SHAKE_SHARE: Final = 3
"""Part of a level's effort for a better set by chance."""


def solve(problem: Problem, *, work: int = DEFAULT_WORK) -> Solution | None:
    """Returns the best choice, or `None` where the mandatory items do not fit.

    Args:
        problem: what to choose from.
        work: the search budget, in steps times items; when it runs out the best choice so far is
            returned with the bounds that still stand (`is_proved` False).
    """
    settled = settle(problem)
    if settled is None:
        return None
    ground = Ground(settled.problem)
    base = ground.mandatory()
    if base is None:
        return None
    search = _Search(ground, base, work // max(LEAST_ITEMS, len(problem.items)))
    for level in range(ground.levels):
        search.improve(level)
    return settled.whole(search.solution())


def is_impossible(problem: Problem) -> bool:
    """Whether the mandatory items certainly do not fit."""
    ground = Ground(problem)
    pins = [n for n, item in enumerate(problem.items) if item.is_mandatory]
    return ground.hold(pins) is None and not ground.arranger.was_cut_short


def relative_gap(values: Sequence[int], bounds: Sequence[int]) -> float:
    """Returns how much better the first level that is not proved could be, as a ratio."""
    for value, bound in zip(values, bounds, strict=True):
        if bound > value:
            return (bound - value) / bound
    return 0.0


class _Search:
    """The search over one problem: the best set so far, and what bounds it."""

    def __init__(self, ground: Ground, base: Node, steps: int) -> None:
        self.ground = ground
        self.base = base
        self.effort = Effort(steps)
        self.best = ground.fill_up(base, self.effort)
        self.upper: list[int] = []
        self.open_bound = 0
        self.is_lost = False  # whether a level was left unproved

    @cached_property
    def refill(self) -> Refill:
        return Refill(self.ground)

    @cached_property
    def shake(self) -> Shake:
        return Shake(self.ground, self.refill.places)

    @cached_property
    def gather(self) -> Gather:
        return Gather(self.ground, self.refill.places)

    @cached_property
    def sharpener(self) -> Sharpener:
        return Sharpener(self.ground)

    def improve(self, level: int) -> None:
        """Maximises one level while those before keep their value, as far as steps go.

        Once a level is not proved, nothing can be proved of those after it: a good set is sought
        in what is left of the effort, and nothing else.
        """
        whole = self.ground.view(self.base, (), level)
        bound = self._bound(whole, whole.root, 0, level) or 0
        self.open_bound = max(self.best.values[level], bound)
        is_open = bound > self.best.values[level]
        if is_open and not self.is_lost and not self.effort.is_spent:
            left = self.effort.limit - self.effort.used
            is_last = level == self.ground.levels - 1
            self._prove(whole, level, self.effort.part(left if is_last else left * 2 // 3))
        elif is_open:
            self._settle_for_less(level)
        self.upper.append(max(self.open_bound, self.best.values[level]))
        self.is_lost |= self.upper[-1] > self.best.values[level]

    def _settle_for_less(self, level: int) -> None:
        """Betters a level that cannot be proved, as an equal share of the effort that is left."""
        levels = 2 * (self.ground.levels - level)
        effort = self.effort.part((self.effort.limit - self.effort.used) // levels)
        self._better_at_once(level, effort.part(effort.limit // 2))
        found = self.shake.improve(self.best, level, effort)
        if self._is_better(found):
            self.best = found

    def _better_at_once(self, level: int, effort: Effort) -> None:
        """Betters the incumbent by what needs no search: room gathered, GPUs filled anew."""
        self.best = self.refill.improve(self.best, effort.part(effort.limit // 2))
        if level:
            found = self.gather.improve(self.best, level, effort)
            if self._is_better(found):
                self.best = found

    def _prove(self, whole: View, level: int, effort: Effort) -> None:
        """Searches until nothing better is left on a level, or the effort is spent."""
        view = self._glance(level, effort.part(PEEP), whole)
        if view is None:
            return
        self._better_at_once(level, effort.part(effort.limit // REFILL_SHARE))
        view = self._glance(level, effort.part(GLANCE))
        for share in PRICE_SHARES:
            if view is None:
                return
            width = len(view.order)
            if not self._sharpen(view, level, effort.part(effort.limit * share // 20)):
                break
            view = self._look_closer(level, effort)
            if view is not None and len(view.order) > width * 3 // 4:
                break
        if view is not None and (view := self._shaken(view, level, effort)) is not None:
            self._explore_ever_deeper(view, level, effort)

    def _glance(self, level: int, effort: Effort, whole: View | None = None) -> View | None:
        """Searches in brief; returns where a better set must lie, `None` if there is none."""
        view = self._narrow(level, whole)
        return None if view is None or self._explore(view, level, effort) else view

    def _look_closer(self, level: int, effort: Effort) -> View | None:
        """Searches what is narrow thoroughly; returns what is left, `None` if nothing is."""
        view = self._narrow(level)
        if view is None:
            return None
        steps = FEW_STEPS if len(view.order) <= FEW else GLANCE
        is_done = self._explore_ever_deeper(view, level, effort.part(steps))
        return None if is_done else view

    def _shaken(self, view: View, level: int, effort: Effort) -> View | None:
        """Seeks a better set by chance; returns the view that is then left, `None` if none is."""
        found = self.shake.improve(self.best, level, effort.part(effort.limit // SHAKE_SHARE))
        if not self._is_better(found):
            return view
        self.best = found
        return self._narrow(level)

    def _explore_ever_deeper(self, view: View, level: int, effort: Effort) -> bool:
        """Searches a view, each time with more steps to find out whether a set can be arranged."""
        arranger = self.ground.arranger
        brief = arranger.brief_steps
        is_done = False
        for factor in DEPTHS:
            arranger.brief_steps = brief * factor
            is_done = self._explore(view, level, effort)
            if is_done or effort.is_spent:
                break
        arranger.brief_steps = brief
        return is_done

    def _explore(self, view: View, level: int, effort: Effort) -> bool:
        """Searches a view within an effort; returns whether nothing better is left in it."""
        if view.root.values[: level + 1] > self.best.values[: level + 1]:
            self.best = self.ground.fill_up(view.root, effort)
        known, self.open_bound = self.open_bound, self.best.values[level]
        self._descend(view, view.root, 0, level, effort)
        self.open_bound = min(self.open_bound, known)
        return self.open_bound <= self.best.values[level]

    def _promises_more(self, view: View, level: int) -> bool:
        bound = self._bound(view, view.root, 0, level)
        return bound is not None and bound > self.best.values[level]

    def _sharpen(self, view: View, level: int, effort: Effort) -> bool:
        """Adds the sharpest knapsack found to the bounds; takes over what was found on the way.

        Returns whether there was one.
        """
        surrogate, found = self.sharpener.sharpen(view, level, self.best, effort)
        if surrogate is None:
            return False
        self.ground.surrogates.append(surrogate)
        for node in found:
            if self._is_better(node):
                self.best = self.refill.improve(node, effort)
        return True

    def _is_better(self, node: Node | None) -> bool:
        return node is not None and node.values > self.best.values

    def _narrow(self, level: int, whole: View | None = None) -> View | None:
        """Returns the view in which a better set must lie, `None` if there is no such set.

        An item without which no bound beats the incumbent is in every better set; one with which
        none does is in no better set.
        """
        ground = self.ground
        inside: list[int] = []
        closed: list[int] = []
        root = self.base
        view = whole or ground.view(root, closed, level)
        while self._promises_more(view, level):
            forced = [n for at, n in enumerate(view.order) if not self._can_miss(view, at, level)]
            barred = [n for at, n in enumerate(view.order) if not self._can_take(view, at, level)]
            if set(forced) & set(barred):
                break
            if not forced and not barred:
                return view
            closed += barred
            inside += forced
            if forced:
                held = ground.hold((*self.base.chosen, *inside))
                if held is None and ground.arranger.was_cut_short:
                    return view
                if held is None:
                    break
                root = held
            view = ground.view(root, closed, level)
        self.open_bound = self.best.values[level]
        return None

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
            if any(rival not in node.chosen for rival in self.ground.rivals_in(view, number)):
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
        reached, values, spent = self.best.values, node.values, node.spent
        surrogates = self.ground.surrogates
        lowest: int | None = None
        for index in range(len(view.bounds) - 1, -1, -1):
            bounds = view.bounds[index]
            room = surrogates[index].limit - spent[index]
            for earlier in range(level):
                need = reached[earlier] - values[earlier]
                if need > 0:
                    least = bounds[earlier].least_weight(start, need, skip)
                    if least is None:
                        return None
                    room -= least
            if room < 0:
                return None
            bound = values[level] + bounds[level].fill(start, room, skip)
            if lowest is None or bound < lowest:
                if bound <= reached[level]:
                    return bound
                lowest = bound
        return lowest

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
