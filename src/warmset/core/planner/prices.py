"""The sharpest single knapsack: items priced so that no GPU can gather much from them.

For any prices a >= 0, what a feasible choice gathers on one GPU is at most the best filling of
that GPU alone, a knapsack of its own. So

    sum of a over the chosen  <=  sum over GPUs of the best filling with a,

which is a surrogate like any other: valid whatever the prices are. The prices that bound lowest
are the multipliers of Lagrange of "each item at most once"; subgradient steps find them. The
bound is then that of Dantzig and Wolfe: it knows that no GPU holds two models of 13 GiB, and that
a rest of 1 GiB here and of 2 GiB there is no room for 3.

Prices are sought in floats and then rounded to whole numbers, with which the limit is computed
exactly: rounding costs sharpness, never validity.

Source: Martello & Toth 1990, "Knapsack Problems", chapter 6; steps of Polyak 1969.
"""

from __future__ import annotations

from typing import Final

from warmset.core.planner.bounds import Surrogate, possible_options
from warmset.core.planner.filling import Row, by_density, fill_best, shelves
from warmset.core.planner.problem import Effort, Problem
from warmset.core.planner.program import TINY, Aim, Column, Prices, Program, Used

PRICE_UNITS: Final = 1 << 24
"""Whole units of the greatest price."""

FILL_STEPS: Final = 300
"""Steps of one filling inside the search for prices; beyond, its relaxation counts."""

EXACT_STEPS: Final = 30_000
"""Steps of all fillings for the limit that is kept."""

STEPS_PER_UNIT: Final = 3
"""A step of filling costs a part of one of the search over sets."""

AGAIN: Final = 7
"""Further GPUs of one kind that are filled with what is left, for columns that go together."""


class Pricing:
    """Seeks the prices that bound one level lowest, on one problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.shelves = shelves(problem)
        self._is_free = [
            any(all(r >= problem.packed or n == 0 for r, n in use) for use in options)
            for options in (possible_options(problem, item) for item in problem.items)
        ]

    def seek(
        self,
        aim: Aim,
        start: Prices,
        rounds: int,
        effort: Effort,
        known: Used,
    ) -> tuple[Prices, Used]:
        """Returns the best prices found, and the fillings of the linear program's solution.

        Args:
            aim: what is to be bounded.
            start: prices to begin with.
            rounds: of filling all GPUs.
            effort: charged for all steps.
            known: fillings to begin with.
        """
        program = Program(self.shelves, aim, start)
        program.take([program.column(kind, items) for kind, items in known], effort)
        best, lowest = start, self._bound(program, start, effort)[0]
        for _ in range(rounds):
            if effort.is_spent or lowest < aim.enough or program.worth >= lowest - TINY:
                break
            tried = program.prices()
            bound, columns = self._bound(program, tried, effort)
            is_lower = bound < lowest - TINY
            if is_lower:
                best, lowest = tried, bound
                program.recentre(best)
            if not program.take(columns, effort) and not is_lower:
                break
        return best, program.used()

    def _bound(
        self, program: Program, prices: Prices, effort: Effort
    ) -> tuple[float, list[Column]]:
        """Returns the bound at these prices, and the best filling of each kind of GPU."""
        of = prices.of
        bound = program.base(prices)
        slack = TINY * max(of, default=0.0)
        columns: list[Column] = []
        for at, shelf in enumerate(self.shelves):
            rows: list[Row] = [(w, of[n] * share, n) for n, w, share in shelf.rows if of[n] > TINY]
            if not rows:
                continue
            rows.sort(key=by_density)
            filled = fill_best(rows, shelf.capacity, FILL_STEPS, slack=slack, unit=shelf.unit)
            effort.spend((len(rows) + filled.steps) // STEPS_PER_UNIT)
            bound += len(shelf.gpus) * filled.bound
            again = min(len(shelf.gpus) - 1, AGAIN)
            while filled.items:
                columns.append(program.column(at, filled.items))
                if not again:
                    break
                again -= 1
                inside = set(filled.items)
                rows = [row for row in rows if row[2] not in inside]
                filled = fill_best(rows, shelf.capacity, FILL_STEPS, slack=slack, unit=shelf.unit)
                effort.spend((len(rows) + filled.steps) // STEPS_PER_UNIT)
        return bound, columns

    def surrogate(self, prices: Prices, effort: Effort) -> Surrogate:
        """Returns the knapsack of these prices, rounded to whole units, with its exact limit."""
        unit = max((*prices.of, prices.place)) / PRICE_UNITS or 1.0
        place = round(prices.place / unit)
        whole = [
            0 if free else round(price / unit)
            for free, price in zip(self._is_free, prices.of, strict=True)
        ]
        limit = place * (self.problem.max_count or 0)
        steps = EXACT_STEPS // max(1, len(self.shelves))
        for shelf in self.shelves:
            rows: list[Row] = [
                (weight, whole[n] if share == 1.0 else int(whole[n] * share) + 1, n)
                for n, weight, share in shelf.rows
                if whole[n] > 0
            ]
            rows.sort(key=by_density)
            filled = fill_best(rows, shelf.capacity, steps, unit=shelf.unit)
            effort.spend(filled.steps // STEPS_PER_UNIT)
            limit += len(shelf.gpus) * int(filled.bound)
        return Surrogate(weights=tuple(w + place for w in whole), limit=limit)
