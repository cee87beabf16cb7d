"""The search over sets on one level: depth first, bounded by knapsacks, placed by the arranger.

A node is a set of chosen items with an arrangement. Items are tried in the order of value by
weight, so the first descent is the greedy choice. What a bound below the incumbent rules out is
never looked into; what steps were missing for stays in `open_bound`.
"""

from __future__ import annotations

from collections.abc import Sequence

from warmset.core.planner.ground import Ground, Node, View
from warmset.core.planner.problem import Effort


class Descent:
    """The best set so far, and the search for a better one.

    Args:
        ground: the problem.
        base: what every choice contains.
        best: a set to begin with.

    Attributes:
        best: the incumbent.
        open_bound: what no set can exceed on the level that is searched, as far as is known.
    """

    def __init__(self, ground: Ground, base: Node, best: Node) -> None:
        self.ground = ground
        self.base = base
        self.best = best
        self.open_bound = 0

    def explore(self, view: View, level: int, effort: Effort) -> bool:
        """Searches a view within an effort; returns whether nothing better is left in it."""
        if view.root.values[: level + 1] > self.best.values[: level + 1]:
            self.best = self.ground.fill_up(view.root, effort)
        known, self.open_bound = self.open_bound, self.best.values[level]
        self._descend(view, view.root, 0, level, effort)
        self.open_bound = min(self.open_bound, known)
        return self.open_bound <= self.best.values[level]

    def narrow(self, level: int, effort: Effort, whole: View | None = None) -> View | None:
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
            if effort.is_spent:
                return view
            forced = [n for at, n in enumerate(view.order) if not self._can_miss(view, at, level)]
            known = {*root.chosen, *view.order}
            barred = [
                n for at, n in enumerate(view.order) if not self._can_take(view, at, level, known)
            ]
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

    def bound(self, view: View, node: Node, start: int, level: int, skip: int = -1) -> int | None:
        """Returns a bound on a level's value below a node; `None`: an earlier level is lost.

        Stops at the first surrogate that rules the node out. The item at `skip` is left out.
        """
        reached, values = self.best.values, node.values
        needs: Sequence[tuple[int, int]] = ()
        if level:
            needs = [(n, reached[n] - values[n]) for n in range(level) if reached[n] > values[n]]
        lowest: int | None = None
        rooms = node.rooms
        for at in range(len(rooms) - 1, -1, -1):
            left, bounds = rooms[at], view.bounds[at]
            for earlier, need in needs:
                least = bounds[earlier].least_weight(start, need, skip)
                if least is None:
                    return None
                left -= least
            if left < 0:
                return None
            bound = values[level] + bounds[level].fill(start, left, skip)
            if lowest is None or bound < lowest:
                if bound <= reached[level]:
                    return bound
                lowest = bound
        return lowest

    def _promises_more(self, view: View, level: int) -> bool:
        bound = self.bound(view, view.root, 0, level)
        return bound is not None and bound > self.best.values[level]

    def _can_miss(self, view: View, position: int, level: int) -> bool:
        """Whether a set without this item may beat the incumbent."""
        bound = self.bound(view, view.root, 0, level, skip=position)
        return bound is not None and bound > self.best.values[level]

    def _can_take(self, view: View, position: int, level: int, known: set[int]) -> bool:
        """Whether a set with this item, and so with its rivals, may beat the incumbent.

        `known` is what is in, or open.
        """
        number = view.order[position]
        rivals = self.ground.rivals.latest(number)
        if not known.issuperset(rivals):
            return False
        others = [r for r in rivals if r not in view.root.chosen]
        if not self._may_beat(view, (number,), position, level):
            return False
        return not others or self._may_beat(view, (number, *others), position, level)

    def _may_beat(self, view: View, added: tuple[int, ...], position: int, level: int) -> bool:
        """Whether the root with some more items may lead to something better."""
        items, root = self.ground.problem.items, view.root
        values = list(root.values)
        for n in added:
            values[items[n].level] += items[n].value
        rooms = [
            room - sum([s.weights[k] for k in added])
            for room, s in zip(root.rooms, self.ground.surrogates, strict=True)
        ]
        node = Node(root.chosen, root.bits, root.free, values, rooms)
        bound = self.bound(view, node, 0, level, skip=position)
        return bound is not None and bound > self.best.values[level]

    def _descend(self, view: View, node: Node, start: int, level: int, effort: Effort) -> None:
        ground, bits, room, weights = self.ground, node.bits, node.rooms[0], view.weights
        counted = start
        for position in range(start, len(view.order)):
            if weights[position] > room:
                continue
            rivals = view.rivals[position]
            if rivals is None:
                rivals = ground.rivals_in(view, position)
            if rivals & bits != rivals:
                continue
            bound = self.bound(view, node, position, level)
            if bound is None or bound <= self.best.values[level]:
                return
            passed, counted = position + 1 - counted, position + 1
            if not effort.spend(passed):
                self.open_bound = max(self.open_bound, bound)
                return
            child = ground.include(node, view.order[position], effort)
            if child is None:
                if ground.arranger.was_cut_short:
                    self.open_bound = max(self.open_bound, bound)
                continue
            if child.values[: level + 1] > self.best.values[: level + 1]:
                self.best = ground.fill_up(child, effort)
            self._descend(view, child, position + 1, level, effort)
