"""The best filling of one GPU: a knapsack of its own, solved exactly."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from warmset.core.planner.bounds import possible_options
from warmset.core.planner.problem import Problem

MAX_CELLS: Final = 40_000
"""Rows times units of room up to which a filling is tabulated where the search is too long."""

Row = tuple[int, float, int]
"""Weight, profit, item; the first two are positive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """GPUs that are alike: which, what one holds, and what could lie on it.

    Attributes:
        rows: (item, weight, share): the share of the item's price that it brings here, 1 unless
            it is split.
        unit: a common factor of the weights of what lies there whole.
    """

    gpus: tuple[int, ...]
    capacity: int
    rows: tuple[tuple[int, int, float], ...]
    unit: int


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
        Shelf(
            gpus=tuple(gpus),
            capacity=capacity,
            rows=found,
            unit=math.gcd(*(weight for _, weight, share in found if share == 1.0)) or 1,
        )
        for (capacity, found), gpus in alike.items()
    )


def by_density(row: Row) -> tuple[float, int]:
    """Returns the key that sorts by profit per weight, the best first."""
    weight, profit, _ = row
    return (-profit / weight, weight)


def fill_best(  # noqa: C901 - the innermost loop: a call here costs a third of its time
    rows: Sequence[Row], room: int, steps: int, *, slack: float = 0, unit: int = 1
) -> Filled:
    """Returns the most profitable rows that fit, depth first by profit per weight.

    Args:
        rows: what there is, sorted `by_density`.
        room: what they may weigh.
        steps: after which the search stops, and a table is made if it is a small one; else
            `bound` is the highest of what was not looked into.
        slack: a gain too small to search for: with floats, what rounding makes of nothing.
        unit: a common factor of most weights; the table rounds the others down to it, which may
            only overstate what fits.
    """
    count = len(rows)
    weights, profits, after = _sums(rows)
    least = list(accumulate([row[0] for row in reversed(rows)], min))[::-1]
    most = list(accumulate([row[1] for row in reversed(rows)], max))[::-1]
    by_profit: list[int] = []
    taken: list[int] = []
    found: list[int] = []
    best: float = 0
    gained: float = 0
    skipped: float = 0
    at = used = 0
    whole = room
    while True:
        used += 1
        base = weights[at] + room
        cut = bisect_right(weights, base, at) - 1
        bound = gained + profits[cut] - profits[at]
        if cut < count:
            weight, profit, _ = rows[cut]
            rest = profit * (base - weights[cut])
            bound += rest / weight if slack else rest // weight
        if at < count and bound > best + slack:
            heads = gained + (base - weights[at]) // least[at] * most[at]
            bound = min(bound, heads)
        if bound > best + slack:
            if at < count and room < 2 * least[at]:  # one more at most
                by_profit = by_profit or sorted(range(count), key=lambda n: -rows[n][1])
                last = next((n for n in by_profit if n >= at and rows[n][0] <= room), -1)
                if last >= 0 and gained + rows[last][1] > best:
                    best, found = gained + rows[last][1], [*taken, last]
            elif used <= steps:
                taken.extend(range(at, cut))
                gained += profits[cut] - profits[at]
                room = base - weights[cut]
                if gained > best:
                    best, found = gained, taken.copy()
                if cut < count and room > 0:
                    at = after[cut]
                    continue
            elif count * whole <= MAX_CELLS * unit:
                return _tabulate(rows, whole, unit, used)
            else:
                skipped = max(skipped, bound)
        if not taken:
            items = [rows[n][2] for n in found]
            return Filled(profit=best, items=items, bound=max(best, skipped), steps=used)
        last = taken.pop()
        room += rows[last][0]
        gained -= rows[last][1]
        at = after[last]


def _tabulate(rows: Sequence[Row], room: int, unit: int, steps: int) -> Filled:
    """Returns the most profitable rows that fit, from a table of the best for each room."""
    units = room // unit
    best: list[float] = [0] * (units + 1)
    tables = [best]
    for weight, profit, _ in rows:
        takes = weight // unit
        with_it = [worth + profit for worth in best[: max(0, units + 1 - takes)]]
        best = [*best[:takes], *map(max, best[takes:], with_it)]
        tables.append(best)
    items, left = [], units
    for at in range(len(rows) - 1, -1, -1):
        if tables[at + 1][left] > tables[at][left]:
            items.append(rows[at][2])
            left -= rows[at][0] // unit
    cost = steps + len(rows) * units // 20
    return Filled(profit=best[units], items=items, bound=best[units], steps=cost)


def _sums(rows: Sequence[Row]) -> tuple[list[int], list[float], list[int]]:
    """Returns sums of weights and profits up to each row, and the next row that differs."""
    weights = list(accumulate([row[0] for row in rows], initial=0))
    profits = list(accumulate([row[1] for row in rows], initial=0))
    last = len(rows)
    after = list(range(1, last + 1))
    for at in range(last - 2, -1, -1):
        if rows[at][0] == rows[at + 1][0] and rows[at][1] == rows[at + 1][1]:
            after[at] = after[at + 1]
    return weights, profits, after
