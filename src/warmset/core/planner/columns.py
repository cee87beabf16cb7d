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
from typing import Final

TINY: Final = 1e-9
"""Reduced costs and pivots below count as nothing."""


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

    def gain(self, worth: float, column: Mapping[int, float]) -> float:
        """Returns the reduced cost of a column: what a unit of it would add."""
        duals = self.duals
        return worth - sum(duals[r] * a for r, a in column.items())

    def enter(self, worth: float, column: Mapping[int, float], tag: int) -> bool:
        """Takes a column into the basis if it gains; returns whether it did."""
        gain = self.gain(worth, column)
        return gain > TINY and self._pivot(gain, worth, column, tag)

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
            return self._pivot(sold, self._low[at_sold], {at_sold: 1.0}, -1 - at_sold)
        tag = -1 - len(self._low) - at_bought
        return self._pivot(bought, -self._high[at_bought], {at_bought: -1.0}, tag)

    def _pivot(self, gain: float, worth: float, column: Mapping[int, float], tag: int) -> bool:
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
        self._worths[leaves] = worth
        self.duals = [n + gain * p for n, p in zip(self.duals, pivot, strict=True)]
        return True
