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
from warmset.core.planner.columns import Column
from warmset.core.planner.filling import Row, by_density, fill_best, shelves
from warmset.core.planner.problem import Effort, Problem
from warmset.core.planner.program import TINY, Aim, Prices, Program, Used

PRICE_UNITS: Final = 1 << 24
"""Whole units of the greatest price."""

FILL_STEPS: Final = 3000
"""Steps of one filling inside the search for prices; beyond, its relaxation counts. At good prices
many fillings are worth next to the same, and a relaxation would hide what the prices gain."""

PEEP: Final = 300
"""Steps of one filling at the prices to begin with, to see whether fillings are exact at all."""

EXACT_STEPS: Final = 30_000
"""Steps of all fillings for the limit that is kept."""

STEPS_PER_UNIT: Final = 3
"""A step of filling costs a part of one of the search over sets."""

BLUR: Final = 0.006
"""What fillings that are not exact may hide of a bound, as a part of what a level is worth: where
no more than that is open, prices gain nothing before 16 GPUs and 200 models of random sizes."""

TRUST: Final = 0.5
"""Part of the fall that the linear program foretold from which on it is believed farther off."""

WIDER: Final = 4.0
"""How much wider the box of the duals then is."""

AGAIN: Final = 1
"""Further GPUs of one kind that are filled with what is left, for columns that go together. With
more of them the linear program needs hardly fewer rounds, and each takes longer."""


class Pricing:
    """Seeks the prices that bound one level lowest, on one problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.shelves = shelves(problem)
        kinds = {(item.value, item.options): n for n, item in enumerate(problem.items)}
        self._alike = [kinds[item.value, item.options] for item in problem.items]
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
    ) -> tuple[Prices, Used] | None:
        """Returns the best prices found, and the fillings of the linear program's solution.

        `None`: the fillings are not exact, as with sizes in bytes and many models to a GPU, and
        what that adds to a bound is more than what is to be taken off.

        Args:
            aim: what is to be bounded.
            start: prices to begin with.
            rounds: of filling all GPUs.
            effort: charged for all steps.
            known: fillings to begin with.
        """
        program = Program(self.shelves, aim, start, self._alike)
        best = start
        lowest, columns, is_exact = self._bound(program, start, effort, PEEP)
        if not is_exact and lowest - aim.enough < BLUR * aim.whole:
            return None
        columns += [program.column(kind, items) for kind, items in known]
        program.take(columns, effort)
        for _ in range(rounds):
            if effort.is_spent or lowest < aim.enough or program.worth >= lowest - TINY:
                break
            tried = program.prices()
            bound, columns, _ = self._bound(program, tried, effort)
            is_lower = bound < lowest - TINY
            if is_lower:
                is_trusted = lowest - bound > TRUST * (lowest - program.worth)
                best, lowest = tried, bound
                program.recentre(best, WIDER if is_trusted else 1.0)
            if not program.take(columns, effort) and not is_lower:
                break
        return best, program.used()

    def _bound(
        self, program: Program, prices: Prices, effort: Effort, steps: int = FILL_STEPS
    ) -> tuple[float, list[Column], bool]:
        """Returns the bound at these prices, fillings, and whether each is known to be the best."""
        of = prices.of
        bound = program.base(prices)
        slack = TINY * max(of, default=0.0)
        columns: list[Column] = []
        is_exact = True
        for at, shelf in enumerate(self.shelves):
            rows: list[Row] = [(w, of[n] * share, n) for n, w, share in shelf.rows if of[n] > TINY]
            if not rows:
                continue
            rows.sort(key=by_density)
            filled = fill_best(rows, shelf.capacity, steps, slack=slack, unit=shelf.unit)
            effort.spend((len(rows) + filled.steps) // STEPS_PER_UNIT)
            bound += len(shelf.gpus) * filled.bound
            is_exact &= filled.bound <= filled.profit + slack
            again = min(len(shelf.gpus) - 1, AGAIN)
            while filled.items:
                columns.append(program.column(at, filled.items))
                if not again:
                    break
                again -= 1
                inside = set(filled.items)
                rows = [row for row in rows if row[2] not in inside]
                filled = fill_best(rows, shelf.capacity, steps, slack=slack, unit=shelf.unit)
                effort.spend((len(rows) + filled.steps) // STEPS_PER_UNIT)
        return bound, columns, is_exact

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
