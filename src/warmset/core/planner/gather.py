"""A better incumbent where room is left in scraps: what is free on a few GPUs is gathered on one.

A full host has a little room on each GPU. Two to four of them are arranged anew so that one, the
*pit*, is left with more than before and the others with less; then that pit or another, with other
GPUs, until one more model fits. Each such question is a small one, which is answered exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Final

from warmset.core.planner.completion import Completion
from warmset.core.planner.ground import Ground, Node
from warmset.core.planner.problem import Effort
from warmset.core.planner.refill import Places

MOST_OTHERS: Final = 3
"""GPUs that give room to a pit at once."""

MOST_PITS: Final = 3
"""GPUs, those that miss the least, that are tried as a pit."""

PARTS: Final = ((1, 1), (7, 10), (2, 5))
"""How much of what the others have is asked for, the best first."""

ITEM_STEPS: Final = 4000
"""Steps for the room of one item."""

QUESTION_STEPS: Final = 300
"""Steps of one question."""

LOOKING: Final = 4
"""Steps that some GPUs cost for being looked at, whether or not there is a question left."""

ASKING: Final = 8
"""Steps that a question costs for being asked."""

STEPS_PER_UNIT: Final = 4
"""A step here costs a part of one of the search over sets."""


class Gather:
    """Adds to a set what fits only if others move, one level at a time.

    Args:
        ground: the problem.
        places: where each item can lie whole.
    """

    def __init__(self, ground: Ground, places: Places) -> None:
        self.ground = ground
        self._places = places
        self._size: dict[int, int] = {}  # of items that may lie anywhere
        for n, there in enumerate(places):
            uses = [((use[0][1], use[1:])) for _, use in there.values()]
            if len(uses) == ground.problem.packed and len(set(uses)) == 1:
                self._size[n] = uses[0][0]

    def improve(self, node: Node, level: int, effort: Effort) -> Node:
        """Returns a set with more of a level, or the same one; later levels are filled up anew."""
        items = self.ground.problem.items
        kept = {
            n: option
            for n, option in node.chosen.items()
            if items[n].is_mandatory or items[n].level <= level
        }
        best = self.ground.node(kept)
        out = [n for n in self.ground.order if items[n].level == level and n not in kept]
        for n in sorted(out, key=lambda n: -items[n].value):
            if effort.is_spent:
                break
            best = self._with(best, n, effort) or best
        return node if len(best.chosen) == len(kept) else self.ground.fill_up(best, effort)

    def _with(self, node: Node, item: int, effort: Effort) -> Node | None:
        """Returns the set with one more item, `None` if no room was made for it."""
        found = self.ground.include(node, item, effort, steps=0)
        needs = {gpu: use[0][1] for gpu, (_, use) in self._places[item].items()}
        packed = self.ground.problem.packed
        if found is not None or not needs or min(needs.values()) > sum(node.free[:packed]):
            return found
        held: list[list[int]] = [[] for _ in range(packed)]
        for n, option in node.chosen.items():
            if n in self._size:
                gpu = self.ground.problem.items[n].options[option][0][0]
                if self._places[n][gpu][0] == option:
                    held[gpu].append(n)
        own = Effort(min(ITEM_STEPS, (effort.limit - effort.used) * STEPS_PER_UNIT))
        state = Room(held, node.free[:packed], self._size, own)
        is_made = state.make_room(needs)
        effort.spend(1 + own.used // STEPS_PER_UNIT)
        if not is_made:
            return None
        moved = {n: self._places[n][gpu][0] for gpu, on in enumerate(state.held) for n in on}
        return self.ground.include(
            self.ground.node({**node.chosen, **moved}), item, effort, steps=0
        )


class Room:
    """A set under way: per GPU, the items on it that may lie anywhere, and the room that is left.

    Args:
        held, free: to begin with.
        size: of each such item.
        effort: when it runs out, the search for room ends.
    """

    def __init__(
        self, held: list[list[int]], free: list[int], size: Mapping[int, int], effort: Effort
    ) -> None:
        self.held = held
        self.free = free
        self._size = size
        self._effort = effort
        self._refuted: set[tuple[tuple[int, ...], frozenset[int]]] = set()

    def make_room(self, needs: Mapping[int, int]) -> bool:
        """Moves items until a GPU has the room it needs; returns whether that went."""
        while all(self.free[gpu] < need for gpu, need in needs.items()):
            if not self._move_on(needs):
                return False
        return True

    def _move_on(self, needs: Mapping[int, int]) -> bool:
        """Enlarges one hole; returns whether that went."""
        by_room = sorted(range(len(self.free)), key=lambda gpu: -self.free[gpu])
        pits = sorted(needs, key=lambda gpu: needs[gpu] - self.free[gpu])[:MOST_PITS]
        for pit in pits:
            others = [gpu for gpu in by_room if gpu != pit]
            for count in range(1, MOST_OTHERS + 1):
                for some in combinations(others, count):
                    if not self._effort.spend(LOOKING):
                        return False
                    if self._enlarge((pit, *some), needs[pit]):
                        return True
        return False

    def _enlarge(self, gpus: tuple[int, ...], need: int) -> bool:
        """Arranges GPUs anew so that the first has more room; returns whether that went."""
        names = [n for gpu in gpus for n in self.held[gpu]]
        names.sort(key=lambda n: (-self._size[n], n))
        sizes = [self._size[n] for n in names]
        rooms = [self.free[gpu] + self._taken(gpu) for gpu in gpus]
        for hole in self._holes(gpus, need):
            reduced = [rooms[0] - hole, *rooms[1:]]
            question = (tuple(reduced), frozenset(names))
            if reduced[0] < 0 or question in self._refuted:
                continue
            self._effort.spend(ASKING)
            asked = self._effort.part(QUESTION_STEPS)
            bins = Completion(sizes, reduced, asked).find() if sizes else []
            if bins is not None:
                for at, gpu in enumerate(gpus):
                    self.held[gpu] = [n for n, b in zip(names, bins, strict=True) if b == at]
                    self.free[gpu] = rooms[at] - self._taken(gpu)
                return True
            if not self._effort.is_spent:
                self._refuted.add(question)
        return False

    def _taken(self, gpu: int) -> int:
        return sum([self._size[n] for n in self.held[gpu]])

    def _holes(self, gpus: tuple[int, ...], need: int) -> Iterator[int]:
        """Yields the holes to try for: all that is needed or there is, then less."""
        now = self.free[gpus[0]]
        others = sum(self.free[gpu] for gpu in gpus[1:])
        asked = 0
        for part, of in PARTS:
            hole = min(need, now + others * part // of)
            if hole > now and hole != asked:
                asked = hole
                yield hole
