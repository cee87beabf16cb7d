"""The exact search, level by level.

The best value of level 0 is found and proved, then kept while level 1 is maximised, and so on. All
of it is counted in steps, so that the same input gives the same answer on any machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from warmset.core.planner.descent import Descent
from warmset.core.planner.ground import Ground
from warmset.core.planner.problem import Effort, Problem, Solution
from warmset.core.planner.proof import Proof
from warmset.core.planner.settle import settle

DEFAULT_WORK: Final = 20_000_000
"""Steps of one call times items: well under a second on a slow core, whatever the size."""

LEAST_ITEMS: Final = 32
"""Items that a step is charged for at least."""


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
    effort = Effort(work // max(LEAST_ITEMS, len(problem.items)))
    tree = Descent(ground, base, ground.fill_up(base, effort))
    proof = Proof(ground, tree)
    bounds: list[int] = []
    for level in range(ground.levels):
        is_lost = any(b > n for b, n in zip(bounds, tree.best.values, strict=False))
        bounds.append(_improve(proof, level, effort, is_lost=is_lost))
    values = tuple(tree.best.values)
    return settled.whole(
        Solution(
            chosen=dict(tree.best.chosen),
            objective=values,
            bounds=tuple(bounds),
            is_proved=tuple(bounds) == values,
            nodes=effort.used,
        )
    )


def _improve(proof: Proof, level: int, effort: Effort, *, is_lost: bool) -> int:
    """Maximises one level while those before keep their value; returns what it cannot exceed.

    Once a level is not proved (`is_lost`), nothing can be proved of those after it: a good set is
    sought in an equal share of the effort that is left, and nothing else.
    """
    tree, ground = proof.tree, proof.ground
    whole = ground.whole_view(tree.base, level)
    bound = tree.bound(whole, whole.root, 0, level) or 0
    tree.open_bound = max(tree.best.values[level], bound)
    if bound > tree.best.values[level]:
        left, levels = effort.limit - effort.used, ground.levels - level
        if is_lost or effort.is_spent:
            proof.settle_for_less(level, effort.part(left // (2 * levels)))
        else:
            proof.prove(whole, level, effort.part(left if levels == 1 else left * 3 // 4))
    return max(tree.open_bound, tree.best.values[level])


def is_feasible(problem: Problem) -> bool | None:
    """Whether the mandatory items fit together; `None`: that was not found out in time."""
    settled = settle(problem)
    if settled is None:
        return False
    ground = Ground(settled.problem)
    if ground.mandatory() is not None:
        return True
    return None if ground.arranger.was_cut_short else False


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
