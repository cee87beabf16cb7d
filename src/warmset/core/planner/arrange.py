"""Whether a set of items fits at all: an arrangement found by best fit, else by exact search."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate
from typing import Final

from warmset.core.planner.bounds import Surrogate, capacity_grains, packed_shapes
from warmset.core.planner.completion import Completion
from warmset.core.planner.problem import Effort, Item, Problem, Use, anywhere

THOROUGH: Final = 160_000
"""Search steps for one set where the answer matters; beyond, it is not known to fit."""

BRIEF: Final = 3200
"""Steps for one set inside a search over sets."""

ONE_BY_ONE: Final = 270
"""Steps item by item, the tightest place first: most sets that fit are arranged so."""

AT_ONCE: Final = 4
"""Further steps back of the very first search item by item."""

ITEM_STEPS: Final = 5
"""What placing one item counts for."""

STEPS_PER_UNIT: Final = 5
"""A step here costs a part of one of the search over sets."""


class Arranger:
    """Places sets of items of one problem. Remembers what it has found out."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._uniform: list[bool] = []
        self._weights: list[int] = []
        self._sizes: list[int | None] = []
        for item in problem.items:
            is_uniform = _is_uniform(item, problem.packed)
            first = item.options[0] if is_uniform else ()
            self._uniform.append(is_uniform)
            self._sizes.append(first[0][1] if len(first) == 1 else None)
            self._weights.append(sum([n for _, n in first]) if is_uniform else _weight(item))
        self.shapes = packed_shapes(problem, self._sizes)
        self.brief_steps = BRIEF
        self._known: dict[int, dict[int, int] | None] = {}  # by the bits of the set
        self._tried: dict[int, int] = {}  # steps after which it was not known
        self._is_counting = False
        self.was_cut_short = False  # in the last `arrange`

    @cached_property
    def grains(self) -> tuple[Surrogate, ...]:
        """Knapsacks of whole grains that every set which fits respects."""
        return capacity_grains(self.problem, self.shapes)

    @cached_property
    def _biting(self) -> list[tuple[tuple[int, ...], int]]:
        """Weights and limit of those grains that some set could exceed."""
        return [(g.weights, g.limit) for g in self.grains if sum(g.weights) > g.limit]

    def can_ever_be_placed(self, item: int) -> bool:
        """Whether an item fits an empty host."""
        return bool(self.shapes[item])

    def size_anywhere(self, item: int) -> int | None:
        """Returns what an item takes on whichever GPU it lies, if that is all it takes."""
        return self._sizes[item]

    def weight(self, item: int) -> int:
        """Returns the most that an item takes in all."""
        return self._weights[item]

    def best_fit(self, item: int, free: Sequence[int]) -> int | None:
        """Returns the option that leaves the least room where it goes; `None`: no option fits."""
        size = self._sizes[item]
        if size is not None:
            rooms = [room for room in free[: self.problem.packed] if room >= size]
            return free.index(min(rooms)) if rooms else None
        best, least = None, -1
        for number, use in enumerate(self.problem.items[item].options):
            resource, amount = use[0]
            left = free[resource] - amount
            if left >= 0 and (best is None or left < least) and _fits(use, free):
                best, least = number, left
        return best

    def arrange(
        self, key: int, *, steps: int = THOROUGH, effort: Effort | None = None
    ) -> dict[int, int] | None:
        """Returns item -> option for all of a set, or `None`.

        `was_cut_short` tells whether a `None` only means that the search was too long.

        Args:
            key: the set, as bits; see `bits_of`.
            steps: the most that this search may take.
            effort: a budget that its work is charged to; it stays within the whole of it.
        """
        self.was_cut_short = False
        if key in self._known:
            return self._known[key]
        if effort is not None:
            steps = max(0, min(steps, effort.left_of_whole * STEPS_PER_UNIT))
        if self._tried.get(key, -1) >= steps:
            self.was_cut_short = True
            return None
        items = [n for n in range(key.bit_length()) if key >> n & 1]
        order = sorted(items, key=lambda i: (self._uniform[i], -self._weights[i], i))
        if self._is_counting and self._counts_too_much(order):
            self._known[key] = None
            return None
        own = Effort(steps)
        placed = self._search(order, own)
        if effort is not None:
            effort.spend(own.used // STEPS_PER_UNIT)
        if placed is None and own.was_cut_short:
            self._tried[key] = steps
            self.was_cut_short = True
            return None
        self._known[key] = placed
        return placed

    def _size(self, item: int) -> int:
        """Returns what an item takes on whichever GPU it lies."""
        return self.problem.items[item].options[0][0][1]

    def _search(self, order: list[int], effort: Effort) -> dict[int, int] | None:
        """Item by item in brief, then GPU by GPU; item by item to the end where some are split.

        Small sets are refuted by that brief search sooner than by counting, for which all has to be
        made ready: it comes first from the first search on that was not over at once.
        """
        placed: dict[int, int] = {}
        for steps in (ITEM_STEPS * (len(order) + AT_ONCE), ONE_BY_ONE):
            brief = effort.part(steps)
            placed.clear()
            if self._place(order, 0, list(self.problem.capacities), placed, brief):
                return placed
            if not brief.is_spent:
                return None
            if not self._is_counting:
                self._is_counting = True
                if self._counts_too_much(order):
                    return None
        can_be_whole = [self._uniform[n] or len(self.problem.items[n].options) == 1 for n in order]
        if all(can_be_whole):
            return self._complete(order, effort)
        placed.clear()
        is_found = self._place(order, 0, list(self.problem.capacities), placed, effort)
        if not is_found and effort.is_spent:
            effort.ran_out()
        return placed if is_found else None

    def _counts_too_much(self, order: list[int]) -> bool:
        """Whether a set, the largest first, is more than can lie on the GPUs, counted in wholes."""
        for weights, limit in self._biting:
            if sum([weights[i] for i in order]) > limit:
                return True
        whole = [self._size(n) for n in order if self._uniform[n]]
        return has_too_many_large(whole, self.problem.capacities[: self.problem.packed])

    def _complete(self, order: list[int], effort: Effort) -> dict[int, int] | None:
        """Places what has one option, then the others GPU by GPU."""
        problem = self.problem
        free = list(problem.capacities)
        whole = [n for n in order if self._uniform[n] and problem.packed > 1]
        placed = {n: 0 for n in order if n not in whole}
        for n in placed:
            _take(free, problem.items[n].options[0], 1)
        for n in whole:
            _take(free, problem.items[n].options[0][1:], 1)
        if min(free) < 0:
            return None
        sizes = [self._size(n) for n in whole]
        gpus = Completion(sizes, free[: problem.packed], effort).find() if whole else []
        if gpus is None:
            if effort.is_spent:
                effort.ran_out()
            return None
        return {**placed, **dict(zip(whole, gpus, strict=True))}

    def _place(
        self, order: list[int], at: int, free: list[int], placed: dict[int, int], effort: Effort
    ) -> bool:
        """Extends `placed` by `order[at:]`; tries the tightest place first."""
        if at == len(order):
            return True
        if not effort.spend(ITEM_STEPS):
            return False
        item = order[at]
        options = self.problem.items[item].options
        for left, number in self._choices(item, free):
            _take(free, options[number], 1)
            placed[item] = number
            if self._place(order, at + 1, free, placed, effort):
                return True
            _take(free, options[number], -1)
            del placed[item]
            if left == 0 and self._uniform[item] and len(options[number]) == 1:
                return False  # a perfect fit is as good as any
        return False

    def _choices(self, item: int, free: Sequence[int]) -> list[tuple[int, int]]:
        """Returns (room left there, option) where an item fits, the tightest first.

        Of equal places, which are alike for all that comes after, one is enough.
        """
        options = self.problem.items[item].options
        if not self._uniform[item]:
            fitting = [n for n, use in enumerate(options) if _fits(use, free)]
            return sorted((free[options[n][0][0]] - options[n][0][1], n) for n in fitting)
        if not _fits(options[0][1:], free):
            return []
        size = options[0][0][1]
        places = {
            left: number
            for number in range(self.problem.packed)
            if (left := free[number] - size) >= 0
        }
        return sorted(places.items())


def bits_of(items: Iterable[int]) -> int:
    """Returns a set of items, each named once, as the bits of a number."""
    return sum([1 << n for n in items])


def has_too_many_large(sizes: Sequence[int], capacities: Sequence[int]) -> bool:
    """Whether some of the largest are more than can lie anywhere, counted in heads.

    Of the n largest, a GPU holds at most as many as the smallest of them fill it with.

    Args:
        sizes: largest first.
        capacities: of the GPUs.
    """
    for count in range(1, len(sizes) + 1):
        heads = 0
        sums = list(accumulate(reversed(sizes[:count])))
        for capacity in capacities:
            heads += bisect_right(sums, capacity)
            if heads >= count:
                break
        else:
            return True
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
    for resource, amount in use:  # noqa: SIM110 - a generator here costs a third of the search
        if free[resource] < amount:
            return False
    return True


def _weight(item: Item) -> int:
    return max((sum(amount for _, amount in use) for use in item.options), default=0)


def _is_uniform(item: Item, packed: int) -> bool:
    """Whether the item takes the same on every packed resource, so equal places are equal."""
    options = item.options
    if not options or len(options) != packed:
        return False
    (_, size), *rest = options[0]
    return options == (
        tuple([((r, size), *rest) for r in range(packed)]) if rest else anywhere(size, packed)
    )
