"""The linear program behind the prices: which filling is used how often, each item at most once.

Items that are alike have one row together: the program does not tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final

from warmset.core.planner.columns import Column, Columns
from warmset.core.planner.filling import Shelf
from warmset.core.planner.problem import Effort

TINY: Final = 1e-9
"""Less counts as nothing."""

FORCED: Final = 4.0
"""What an item that is in counts for in the program, in the greatest price: so much that it is
never left out."""

BOX: Final = 0.2
"""How far an item's dual may be from that of the best prices known, as a part of its price."""

PASSES: Final = 8
"""Looks at all columns between two rounds of filling."""

MOST_ENTERED: Final = 6
"""Columns taken in after one look, the most gainful first."""

COLUMNS_PER_STEP: Final = 5
"""Columns that are looked at in the time of such a step."""

CELLS_PER_STEP: Final = 600
"""Cells of the basis inverse whose change costs as much as a step of the search over sets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """What is to be bounded: one level's value, while earlier levels keep theirs.

    Values are scaled so that they are about one.

    Attributes:
        values: per item, within its own level.
        earlier: per earlier level, its open items, and what they have to be worth.
        open_items: of the level itself.
        forced: items that are in.
        whole: what the incumbent is worth on the level.
        enough: a bound below this leaves no room for anything better than what is known.
        places: how many more may be chosen; `None`: no limit.
    """

    values: Sequence[float]
    earlier: tuple[tuple[tuple[int, ...], float], ...]
    open_items: tuple[int, ...]
    forced: tuple[int, ...]
    whole: float
    enough: float
    places: int | None


Used = tuple[tuple[int, tuple[int, ...]], ...]
"""(Kind of GPU, items) of fillings, the most used first."""


@dataclass(slots=True)
class Prices:
    """Multipliers: per item, per earlier level, and per chosen item."""

    of: list[float]
    earlier: list[float]
    place: float = 0.0


class Program:
    """The linear program of one aim: which row is whose, and what its duals say of prices."""

    def __init__(
        self, kinds: Sequence[Shelf], aim: Aim, start: Prices, alike: Sequence[int]
    ) -> None:
        self.aim = aim
        self._start = start
        self._pool: list[Column] = []
        self._reach = 1.0
        self._must = FORCED * max(1.0, *start.of)
        split = {n for shelf in kinds for n, _, share in shelf.rows if share < 1.0}
        levels = (*(items for items, _ in aim.earlier), aim.open_items)
        self._forced = [n for n in aim.forced if n not in split]
        self._level = {n: at for at, items in enumerate(levels) for n in items}
        rows = [*self._forced, *(n for items in levels for n in items if n not in split)]
        self._members: dict[tuple[int | None, int, float], list[int]] = {}
        for n in rows:
            key = (self._level.get(n), alike[n], start.of[n])
            self._members.setdefault(key, []).append(n)
        self._row = {n: at for at, some in enumerate(self._members.values()) for n in some}
        self._kinds = len(self._members)
        self._needs = self._kinds + len(kinds)
        self._count = self._needs + len(aim.earlier) if aim.places is not None else -1
        self._parts = [{n: share for n, _, share in s.rows if n in split} for s in kinds]
        limits = [float(len(some)) for some in self._members.values()]
        limits += [float(len(shelf.gpus)) for shelf in kinds]
        limits += [max(0.0, need) for _, need in aim.earlier]
        if aim.places is not None:
            limits.append(float(aim.places + len(aim.forced)))
        self._limits = limits
        self._pivot_steps = 1 + len(limits) ** 2 // CELLS_PER_STEP
        self._lp = Columns(limits, *self._box(start))

    def _box(self, around: Prices) -> tuple[list[float], list[float]]:
        """Returns between which values duals are kept, around those that mean some prices."""
        low, high = [0.0] * len(self._limits), [math.inf] * len(self._limits)
        factors = (*around.earlier, 1.0)
        for n, row in self._row.items():
            level = self._level.get(n)
            full = self._must if level is None else factors[level] * self.aim.values[n]
            dual = max(0.0, full - around.of[n] - around.place)
            width = self._reach * BOX * max(around.of[n], 0.1)
            low[row], high[row] = max(0.0, dual - width), dual + width
        for at, factor in enumerate(around.earlier):
            width = self._reach * max(0.1, factor / 4)
            low[self._needs + at] = -factor - width
            high[self._needs + at] = min(0.0, width - factor)
        return low, high

    def recentre(self, prices: Prices, wider: float) -> None:
        """Moves the box of the duals, and widens it by a factor."""
        self._reach *= wider
        self._lp.move(*self._box(prices))

    def column(self, kind: int, items: Sequence[int]) -> Column:
        """Returns worth and column of a filling."""
        aim, parts = self.aim, self._parts[kind]
        worth, cells = 0.0, {self._kinds + kind: 1.0}
        for n in set(items):
            if n in parts:
                worth += self._start.of[n] * parts[n]
                continue
            cells[self._row[n]] = cells.get(self._row[n], 0.0) + 1.0
            level = self._level.get(n)
            if level is None:
                worth += self._must
            elif level == len(aim.earlier):
                worth += aim.values[n]
            else:
                row = self._needs + level
                cells[row] = cells.get(row, 0.0) + aim.values[n]
            if self._count >= 0:
                cells[self._count] = cells.get(self._count, 0.0) + 1.0
        return Column(worth, cells)

    def take(self, columns: list[Column], effort: Effort) -> bool:
        """Takes columns in as long as one gains; returns whether any of the new ones did."""
        lp = self._lp
        gained = False
        for column in columns:
            if lp.enter(column, len(self._pool)):
                effort.spend(self._pivot_steps)
                gained = True
            self._pool.append(column)
        for _ in range(PASSES):
            while not effort.is_spent and lp.settle():
                effort.spend(self._pivot_steps)
            gains = [(lp.gain(column), at) for at, column in enumerate(self._pool)]
            effort.spend(1 + len(self._pool) // COLUMNS_PER_STEP)
            for gain, at in sorted(gains, reverse=True)[:MOST_ENTERED]:
                if gain <= TINY:
                    break
                effort.spend(self._pivot_steps)
                lp.enter(self._pool[at], at)
            if effort.is_spent or max(gains, default=(0.0, 0))[0] <= TINY:
                break
        return gained

    def used(self) -> Used:
        """Returns (kind of GPU, items) of the columns in use, the most used first.

        One that is used several times comes as often, with others of the items that are alike.
        """
        turns = [cycle(some) for some in self._members.values()]
        found = []
        for times, tag in self._lp.used():
            cells = self._pool[tag].cells
            kind = next(r for r in cells if self._kinds <= r < self._needs) - self._kinds
            rows = [r for r, n in cells.items() if r < self._kinds for _ in range(round(n))]
            found += [
                (kind, tuple([next(turns[r]) for r in rows])) for _ in range(max(1, round(times)))
            ]
        return tuple(found)

    @property
    def worth(self) -> float:
        """What the program is worth at present, the base of forced items taken off."""
        total = sum(d * n for d, n in zip(self._lp.duals, self._limits, strict=True))
        return total - self._must * len(self._forced) + self._of_split()

    def _of_split(self) -> float:
        aim, start = self.aim, self._start
        rest = 0.0
        for n in {n for parts in self._parts for n in parts}:
            level = self._level.get(n)
            if level == len(aim.earlier):
                rest += max(0.0, aim.values[n] - start.of[n])
            elif level is None and n in aim.forced:
                rest -= start.of[n]
        return rest

    def prices(self) -> Prices:
        """Returns what the duals say: an item is priced at its worth less its dual."""
        duals, aim = self._lp.duals, self.aim
        earlier = [max(0.0, -duals[self._needs + at]) for at in range(len(aim.earlier))]
        place = max(0.0, duals[self._count]) if self._count >= 0 else 0.0
        factors = (*earlier, 1.0)
        of = list(self._start.of)
        for n, row in self._row.items():
            level = self._level.get(n)
            worth = self._must if level is None else factors[level] * aim.values[n]
            of[n] = max(0.0, worth - max(0.0, duals[row]) - place)
        return Prices(of, earlier, place)

    def base(self, prices: Prices) -> float:
        """Returns the bound but for what the GPUs gather."""
        aim, of = self.aim, prices.of
        bound = -sum(of[n] for n in aim.forced)
        factors = (*prices.earlier, 1.0)
        for n, level in self._level.items():
            bound += max(0.0, factors[level] * aim.values[n] - of[n] - prices.place)
        bound -= sum(f * need for f, (_, need) in zip(prices.earlier, aim.earlier, strict=True))
        return bound if aim.places is None else bound + prices.place * aim.places
