"""What must be chosen and can be in one way only, taken off a problem before it is searched."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest

from warmset.core.planner.problem import Problem, Solution


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A problem without what is settled.

    Attributes:
        problem: what is left to choose from, in the room that is left.
        kept: number of each item that is left.
        taken: numbers of those that are settled, each with its only option.
        values: what these are worth, per level.
    """

    problem: Problem
    kept: tuple[int, ...]
    taken: tuple[int, ...]
    values: tuple[int, ...]

    def whole(self, solution: Solution) -> Solution:
        """Returns a solution of what is left as one of the whole problem."""
        if not self.taken:
            return solution
        chosen = {self.kept[n]: option for n, option in solution.chosen.items()}
        return replace(
            solution,
            chosen=chosen | dict.fromkeys(self.taken, 0),
            objective=self._with_taken(solution.objective),
            bounds=self._with_taken(solution.bounds),
        )

    def _with_taken(self, values: tuple[int, ...]) -> tuple[int, ...]:
        return tuple([a + b for a, b in zip_longest(values, self.values, fillvalue=0)])


def settle(problem: Problem) -> Settled | None:
    """Returns what is left to choose; `None` if what is settled does not go together.

    The bounds of what is left are sharper: whole models are counted in the room that there is.
    """
    items = problem.items
    taken = tuple([n for n, i in enumerate(items) if i.is_mandatory and len(i.options) == 1])
    if not taken:
        return Settled(problem=problem, kept=tuple(range(len(items))), taken=(), values=())
    kept = tuple(sorted(set(range(len(items))).difference(taken)))
    free = list(problem.capacities)
    values = [0] * (max((item.level for item in items), default=-1) + 1)
    for n in taken:
        values[items[n].level] += items[n].value
        for resource, amount in items[n].options[0]:
            free[resource] -= amount
    places = None if problem.max_count is None else problem.max_count - len(taken)
    number = {n: at for at, n in enumerate(kept)}
    conflicts = {frozenset(number[n] for n in some.difference(taken)) for some in problem.conflicts}
    if min(0, *free, places or 0) < 0 or frozenset() in conflicts:
        return None
    left = Problem(
        capacities=tuple(free),
        items=tuple([items[n] for n in kept]),
        packed=problem.packed,
        max_count=places,
        conflicts=tuple(sorted(conflicts, key=sorted)),
    )
    return Settled(problem=left, kept=kept, taken=taken, values=tuple(values))
