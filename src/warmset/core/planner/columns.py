"""A small linear program over fillings, solved by the simplex method column by column.

Maximise the worth of the chosen fillings, each item at most once and each kind of GPU as often as
it is there. Duals are kept in a box, which is moved to wherever the best prices are known: few
fillings say little of prices, and without the box they would swing from one end to the other.
Columns come one by one from whoever prices them; the basis inverse is kept dense,
since there is one row per open item only.

All of it is in floats: its duals are prices to bound with, never a bound by themselves.

Source: Dantzig & Wolfe 1960; Gilmore & Gomory 1961; the box: Marsten, Hogan & Blankenship 1975.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Final

TINY: Final = 1e-9
"""Reduced costs and pivots below count as nothing."""


DUST: Final = 1e-12
"""Entries of the inverse below are what rounding leaves of nothing."""


class Column:
    """What a unit of something is worth, and what it takes of each row."""

    __slots__ = ("_once", "_others", "cells", "worth")

    def __init__(self, worth: float, cells: Mapping[int, float]) -> None:
        self.worth = worth
        self.cells = cells
        once = [r for r, a in cells.items() if a == 1.0]
        if len(once) < 2:  # too few for `itemgetter` to return a tuple
            once = []
        self._once = itemgetter(*once) if once else None
        self._others = [(r, a) for r, a in cells.items() if a != 1.0 or not once]

    def times(self, row: Sequence[float]) -> float:
        """Returns the product with a row. It is most of what the method does."""
        total = sum(self._once(row)) if self._once is not None else 0.0
        for r, a in self._others:
            total += row[r] * a
        return total


class Columns:
    """The program. What is left of a row is sold at a low price, what is missing bought at a high.

    So the dual of each row lies between the two. 0 and infinity make it a row `<=`.

    Args:
        limits: right-hand sides, not negative.
        low, high: per row, between which its dual lies.
    """

    def __init__(
        self, limits: Sequence[float], low: Sequence[float], high: Sequence[float]
    ) -> None:
        size = len(limits)
        self._inverse = [[1.0 if a == b else 0.0 for b in range(size)] for a in range(size)]
        # A shift of the limits by next to nothing keeps the method from turning in circles.
        self._basic = [n + 1e-7 * (1 + 37 * r % 101) for r, n in enumerate(limits)]
        self._low, self._high = list(low), list(high)
        self._tags = [-1 - r for r in range(size)]  # sold; `-1 - size - r`: bought
        self._worths = list(low)
        self.duals = list(low)

    def move(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Sets new prices at which rows are sold and bought; finite where they were finite."""
        size = len(low)
        self._low, self._high = list(low), list(high)
        for at, tag in enumerate(self._tags):
            if tag < 0:
                r = -1 - tag
                self._worths[at] = low[r] if r < size else -high[r - size]
        duals = [0.0] * size
        for worth, row in zip(self._worths, self._inverse, strict=True):
            if worth:
                duals = [n + worth * p for n, p in zip(duals, row, strict=True)]
        self.duals = duals

    def used(self) -> list[tuple[float, int]]:
        """Returns how often each tagged column is used, most first."""
        found = [(n, tag) for n, tag in zip(self._basic, self._tags, strict=True) if tag >= 0]
        return sorted(((n, tag) for n, tag in found if n > 1e-4), reverse=True)

    def gain(self, column: Column) -> float:
        """Returns the reduced cost of a column: what a unit of it would add."""
        return column.worth - column.times(self.duals)

    def enter(self, column: Column, tag: int) -> bool:
        """Takes a column into the basis if it gains; returns whether it did."""
        gain = self.gain(column)
        if gain <= TINY:
            return False
        change = [column.times(row) for row in self._inverse]
        return self._pivot(gain, column.worth, change, tag)

    def settle(self) -> bool:
        """Sells or buys of a row if that gains; returns whether it did."""
        sold, bought = TINY, TINY
        at_sold = at_bought = -1
        for r, (dual, low, high) in enumerate(zip(self.duals, self._low, self._high, strict=True)):
            if low - dual > sold:
                sold, at_sold = low - dual, r
            elif dual - high > bought:
                bought, at_bought = dual - high, r
        if at_sold < 0 and at_bought < 0:
            return False
        if sold >= bought:
            change = [row[at_sold] for row in self._inverse]
            return self._pivot(sold, self._low[at_sold], change, -1 - at_sold)
        change = [-row[at_bought] for row in self._inverse]
        tag = -1 - len(self._low) - at_bought
        return self._pivot(bought, -self._high[at_bought], change, tag)

    def _pivot(  # noqa: C901 - the innermost loops: a call here costs what they save
        self, gain: float, worth: float, change: Sequence[float], tag: int
    ) -> bool:
        """Exchanges what enters for what it drives out first.

        Args:
            gain, worth: of what enters.
            change: what a unit of it takes of each basic quantity.
            tag: its name.
        """
        inverse, basic = self._inverse, self._basic
        best, leaves = float("inf"), -1
        for r, d in enumerate(change):
            if d > TINY:
                ratio = basic[r] / d
                if ratio < best:
                    best, leaves = ratio, r
        if leaves < 0:
            return False
        by = change[leaves]
        filled = [(k, n / by) for k, n in enumerate(inverse[leaves]) if n > DUST or n < -DUST]
        pivot = inverse[leaves] = [0.0] * len(change)
        for k, p in filled:
            pivot[k] = p
        is_sparse = 2 * len(filled) < len(pivot)
        for r, d in enumerate(change):
            if r == leaves or -TINY <= d <= TINY:
                continue
            basic[r] -= d * best
            if is_sparse:
                row = inverse[r]
                for k, p in filled:
                    row[k] -= d * p
            else:
                inverse[r] = [n - d * p for n, p in zip(inverse[r], pivot)]  # noqa: B905
        basic[leaves] = best
        self._tags[leaves] = tag
        self._worths[leaves] = worth
        duals = self.duals
        for k, p in filled:
            duals[k] += gain * p
        return True
