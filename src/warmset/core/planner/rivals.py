"""Which items need not be chosen without others: a rival could stand in their place.

An item's rivals come before it in the order of the search, take no more of what it takes and are
worth no less. A best set never needs the item without them: what is gained by them instead is no
less, and comes sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import islice
from operator import le
from typing import Final

from warmset.core.planner.problem import Problem

MOST_LATEST: Final = 24
"""Rivals of an item that are named one by one."""

_Form = tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]
"""What two items are compared by: the resources that their options take, and how much."""


class Rivals:
    """The rivals of each item of a problem, as the bits of a number, found out when asked for.

    Args:
        problem: the problem.
        order: what may be chosen, in the order of the search: level by level.
        size_anywhere: what an item takes on whichever GPU it lies, if that is all it takes.
        bound: what is in a conflict, and so no rival of anything.
    """

    def __init__(
        self,
        problem: Problem,
        order: Sequence[int],
        size_anywhere: Callable[[int], int | None],
        bound: Collection[int],
    ) -> None:
        self._problem = problem
        self._size = size_anywhere
        self._place = {n: at for at, n in enumerate(order)}
        self._rows: list[tuple[int, int, int, int]] = []  # number, level, value, size
        for n in order:
            item, size = problem.items[n], size_anywhere(n)
            value = -1 if n in bound else item.value
            self._rows.append((n, item.level, value, -1 if size is None else size))
        self._forms: dict[int, _Form] = {}
        self._found: dict[int, int] = {}
        self._latest: dict[int, tuple[int, ...]] = {}

    def of(self, number: int) -> int:
        """Returns the rivals of an item."""
        found = self._found.get(number)
        if found is None:
            item, earlier = self._problem.items[number], self._rows[: self._place[number]]
            size, level, worth = self._size(number), item.level, item.value
            if size is None:
                rivals = self._of_bound(number, earlier)
            else:
                rivals = [
                    1 << other
                    for other, its_level, value, anywhere in earlier
                    if 0 <= anywhere <= size and value >= (worth if its_level == level else 1)
                ]
            found = self._found[number] = sum(rivals)
        return found

    def latest(self, number: int) -> tuple[int, ...]:
        """Returns the last of an item's rivals in the order of the search: first to be left out."""
        if number not in self._latest:
            bits, earlier = self.of(number), reversed(self._rows[: self._place[number]])
            found = (row[0] for row in earlier if bits >> row[0] & 1)
            self._latest[number] = tuple(islice(found, MOST_LATEST))
        return self._latest[number]

    def _of_bound(self, number: int, earlier: Sequence[tuple[int, int, int, int]]) -> list[int]:
        """Returns the rivals of what may not lie anywhere, or takes more than room on a GPU."""
        item = self._problem.items[number]
        where, amounts = self._form(number)
        is_whole = all(len(on) == 1 and on[0] < self._problem.packed for on in where)
        size = min(amounts, default=0) if is_whole else -1
        return [
            1 << other
            for other, level, value, anywhere in earlier
            if value >= (item.value if level == item.level else 1)
            and (0 <= anywhere <= size or (anywhere < 0 and self._stands_in(other, where, amounts)))
        ]

    def _stands_in(self, other: int, where: object, amounts: tuple[int, ...]) -> bool:
        """Whether an item has the same places as another and takes no more of any."""
        there, taken = self._form(other)
        return there == where and all(map(le, taken, amounts))

    def _form(self, number: int) -> _Form:
        """Returns the resources that each option takes, and all amounts in that order."""
        if number not in self._forms:
            options = self._problem.items[number].options
            where = tuple([tuple([r for r, _ in use]) for use in options])
            self._forms[number] = (where, tuple([n for use in options for _, n in use]))
        return self._forms[number]
