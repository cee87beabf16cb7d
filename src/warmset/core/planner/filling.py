"""The best filling of one GPU: a knapsack of its own, solved exactly."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from warmset.core.planner.bounds import possible_options
from warmset.core.planner.problem import Problem

Row = tuple[int, float, int]
"""Weight, profit, item; the first two are positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """GPUs that are alike: which, what one holds, and what could lie on it.

    Attributes:
        rows: (item, weight, share): the share of the item's price that it brings here, 1 unless
            it is split.
    """

    gpus: tuple[int, ...]
    capacity: int
    rows: tuple[tuple[int, int, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """The best filling that was found, and what no filling exceeds."""

    profit: float
    items: list[int]
    bound: float
    steps: int


def shelves(problem: Problem) -> tuple[Shelf, ...]:
    """Returns the GPUs, alike ones together."""
    rows: list[list[tuple[int, int, float]]] = [[] for _ in range(problem.packed)]
    for number, item in enumerate(problem.items):
        for use in possible_options(problem, item):
            there = [(r, n) for r, n in use if r < problem.packed and n > 0]
            whole = sum(n for _, n in there)
            for r, n in there:
                rows[r].append((number, n, n / whole))
    alike: dict[tuple[int, tuple[tuple[int, int, float], ...]], list[int]] = {}
    for r in range(problem.packed):
        alike.setdefault((problem.capacities[r], tuple(rows[r])), []).append(r)
    return tuple(
        Shelf(gpus=tuple(gpus), capacity=capacity, rows=found)
        for (capacity, found), gpus in alike.items()
    )


def by_density(row: Row) -> tuple[float, int]:
    """Returns the key that sorts by profit per weight, the best first."""
    weight, profit, _ = row
    return (-profit / weight, weight)


def fill_best(rows: Sequence[Row], room: int, steps: int, *, slack: float = 0) -> Filled:
    """Returns the most profitable rows that fit, depth first by profit per weight.

    Args:
        rows: what there is, sorted `by_density`.
        room: what they may weigh.
        steps: after which the search stops; `bound` is then that of the root.
        slack: a gain too small to search for: with floats, what rounding makes of nothing.
    """
    count = len(rows)
    weights, profits, after = _sums(rows)
    least = list(accumulate((row[0] for row in reversed(rows)), min))[::-1]
    most = list(accumulate((row[1] for row in reversed(rows)), max))[::-1]
    taken: list[int] = []
    found: list[int] = []
    best: float = 0
    gained: float = 0
    first: float | None = None
    at = used = 0
    while True:
        used += 1
        base = weights[at] + room
        cut = bisect_right(weights, base) - 1
        bound = gained + profits[cut] - profits[at]
        if cut < count:
            weight, profit, _ = rows[cut]
            rest = profit * (base - weights[cut])
            bound += rest / weight if slack else rest // weight
        if at < count:
            bound = min(bound, gained + (base - weights[at]) // least[at] * most[at])
        first = bound if first is None else first
        if bound > best + slack:
            if used > steps:
                return Filled(
                    profit=best, items=[rows[n][2] for n in found], bound=first, steps=used
                )
            taken.extend(range(at, cut))
            gained += profits[cut] - profits[at]
            room = base - weights[cut]
            if gained > best:
                best, found = gained, taken.copy()
            if cut < count and room > 0:
                at = after[cut]
                continue
        if not taken:
            return Filled(profit=best, items=[rows[n][2] for n in found], bound=best, steps=used)
        last = taken.pop()
        room += rows[last][0]
        gained -= rows[last][1]
        at = after[last]


def _sums(rows: Sequence[Row]) -> tuple[list[int], list[float], list[int]]:
    """Returns sums of weights and profits up to each row, and the next row that differs."""
    weights: list[int] = [0]
    profits: list[float] = [0]
    for weight, profit, _ in rows:
        weights.append(weights[-1] + weight)
        profits.append(profits[-1] + profit)
    last = len(rows)
    after = [last] * last
    for at in range(last - 2, -1, -1):
        same = rows[at][:2] == rows[at + 1][:2]
        after[at] = after[at + 1] if same else at + 1
    return weights, profits, after
