"""Whether a set of items fits at all: an arrangement found by best fit, else by exact search."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from warmset.core.planner.problem import Effort, Item, Problem, Use

THOROUGH: Final = 20_000
"""Search steps for one set where the answer matters; beyond, it is not known to fit."""

BRIEF: Final = 300
"""Search steps for one set inside a search over sets."""


class Arranger:
    """Places sets of items of one problem. Remembers what it has found out."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._uniform = [_is_uniform(item, problem.packed) for item in problem.items]
        self._known: dict[frozenset[int], dict[int, int] | None] = {}
        self.was_cut_short = False  # in the last `arrange`

    def best_fit(self, item: int, free: Sequence[int]) -> int | None:
        """Returns the option that leaves the least room where it goes; `None`: no option fits."""
        best, least = None, -1
        for number, use in enumerate(self.problem.items[item].options):
            resource, amount = use[0]
            left = free[resource] - amount
            if left >= 0 and (best is None or left < least) and _fits(use, free):
                best, least = number, left
        return best

    def arrange(
        self, items: Iterable[int], *, steps: int = THOROUGH, effort: Effort | None = None
    ) -> dict[int, int] | None:
        """Returns item -> option for all of `items`, or `None`.

        `was_cut_short` tells whether a `None` only means that the search was too long.

        Args:
            items: the set.
            steps: the most that this search may take.
            effort: a budget that its work is charged to.
        """
        key = frozenset(items)
        self.was_cut_short = False
        if key in self._known:
            return self._known[key]
        order = sorted(key, key=lambda i: (self._uniform[i], -_weight(self.problem.items[i]), i))
        own = Effort(steps)
        placed: dict[int, int] = {}
        found = self._place(order, 0, list(self.problem.capacities), placed, own)
        if effort is not None:
            effort.spend(own.used // 4)  # a step here costs a part of one of the search
        if not found and own.is_spent:
            self.was_cut_short = True
            return None
        self._known[key] = placed if found else None
        return self._known[key]

    def _place(
        self, order: list[int], at: int, free: list[int], placed: dict[int, int], effort: Effort
    ) -> bool:
        """Extends `placed` by `order[at:]`; tries the tightest place first."""
        if at == len(order):
            return True
        if not effort.spend():
            return False
        item = order[at]
        options = self.problem.items[item].options
        choices = [
            (free[use[0][0]] - use[0][1], n) for n, use in enumerate(options) if _fits(use, free)
        ]
        choices.sort()
        last = None
        for left, number in choices:
            if self._uniform[item] and left == last:
                continue  # an equal place was tried
            last = left
            _take(free, options[number], 1)
            placed[item] = number
            if self._place(order, at + 1, free, placed, effort):
                return True
            _take(free, options[number], -1)
            del placed[item]
            if left == 0 and self._uniform[item] and len(options[number]) == 1:
                return False  # a perfect fit is as good as any
        return False


def room_left(problem: Problem, chosen: dict[int, int]) -> list[int]:
    """Returns what is free of each resource under a choice."""
    free = list(problem.capacities)
    for item, option in chosen.items():
        _take(free, problem.items[item].options[option], 1)
    return free


def _take(free: list[int], use: Use, sign: int) -> None:
    for resource, amount in use:
        free[resource] -= sign * amount


def _fits(use: Use, free: Sequence[int]) -> bool:
    return all(free[resource] >= amount for resource, amount in use)


def _weight(item: Item) -> int:
    return max((sum(amount for _, amount in use) for use in item.options), default=0)


def _is_uniform(item: Item, packed: int) -> bool:
    """Whether the item takes the same on every packed resource, so equal places are equal."""
    options = item.options
    if not options or len(options) != packed:
        return False
    first = options[0]
    return all(
        use[0] == (resource, first[0][1]) and use[1:] == first[1:]
        for resource, use in enumerate(options)
    )
