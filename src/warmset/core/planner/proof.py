"""How one level is bettered and proved: the means, the cheap ones first, and what each may take.

First the plain search in brief; then GPUs filled anew and room gathered; then the search bounded by
whole items; then prices, which bound lower and lead to other sets; then chance; and in the end the
search again, ever deeper.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

from warmset.core.planner.descent import Descent
from warmset.core.planner.gather import Gather
from warmset.core.planner.ground import Ground, Node, View
from warmset.core.planner.problem import Effort
from warmset.core.planner.refill import Refill
from warmset.core.planner.shake import Shake
from warmset.core.planner.sharpen import Sharpener
from warmset.core.planner.whole import in_wholes

SKIM: Final = 100
"""Steps of the very first search, before it is known what is in every better set or in none: where
few sets are left, to go through them takes less time than to find that out."""

PEEP: Final = 300
GLANCE: Final = 800
"""Steps of the next plain searches of a level, before the sharper and dearer means."""

FEW: Final = 16
"""Open items up to which the search is tried for `FEW_STEPS` at once."""

FEW_STEPS: Final = 4000

DEPTHS: Final = (1, 8, 64)
"""How much more thoroughly sets are arranged each time a search ends without certainty. Of the sets
that are open after that, hardly one is settled by eight times as many steps."""

EARLY: Final = 2
"""The first of these, for a search before prices are sought."""

EARLY_SHARE: Final = 10
"""Part of a level's effort for that search. Of models bound to GPUs it proves most levels, so that
a third of the effort is enough in all; where two fill a GPU, it is lost."""

REFILL_SHARE: Final = 20
"""Part of a level's effort for filling GPUs anew by turns."""

PRICE_SHARES: Final = (11, 2, 2)
"""Twentieths of a level's effort for each round of pricing and narrowing. The first is to reach the
best prices there are, which take 20 to 40 fillings of all GPUs with 200 models and 16 GPUs."""

DIVE_SHARE: Final = 12
"""Part of a round of pricing for bettering each set that prices lead to."""

SHAKE_SHARE: Final = 3
"""Part of a level's effort for a better set by chance."""


WIDE: Final = 40
"""Open items that a level is taken to have where that is not found out."""


class Proof:
    """Betters the incumbent of a search on one level after the other, and proves it if it can.

    Args:
        ground: the problem.
        tree: the search; its incumbent is the result.
    """

    def __init__(self, ground: Ground, tree: Descent) -> None:
        self.ground = ground
        self.tree = tree

    @cached_property
    def _refill(self) -> Refill:
        return Refill(self.ground)

    @cached_property
    def _shake(self) -> Shake:
        return Shake(self.ground, self._refill.places)

    @cached_property
    def _gather(self) -> Gather:
        return Gather(self.ground, self._refill.places)

    @cached_property
    def _sharpener(self) -> Sharpener:
        return Sharpener(self.ground)

    def prove(self, whole: View, level: int, effort: Effort) -> None:
        """Searches until nothing better is left on a level, or the effort is spent.

        Args:
            whole: everything that is open.
            level: those before keep their value.
            effort: what it may take.
        """
        if self.tree.explore(whole, level, effort.part(SKIM)):
            return
        view = self._glance(level, effort, PEEP, whole)
        if view is None:
            return
        self._better_at_once(level, effort.part(effort.limit // REFILL_SHARE))
        view = self._glance(level, effort, GLANCE)
        view = self._look_early(view, level, effort)
        for share in PRICE_SHARES:
            if view is None or effort.is_spent:
                return
            width = len(view.order)
            if not self._sharpen(view, level, effort.part(effort.limit * share // 20)):
                break
            view = self._look_closer(level, effort)
            if view is not None and len(view.order) > width * 3 // 4:
                break
        if view is not None and (view := self._shaken(view, level, effort)) is not None:
            self._explore_ever_deeper(view, level, effort)

    def settle_for_less(self, level: int, effort: Effort) -> None:
        """Betters a level that cannot be proved, since one before it is not."""
        self._better_at_once(level, effort.part(effort.limit // 2))
        self._take_over(self._shake.improve(self.tree.best, level, WIDE, effort))

    def _better_at_once(self, level: int, effort: Effort) -> None:
        """Betters the incumbent by what needs no search: room gathered, GPUs filled anew."""
        tree = self.tree
        tree.best = self._refill.improve(tree.best, effort.part(effort.limit // 2))
        if level:
            self._take_over(self._gather.improve(tree.best, level, effort))

    def _glance(
        self, level: int, effort: Effort, steps: int, whole: View | None = None
    ) -> View | None:
        """Searches in brief; returns where a better set must lie, `None` if there is none."""
        view = self.tree.narrow(level, effort, whole)
        return None if view is None or self.tree.explore(view, level, effort.part(steps)) else view

    def _look_early(self, view: View | None, level: int, effort: Effort) -> View | None:
        """Searches by whole items; returns what is left, `None` if nothing is."""
        part = effort.part(effort.limit // EARLY_SHARE)
        if view is None or self._explore_ever_deeper(view, level, part, DEPTHS[:EARLY]):
            return None
        return self.tree.narrow(level, effort)

    def _look_closer(self, level: int, effort: Effort) -> View | None:
        """Searches what is narrow thoroughly; returns what is left, `None` if nothing is."""
        view = self.tree.narrow(level, effort)
        if view is None:
            return None
        steps = FEW_STEPS if len(view.order) <= FEW else GLANCE
        is_done = self._explore_ever_deeper(view, level, effort.part(steps))
        return None if is_done else view

    def _shaken(self, view: View, level: int, effort: Effort) -> View | None:
        """Seeks a better set by chance; returns the view that is then left, `None` if none is."""
        part = effort.part(effort.limit // SHAKE_SHARE)
        is_better = self._take_over(
            self._shake.improve(self.tree.best, level, len(view.order), part)
        )
        return self.tree.narrow(level, effort) if is_better else view

    def _explore_ever_deeper(
        self, view: View, level: int, effort: Effort, depths: tuple[int, ...] = DEPTHS
    ) -> bool:
        """Searches a view, each time with more steps to find out whether a set can be arranged.

        Its bounds are made to cut no item before.
        """
        arranger = self.ground.arranger
        brief = arranger.brief_steps
        is_done = False
        view = in_wholes(self.ground, view, self.tree.best.values[: level + 1], effort)
        for factor in depths:
            arranger.brief_steps = brief * factor
            is_done = self.tree.explore(view, level, effort)
            if is_done or effort.is_spent:
                break
        arranger.brief_steps = brief
        return is_done

    def _sharpen(self, view: View, level: int, effort: Effort) -> bool:
        """Adds the sharpest knapsack found to the bounds; takes over what was found on the way.

        Returns whether there was one.
        """
        surrogate, found = self._sharpener.sharpen(view, level, self.tree.best, effort)
        if surrogate is None:
            return False
        self.ground.surrogates.append(surrogate)
        if found:
            node = max(found, key=lambda node: node.values)
            part = effort.part(effort.limit // DIVE_SHARE)
            self._take_over(self._refill.improve(node, part))
        return True

    def _take_over(self, node: Node) -> bool:
        """Makes a set the incumbent if it is better; returns whether it was."""
        is_better = node.values > self.tree.best.values
        if is_better:
            self.tree.best = node
        return is_better
