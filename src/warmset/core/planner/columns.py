"""A small linear program over fillings, solved by the simplex method column by column.

Maximise the worth of the chosen fillings, each item at most once and each kind of GPU as often as
it is there. Columns come one by one from whoever prices them; the basis inverse is kept dense,
since there is one row per open item only.

All of it is in floats: its duals are prices to bound with, never a bound by themselves.

Source: Dantzig & Wolfe 1960; Gilmore & Gomory 1961.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

TINY: Final = 1e-9
"""Reduced costs and pivots below count as nothing."""


class Columns:
    """The program. Rows `<=` start with their slack, rows `>=` with a penalised shortfall.

    Args:
        limits: right-hand sides, not negative.
        at_least: the rows that are `>=`, with the penalty of a unit that is missing.
    """

    def __init__(self, limits: Sequence[float], at_least: Mapping[int, float]) -> None:
        size = len(limits)
        self._inverse = [[1.0 if a == b else 0.0 for b in range(size)] for a in range(size)]
        # A shift of the limits by next to nothing keeps the method from turning in circles.
        self._basic = [n + 1e-7 * (1 + 37 * r % 101) for r, n in enumerate(limits)]
        self._at_least = at_least
        self._tags = [-1] * size
        self.duals = [-at_least.get(r, 0.0) for r in range(size)]

    def used(self) -> list[tuple[float, int]]:
        """Returns how often each tagged column is used, most first."""
        found = [(n, tag) for n, tag in zip(self._basic, self._tags, strict=True) if tag >= 0]
        return sorted(((n, tag) for n, tag in found if n > 1e-4), reverse=True)

    def gain(self, worth: float, column: Mapping[int, float]) -> float:
        """Returns the reduced cost of a column: what a unit of it would add."""
        duals = self.duals
        return worth - sum(duals[r] * a for r, a in column.items())

    def enter(self, worth: float, column: Mapping[int, float], tag: int) -> bool:
        """Takes a column into the basis if it gains; returns whether it did."""
        gain = self.gain(worth, column)
        return gain > TINY and self._pivot(gain, column, tag)

    def settle(self) -> bool:
        """Takes in slacks that gain; returns whether one did."""
        row, gain = -1, TINY
        for r, dual in enumerate(self.duals):
            sign = -1.0 if r in self._at_least else 1.0
            if -sign * dual > gain:
                row, gain = r, -sign * dual
        if row < 0:
            return False
        return self._pivot(gain, {row: -1.0 if row in self._at_least else 1.0})

    def _pivot(self, gain: float, column: Mapping[int, float], tag: int = -1) -> bool:
        inverse, basic = self._inverse, self._basic
        cells = tuple(column.items())
        if len(cells) == 1:
            ((k, a),) = cells
            change = [row[k] * a for row in inverse]
        else:
            change = [sum(row[k] * a for k, a in cells) for row in inverse]
        best, leaves = float("inf"), -1
        for r, d in enumerate(change):
            if d > TINY:
                ratio = basic[r] / d
                if ratio < best:
                    best, leaves = ratio, r
        if leaves < 0:
            return False
        by = change[leaves]
        pivot = inverse[leaves] = [n / by for n in inverse[leaves]]
        filled = [(k, p) for k, p in enumerate(pivot) if p]
        is_sparse = 3 * len(filled) < len(pivot)
        for r, d in enumerate(change):
            if r == leaves or -TINY <= d <= TINY:
                continue
            basic[r] -= d * best
            if is_sparse:
                row = inverse[r]
                for k, p in filled:
                    row[k] -= d * p
            else:
                inverse[r] = [n - d * p for n, p in zip(inverse[r], pivot, strict=True)]
        basic[leaves] = best
        self._tags[leaves] = tag
        self.duals = [n + gain * p for n, p in zip(self.duals, pivot, strict=True)]
        return True
