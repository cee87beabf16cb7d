"""What the search stands on: sets with their arrangements, and how one item joins a set."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final, Protocol

from warmset.core.planner.arrange import THOROUGH, Arranger, bits_of, room_left
from warmset.core.planner.bounds import LevelBound, Surrogate, surrogates
from warmset.core.planner.places import Joint, place_prices, with_places
from warmset.core.planner.problem import Effort, Problem
from warmset.core.planner.rivals import Rivals

LAST_RESORT: Final = 3_000_000
"""Steps for the mandatory items, before it is said that they were not arranged. No part of the work
of a call, but taken once in it at most: some six seconds on a slow core, for without the pins there
is no answer at all."""


class Bound(Protocol):
    """What bounds one level in one knapsack; see `LevelBound`."""

    def fill(self, start: int, room: int, skip: int = -1) -> int:
        """Returns at least what the items from a position on can be worth in `room`."""

    def least_weight(self, start: int, value: int, skip: int = -1) -> int | None:
        """Returns at most what it takes to gather `value`; `None` if it is out of reach."""


class Node:
    """A set of chosen items with an arrangement.

    `bits` are the set, `rooms` what it leaves of each surrogate.
    """

    __slots__ = ("bits", "chosen", "free", "rooms", "values")

    def __init__(
        self,
        chosen: dict[int, int],
        bits: int,
        free: list[int],
        values: list[int],
        rooms: list[int],
    ) -> None:
        self.chosen = chosen
        self.bits = bits
        self.free = free
        self.values = values
        self.rooms = rooms


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The items still open in one stage of the search, and their bounds.

    Attributes:
        root: the set that every choice of this stage contains.
        order: the open items, by level, then by value by weight in the sharpest surrogate.
        starts: where each level begins in `order`, and the end.
        bounds: per surrogate, per level.
        weights: of the open items in the first surrogate; there may be more behind.
        rivals: per position, what `Ground.rivals_in` has found out.
        is_sorted_anew: whether its order is not that of the ground.
    """

    root: Node
    order: tuple[int, ...]
    starts: tuple[int, ...]
    bounds: tuple[tuple[Bound, ...], ...]
    weights: Sequence[int]
    rivals: list[int | None]
    is_sorted_anew: bool


class Ground:
    """One problem, made ready for searching."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.arranger = Arranger(problem)
        self.levels = max((item.level for item in problem.items), default=-1) + 1
        self.surrogates: list[Surrogate] = list(surrogates(problem, self.arranger.shapes))
        weights = self.surrogates[0].weights if problem.packed else (0,) * len(problem.items)
        self.place_prices = place_prices(problem, weights)
        self.joint: Joint | None = None
        if problem.packed:
            self.joint = with_places(problem, self.surrogates[0], self.place_prices)
        if self.joint is not None:
            self.surrogates.append(self.joint.surrogate)
        self._plain = len(self.surrogates)
        self._conflicts: dict[int, list[int]] = {}  # per item, as bits
        for conflict in problem.conflicts:
            for member in conflict:
                self._conflicts.setdefault(member, []).append(bits_of(conflict))
        self.order = self._sorted_items()
        self._values = [item.value for item in problem.items]
        self._order_weights = [self.surrogates[0].weights[n] for n in self.order]
        self._order_rivals: list[int | None] = [None] * len(self.order)
        self._whole_bounds: list[tuple[LevelBound, ...]] = []  # per level, per surrogate

    def _sorted_items(self) -> tuple[int, ...]:
        """Returns what may be chosen freely, by level, then by value by weight."""
        weights = self.surrogates[0].weights
        rows = []
        for number, item in enumerate(self.problem.items):
            if item.is_mandatory or not self.arranger.can_ever_be_placed(number):
                continue
            weight, gain = weights[number], item.value - self.place_prices[item.level]
            is_dear, density = weight > 0 or gain < 0, gain / weight if weight else 0.0
            rows.append((item.level, is_dear, -density, -item.value, number))
        rows.sort()
        return tuple([row[-1] for row in rows])

    @cached_property
    def rivals(self) -> Rivals:
        """The rivals of each item."""
        return Rivals(self.problem, self.order, self.arranger.size_anywhere, self._conflicts)

    def mandatory(self) -> Node | None:
        """Returns the set of all mandatory items, `None` if they do not fit together.

        `arranger.was_cut_short` tells of a `None` that is not certain.
        """
        pins = [n for n, item in enumerate(self.problem.items) if item.is_mandatory]
        held = self.hold(pins)
        if held is None and self.arranger.was_cut_short:
            held = self.hold(pins, steps=LAST_RESORT)
        return held

    def _held_at_once(self, items: Iterable[int]) -> Node | None:
        """Returns these items as a node if each fits in turn where it leaves the least room."""
        chosen: dict[int, int] = {}
        free = list(self.problem.capacities)
        for n in sorted(items, key=self.arranger.weight, reverse=True):
            option = self.arranger.best_fit(n, free)
            if option is None:
                return None
            chosen[n] = option
            for r, amount in self.problem.items[n].options[option]:
                free[r] -= amount
        return self.node(chosen)

    def hold(self, items: Iterable[int], *, steps: int = THOROUGH) -> Node | None:
        """Returns exactly these items as a node, `None` if they may not or do not go together.

        `arranger.was_cut_short` tells of a `None` that is not certain.
        """
        together = frozenset(items)
        self.arranger.was_cut_short = False
        limit = self.problem.max_count
        if limit is not None and len(together) > limit:
            return None
        if any(conflict <= together for conflict in self.problem.conflicts):
            return None
        at_once = self._held_at_once(together)
        if at_once is not None:
            return at_once
        arranged = self.arranger.arrange(bits_of(together), steps=steps)
        return None if arranged is None else self.node(dict(arranged))

    def node(self, chosen: dict[int, int]) -> Node:
        """Returns a set as a node."""
        values = [0] * self.levels
        for number in chosen:
            values[self.problem.items[number].level] += self.problem.items[number].value
        rooms = [s.limit - sum([s.weights[n] for n in chosen]) for s in self.surrogates]
        return Node(chosen, bits_of(chosen), room_left(self.problem, chosen), values, rooms)

    def base_with_splits(self, best: Node) -> Node:
        """Returns the mandatory items, with what a set holds over several GPUs."""
        packed = self.problem.packed
        kept = {
            n: option
            for n, option in best.chosen.items()
            if self.problem.items[n].is_mandatory
            or sum(r < packed for r, _ in self.problem.items[n].options[option]) > 1
        }
        return self.node(kept)

    def view(self, root: Node, closed: Iterable[int], level: int) -> View:
        """Returns the open items up to `level`, beside `root` and without `closed`."""
        gone = {*root.chosen, *closed}
        items = self.problem.items
        order = tuple(n for n in self.order if items[n].level <= level and n not in gone)
        is_sharper = len(self.surrogates) > self._plain
        if is_sharper:
            order = self._by_density(order, self.surrogates[-1])
        starts, weights = self._starts(order, level), self.surrogates[0].weights
        return View(
            root=self.node(root.chosen),
            order=order,
            starts=starts,
            bounds=tuple(self.level_bounds(s, order, starts) for s in self.surrogates),
            weights=tuple([weights[n] for n in order]),
            rivals=[None] * len(order),
            is_sorted_anew=is_sharper,
        )

    def rivals_in(self, view: View, position: int) -> int:
        """Returns, as bits, the rivals of an item that a view does not open after it."""
        found = self.rivals.of(view.order[position])
        if found and view.is_sorted_anew:
            found &= ~bits_of(view.order[position:])
        view.rivals[position] = found
        return found

    def _by_density(self, order: Sequence[int], surrogate: Surrogate) -> tuple[int, ...]:
        """Returns items by level, then by value by weight; equals stay as they are."""
        items, weights = self.problem.items, surrogate.weights

        def key(number: int) -> tuple[int, bool, float]:
            item, weight = items[number], weights[number]
            return (item.level, weight > 0, -item.value / weight if weight else 0.0)

        return tuple(sorted(order, key=key))

    def whole_view(self, base: Node, level: int) -> View:
        """Returns the view of all that is open beside what every choice contains.

        As long as nothing sharper is known, the bounds of earlier levels are those that they had.
        """
        if len(self.surrogates) > self._plain:
            return self.view(base, (), level)
        starts = self._level_starts[: level + 2]
        order = self.order[: starts[-1]]
        if level == len(self._whole_bounds):
            self._whole_bounds.append(
                tuple([self.level_bounds(s, order, starts[-2:])[0] for s in self.surrogates])
            )
        return View(
            root=base,
            order=order,
            starts=starts,
            bounds=tuple(zip(*self._whole_bounds[: level + 1], strict=True)),
            weights=self._order_weights,
            rivals=self._order_rivals,
            is_sorted_anew=False,
        )

    @cached_property
    def _level_starts(self) -> tuple[int, ...]:
        return self._starts(self.order, self.levels - 1)

    def _starts(self, order: Sequence[int], level: int) -> tuple[int, ...]:
        """Returns where each level up to this one begins in an order, and its end."""
        levels = [self.problem.items[n].level for n in order]
        return tuple([bisect_left(levels, number) for number in range(level + 2)])

    def level_bounds(
        self, surrogate: Surrogate, order: Sequence[int], starts: Sequence[int]
    ) -> tuple[LevelBound, ...]:
        """Returns a surrogate's bounds on each level of an order."""
        return tuple(
            [
                LevelBound(surrogate, range(start, stop), order[start:stop], self._values)
                for start, stop in pairwise(starts)
            ]
        )

    def include(
        self, node: Node, number: int, effort: Effort, *, steps: int | None = None
    ) -> Node | None:
        """Returns the node with one more item, `None` if it does not fit.

        Rearranges the others if need be, within `steps` (none given: a brief search);
        `arranger.was_cut_short` tells of a `None` that is not certain.
        """
        arranger, item, bits = self.arranger, self.problem.items[number], node.bits | 1 << number
        arranger.was_cut_short = False
        rooms = []
        for room, surrogate in zip(node.rooms, self.surrogates):  # noqa: B905 - an older node
            after = room - surrogate.weights[number]
            if after < 0:
                return None
            rooms.append(after)
        if self._conflicts and self._is_conflict(number, bits):
            return None
        option = arranger.best_fit(number, node.free)
        if option is not None:
            chosen = {**node.chosen, number: option}
            free = list(node.free)
            for resource, amount in item.options[option]:
                free[resource] -= amount
        else:
            steps = arranger.brief_steps if steps is None else steps
            arranged = arranger.arrange(bits, steps=steps, effort=effort) if steps else None
            if arranged is None:
                return None
            chosen, free = dict(arranged), room_left(self.problem, arranged)
        values = list(node.values)
        values[item.level] += item.value
        return Node(chosen, bits, free, values, rooms)

    def _is_conflict(self, number: int, bits: int) -> bool:
        """Whether an item completes a conflict in a set, itself included."""
        return any(some & bits == some for some in self._conflicts.get(number, ()))

    def fill_up(self, node: Node, effort: Effort, *, steps: int = 0) -> Node:
        """Adds whatever still fits, in the order of the search; see `include` for `steps`."""
        for number, weight in zip(self.order, self._order_weights, strict=True):
            if weight <= node.rooms[0] and number not in node.chosen:
                node = self.include(node, number, effort, steps=steps) or node
        return node
