"""A better incumbent where the search is stuck: some GPUs emptied and filled anew by chance.

Two to four GPUs are emptied and filled one after the other, each exactly, with values that are off
by a little. What is worth no less is kept, so that the set wanders among equals. The chance is
seeded: the same input gives the same answer.

Source: large neighbourhood search, Shaw 1998.
"""

from __future__ import annotations

from random import Random
from typing import Final

from warmset.core.planner.filling import Row, fill_best
from warmset.core.planner.ground import Ground, Node
from warmset.core.planner.problem import Effort
from warmset.core.planner.refill import Places

FILL_STEPS: Final = 60
"""Steps of one filling; beyond, the best found counts."""

STEPS_PER_UNIT: Final = 2
"""A step of filling costs a part of one of the search over sets."""

FRUITLESS: Final = 10
"""Attempts without a gain, times open items, after which nothing more is hoped for."""

MOST_GPUS: Final = 4

MOST_ROWS: Final = 32
"""Models, the densest first, that a GPU is filled from: what comes later is hardly ever taken."""

MOST_OUT: Final = 64
"""Models, the densest first, that are looked at of those that are left out."""

MOST_BITS: Final = 900
"""Of what a float can hold and be reckoned with."""

NOISE: Final = (0, 50, 150, 300)
"""Thousandths by which a value may be off."""


class Shake:
    """Neighbours of a set in which a few GPUs are filled anew, on one level.

    Args:
        ground: the problem.
        places: where each item can lie whole.
    """

    def __init__(self, ground: Ground, places: Places) -> None:
        self.ground = ground
        self._places = places

    def improve(self, node: Node, level: int, width: int, effort: Effort) -> Node:
        """Returns a set that is worth more up to `level`, or the same one.

        Args:
            node: a set.
            level: the last that counts.
            width: how many items are open: the more, the longer it is sought.
            effort: what it may take.
        """
        packed = self.ground.problem.packed
        if packed < 2:
            return node
        chance = Random(level)
        state = _State(self.ground, self._places, node, level)
        best, fruitless = node, 0
        while fruitless < FRUITLESS * width and not effort.is_spent:
            count = chance.randint(2, min(MOST_GPUS, packed))
            fruitless += 1
            if state.attempt(chance.sample(range(packed), count), chance, effort) > 0:
                best, fruitless = self.ground.node(dict(state.chosen)), 0
        return best if best is node else self.ground.fill_up(best, effort)


class _State:
    """One set under way: what lies on which GPU, and what is left out, up to one level."""

    def __init__(self, ground: Ground, places: Places, node: Node, level: int) -> None:
        items = ground.problem.items
        self.problem = ground.problem
        self.places = places
        base = 1 + sum(item.value for item in items)
        self.worth = [
            item.value * base ** (level - item.level) if item.level <= level else 0
            for item in items
        ]
        must = 1 + sum(self.worth)
        self.profit = [
            worth + must * item.is_mandatory for worth, item in zip(self.worth, items, strict=True)
        ]
        self.unit = 1 << max(0, must.bit_length() - MOST_BITS)
        self.place = sum(
            price * base ** (level - at)
            for at, price in enumerate(ground.place_prices)
            if at <= level
        )
        self.chosen = {n: o for n, o in node.chosen.items() if self.profit[n]}
        self.free = ground.node(self.chosen).free
        self.held: list[list[int]] = [[] for _ in range(self.problem.packed)]
        for n, option in self.chosen.items():
            for gpu, (number, _) in places[n].items():
                if number == option:
                    self.held[gpu].append(n)
        self.order = {n: at for at, n in enumerate(ground.order)}
        self.out = [n for n in ground.order if n not in self.chosen and self.profit[n]]
        # What one takes is the same on all GPUs, as a rule; where it is not, it may be missed.
        self.weight = [max((use[0][1] or 1 for _, use in t.values()), default=0) for t in places]

    def attempt(self, gpus: list[int], chance: Random, effort: Effort) -> int:
        """Fills some GPUs anew if that is no worse; returns what is gained."""
        free = list(self.free)
        before = [n for gpu in gpus for n in self.held[gpu]]
        for gpu in gpus:
            for n in self.held[gpu]:
                for r, amount in self.places[n][gpu][1]:
                    free[r] += amount
        rows = self._rows(before, chance)
        after: dict[int, list[int]] = {}
        gone: set[int] = set()
        for gpu in gpus:
            after[gpu] = self._fill(gpu, rows, gone, free, effort)
            gone.update(after[gpu])
        gained = sum(self.profit[n] for some in after.values() for n in some)
        gained -= sum(self.profit[n] for n in before)
        if gained < 0 or not self._take(before, after):
            return 0
        self.free = free
        if gone != set(before):
            self.out = sorted({*before, *self.out} - gone, key=self.order.__getitem__)
        return gained

    def _by_density(self, row: Row) -> tuple[float, int]:
        """Like `by_density`; what many classes are worth together may be beyond a float."""
        weight, profit, _ = row
        return (-profit / (weight * self.unit), weight)

    def _rows(self, before: list[int], chance: Random) -> list[Row]:
        """Returns what some GPUs may be filled from, values off by chance, the densest first."""
        noise, by = chance.choice(NOISE), chance.random
        profit, place, weight = self.profit, self.place, self.weight
        rows: list[Row] = [
            (weight[n], (profit[n] - place) * (1000 + int(noise * by())), n)
            for n in [*before, *self.out[:MOST_OUT]]
            if profit[n] > place and weight[n]
        ]
        rows.sort(key=self._by_density)
        return rows

    def _fill(
        self, gpu: int, rows: list[Row], gone: set[int], free: list[int], effort: Effort
    ) -> list[int]:
        room, places = free[gpu], self.places
        some = [
            row for row in rows if row[0] <= room and row[2] not in gone and gpu in places[row[2]]
        ][:MOST_ROWS]
        filled = fill_best(some, room, FILL_STEPS)
        effort.spend(1 + (len(some) + filled.steps) // STEPS_PER_UNIT)
        put = []
        for n in filled.items:
            use = places[n][gpu][1]
            if all(amount <= free[r] for r, amount in use):
                put.append(n)
                for r, amount in use:
                    free[r] -= amount
        return put

    def _take(self, before: list[int], after: dict[int, list[int]]) -> bool:
        """Takes a new filling over unless the whole is not allowed."""
        problem, gone = self.problem, set(before)
        chosen = {n: option for n, option in self.chosen.items() if n not in gone}
        chosen.update((n, self.places[n][gpu][0]) for gpu, some in after.items() for n in some)
        if problem.max_count is not None and len(chosen) > problem.max_count:
            return False
        if any(conflict <= chosen.keys() for conflict in problem.conflicts):
            return False
        self.chosen = chosen
        self.held = [after.get(gpu, some) for gpu, some in enumerate(self.held)]
        return True
