"""From the place where the search stands to prices, and from prices to a bound and to sets."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

from warmset.core.planner.bounds import Surrogate
from warmset.core.planner.filling import Row, by_density, fill_best
from warmset.core.planner.ground import Ground, Node, View
from warmset.core.planner.prices import Pricing
from warmset.core.planner.problem import Effort, Use
from warmset.core.planner.program import Aim, Prices, Used
from warmset.core.replacing import replace

ROUNDS: Final = 40
"""Rounds of the search for prices."""

FILL_STEPS: Final = 300
"""Steps of one filling of a set; beyond, the best found counts."""

NOTHING: Final = 1e-9

LIFT: Final = 8.0
"""What the value of an earlier level counts for, beside that of this one, to begin with. Where 200
models stand before 16 GPUs, the best prices mean 5 to 20."""

ALMOST: Final = 0.98
"""Values are whole: a bound that is not one above the incumbent's proves it, rounding set aside."""


class Sharpener:
    """Seeks the knapsack that bounds one level lowest, on one problem."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.pricing = Pricing(ground.problem)
        self._last: tuple[int, Prices] | None = None
        self._used: Used = ()

    def sharpen(
        self, view: View, level: int, best: Node, effort: Effort
    ) -> tuple[Surrogate | None, list[Node]]:
        """Returns the best knapsack found, and sets that its prices lead to.

        Args:
            view: the open items.
            level: whose value is bounded.
            best: the incumbent.
            effort: what it may take.
        """
        problem = self.ground.problem
        if not problem.packed or not view.order:
            return None, []
        aim = self._aim(view, best)
        if self._last is None or self._last[0] != level:
            start = self._first_prices(view, aim)
            if level:
                start = self._lifted(view, aim, best, start, effort)
        else:
            start = _kept(self._last[1], {*view.order, *view.root.chosen})
        known = (*self._held(view, best), *self._left_of_last(view))
        sought = self.pricing.seek(aim, start, ROUNDS, effort, known)
        if sought is None:
            return None, []
        prices, used = sought
        self._last, self._used = (level, prices), used
        found = [self._dive(view, best, prices, used[: len(used) * part // 3]) for part in range(4)]
        return self.pricing.surrogate(prices, effort), [node for node in found if node is not None]

    def _lifted(self, view: View, aim: Aim, best: Node, flat: Prices, effort: Effort) -> Prices:
        """Returns prices that bound the level before as low as can be, and beside it this one.

        Where an earlier level can hardly keep its value, it is that which rules most sets out.

        Args:
            flat: prices of a simple knapsack, which this level counts with.
        """
        *before, (open_items, need) = aim.earlier
        earlier = replace(aim, earlier=tuple(before), open_items=open_items, enough=need)
        inside = {*aim.forced, *open_items, *(n for some, _ in before for n in some)}
        if self._last is not None and self._last[0] == len(before):
            start = _kept(self._last[1], inside)
        else:
            start = _kept(self._first_prices(view, earlier), inside)
        known = (*self._held(view, best), *self._left_of_last(view))
        some = tuple((kind, tuple(n for n in items if n in inside)) for kind, items in known)
        sought = self.pricing.seek(earlier, start, ROUNDS, effort, some)
        if sought is None:
            return flat
        prices, self._used = sought
        return Prices(
            [LIFT * p + n for p, n in zip(prices.of, flat.of, strict=True)],
            [*(LIFT * factor for factor in prices.earlier), LIFT],
            LIFT * prices.place + flat.place,
        )

    def _aim(self, view: View, best: Node) -> Aim:
        items, root = self.ground.problem.items, view.root
        open_items = [view.order[a:b] for a, b in pairwise(view.starts)]
        scales = [max((items[n].value for n in some), default=0) or 1 for some in open_items]
        values = [0.0] * len(items)
        for some, scale in zip(open_items, scales, strict=True):
            for n in some:
                values[n] = items[n].value / scale
        needs = [(best.values[at] - root.values[at]) / scale for at, scale in enumerate(scales)]
        limit = self.ground.problem.max_count
        return Aim(
            values=values,
            earlier=tuple(zip(open_items[:-1], needs[:-1], strict=True)),
            open_items=open_items[-1],
            forced=tuple(root.chosen),
            whole=best.values[len(scales) - 1] / scales[-1],
            enough=needs[-1] + ALMOST / scales[-1],
            places=None if limit is None else limit - len(root.chosen),
        )

    def _first_prices(self, view: View, aim: Aim) -> Prices:
        """Returns the prices that the sharpest of the simple knapsacks amounts to."""
        simple = [self.ground.surrogates[0], *self.ground.arranger.grains]
        known = [_flat_prices(view, aim, surrogate) for surrogate in simple]
        joint = self.ground.joint
        if joint is not None and aim.places is not None:
            known.append(_flat_prices(view, aim, joint.surrogate, joint.place))
        return min(known, key=lambda found: found[0])[1]

    def _held(self, view: View, best: Node) -> Used:
        """Returns what the incumbent holds on each GPU, of what counts in a view."""
        inside = {*view.order, *view.root.chosen}
        found: dict[int, list[int]] = {}
        for n, option in best.chosen.items():
            for r, _ in self.ground.problem.items[n].options[option]:
                if n in inside:
                    found.setdefault(r, []).append(n)
        return tuple(
            (at, tuple(found[r]))
            for at, shelf in enumerate(self.pricing.shelves)
            for r in shelf.gpus
            if r in found
        )

    def _left_of_last(self, view: View) -> Used:
        """Returns the fillings of the last linear program, of what counts in a view."""
        inside = {*view.order, *view.root.chosen}
        left = ((kind, tuple(n for n in items if n in inside)) for kind, items in self._used)
        return tuple(dict.fromkeys((kind, items) for kind, items in left if items))

    def _dive(self, view: View, best: Node, prices: Prices, used: Used) -> Node | None:
        """Returns a set made of whole fillings, then of the best filling of what is left.

        Args:
            used: (kind of GPU, items) of fillings to start with, the best first.
        """
        problem = self.ground.problem
        root = self.ground.base_with_splits(best)
        chosen, free = dict(root.chosen), list(root.free)
        left = {n for n in (*view.order, *view.root.chosen) if n not in chosen}
        rest = sorted(range(problem.packed), key=lambda r: -free[r])
        for kind, items in used:
            for r in self.pricing.shelves[kind].gpus:
                if r in rest and left.issuperset(items):
                    uses = {n: self._on(n, r, free) for n in items}
                    if self._put(uses, chosen, free):
                        left.difference_update(items)
                        rest.remove(r)
                        break
        for r in rest:
            uses = {n: self._on(n, r, free) for n in left}
            rows: list[Row] = [
                (place[1][0][1], prices.of[n], n)
                for n, place in uses.items()
                if place is not None and prices.of[n] > NOTHING
            ]
            rows.sort(key=by_density)
            filled = fill_best(rows, free[r], FILL_STEPS, slack=NOTHING)
            for n in filled.items:
                if self._put({n: uses[n]}, chosen, free):
                    left.discard(n)
        limit = problem.max_count
        if limit is not None and len(chosen) > limit:
            return None
        if any(conflict <= chosen.keys() for conflict in problem.conflicts):
            return None
        return self.ground.node(chosen)

    def _on(self, item: int, gpu: int, free: list[int]) -> tuple[int, Use] | None:
        """Returns the option of an item whole on this GPU, if it fits."""
        for number, use in enumerate(self.ground.problem.items[item].options):
            on_gpus = [r for r, _ in use if r < self.ground.problem.packed]
            if on_gpus == [gpu] and all(amount <= free[r] for r, amount in use):
                return number, use
        return None

    @staticmethod
    def _put(
        uses: dict[int, tuple[int, Use] | None], chosen: dict[int, int], free: list[int]
    ) -> bool:
        """Puts items where they go, all or none."""
        after = list(free)
        for place in uses.values():
            if place is None:
                return False
            for r, amount in place[1]:
                after[r] -= amount
        if min(after, default=0) < 0:
            return False
        free[:] = after
        chosen.update({n: place[0] for n, place in uses.items() if place is not None})
        return True


def _kept(prices: Prices, inside: set[int]) -> Prices:
    """Returns prices without those of items that are out."""
    of = [price if n in inside else 0.0 for n, price in enumerate(prices.of)]
    return Prices(of, prices.earlier, prices.place)


def _flat_prices(
    view: View, aim: Aim, surrogate: Surrogate, place: int = 0
) -> tuple[float, Prices]:
    """Returns the bound of a simple knapsack and the prices behind it: so much for its unit.

    `place` is what each weight holds for the place.
    """
    weights = surrogate.weights
    room = float(surrogate.limit - sum(weights[n] for n in view.root.chosen))
    densities = []
    gathered = price = 0.0
    for some, need in (*aim.earlier, (aim.open_items, math.inf)):
        last = gathered = 0.0
        for n in sorted(some, key=lambda n: -aim.values[n] / (weights[n] or NOTHING)):
            if gathered >= need:
                break
            last = aim.values[n] / (weights[n] or NOTHING)
            if weights[n] > room:
                gathered, price, room = gathered + last * room, last, 0.0
                break
            gathered += aim.values[n]
            room -= weights[n]
        densities.append(last)
    inside = {*view.order, *view.root.chosen}
    return gathered, Prices(
        [price * (w - place) if n in inside else 0.0 for n, w in enumerate(weights)],
        [price / d if d > 0 else 1.0 for d in densities[:-1]],
        price * place,
    )
