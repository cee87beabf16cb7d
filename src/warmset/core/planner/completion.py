"""Whether sizes fit into bins, bin by bin: each is completed at once, the smallest bin first.

What all bins hold together beyond the sizes is *slack*. A bin may waste no more than the slack
that is left, which rules out most of its fillings where sets are tight:

- sums that some of the sizes make are the bits of one large number, so that a filling is begun
  only if it can be completed;
- a filling is *dominated* if a size that is left out could be added, or take the place of one or
  two that are in which are together no larger: what may be done with them may be done as well;
- of bins that are alike, the first takes the largest size that any of them takes.

Source: bin completion, Korf 2002; Fukunaga & Korf 2007; dominance of Martello & Toth 1990.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Final

from warmset.core.planner.broad import Broad
from warmset.core.planner.problem import Effort

MOST_UNITS: Final = 1 << 13
"""Units of the largest bin in which sums are counted: exact where a common factor allows."""

EVEN_PART: Final = (1, 4)
"""Part of the effort for arrangements that waste evenly: what is filled well leaves room later."""

BROAD_PART: Final = (1, 3)
"""Part of what is then left for a search where an answer is likely."""

LENIENT: Final = (5, 2)
"""How many times its even share of the slack a bin may then waste. Of 431 full sets for 16 GPUs
that can be arranged, 20 are not in 4000 steps; 61 with an even share, 29 with 3.5 times as much."""


class Completion:
    """One question: do these sizes fit into these bins?

    Args:
        sizes: largest first.
        rooms: per bin.
        effort: when it runs out, the answer is not known.
    """

    def __init__(self, sizes: Sequence[int], rooms: Sequence[int], effort: Effort) -> None:
        self._sizes = sizes
        self._bins = sorted(range(len(rooms)), key=rooms.__getitem__)
        self._rooms = [rooms[b] for b in self._bins]
        self._effort = effort
        common = math.gcd(*sizes) or 1
        largest = self._rooms[-1]
        self._is_exact = largest // common <= MOST_UNITS
        self._unit = common if self._is_exact else -(-largest // MOST_UNITS)
        self._units = [size // self._unit for size in sizes]
        self._is_even = False  # whether no bin may waste much more than its share
        self._failed: set[tuple[int, int, tuple[int, ...]]] = set()
        self._held: list[tuple[int, tuple[int, ...]]] = []

    def find(self) -> list[int] | None:
        """Returns the bin of each size; `None`: there is none, or it was not found in time."""
        slack = sum(self._rooms) - sum(self._sizes)
        everything = tuple(range(len(self._sizes)))
        if slack < 0 or not (
            self._is_found_evenly(everything, slack)
            or self._is_found_broadly(everything, slack)
            or self._fill(0, everything, slack, 0)
        ):
            return None
        bins = [0] * len(self._sizes)
        for at, held in self._held:
            for n in held:
                bins[n] = self._bins[at]
        return bins

    def _is_found_evenly(self, everything: tuple[int, ...], slack: int) -> bool:
        """Tries at first with no bin wasting much more than its share of the slack."""
        whole = self._effort
        part, of = EVEN_PART
        steps = (whole.limit - whole.used) * part // of
        self._effort, self._is_even = whole.part(steps), True
        is_found = self._fill(0, everything, slack, 0)
        self._effort, self._is_even = whole, False
        self._failed.clear()
        return is_found

    def _is_found_broadly(self, everything: tuple[int, ...], slack: int) -> bool:
        """Searches where an answer is likely."""
        whole = self._effort
        part, of = BROAD_PART
        self._effort = whole.part((whole.limit - whole.used) * part // of)
        broad = Broad(len(self._rooms), self._fillings_of, self._effort)
        is_found = not whole.is_spent and broad.find(everything, slack)
        self._effort = whole
        self._held += broad.held
        return is_found

    def _fillings_of(
        self, at: int, rest: tuple[int, ...], waste: int
    ) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yields the fillings of a bin that waste no more than is said, and what each wastes."""
        if self._sizes[rest[0]] > self._rooms[-1]:
            return
        sums = self._sums(rest)
        if not self._may_hold(at, rest, sums[0]):
            return
        room = self._rooms[at]
        start = 0
        while start < len(rest) and self._sizes[rest[start]] > room:
            start += 1
        yield from self._fillings(rest[start:], sums[start:], room, waste)

    def _fill(self, at: int, rest: tuple[int, ...], slack: int, first: int) -> bool:
        """Fills the bins from `at` on with the rest; the bin takes none before `first`."""
        if at == len(self._rooms) - 1 or not rest:
            self._held.append((at, rest))
            return True
        key = (at, first, rest)
        if key in self._failed or not self._effort.spend(1 + len(rest)):
            return False
        if self._sizes[rest[0]] <= self._rooms[-1] and self._branch(at, rest, slack, first):
            return True
        if not self._effort.is_spent:
            self._failed.add(key)
        return False

    def _branch(self, at: int, rest: tuple[int, ...], slack: int, first: int) -> bool:
        """Tries one filling of a bin after the other."""
        sums = self._sums(rest)
        if not self._may_hold(at, rest, sums[0]):
            return False
        room = self._rooms[at]
        start = bisect_left(rest, first)
        while start < len(rest) and self._sizes[rest[start]] > room:
            start += 1
        must = rest[:1] if room == self._rooms[-1] else ()  # all bins left are alike
        if must and start:
            return False
        waste = slack
        if self._is_even:
            times, by = LENIENT
            waste = min(slack, slack * times // (by * (len(self._rooms) - at)))
        for held, wasted in self._fillings(rest[start:], sums[start:], room, waste):
            if held[: len(must)] != must:
                return False
            left = tuple(n for n in rest if n not in held)
            follows = held[0] if held and self._rooms[at + 1] == room else 0
            if self._fill(at + 1, left, slack - wasted, follows):
                self._held.append((at, held))
                return True
        return False

    def _sums(self, rest: Sequence[int]) -> list[int]:
        """Returns, per place in the rest, the sums that the sizes from there on make, as bits."""
        most = (2 << self._rooms[-1] // self._unit) - 1
        sums = [1]
        for n in reversed(rest):
            sums.append((sums[-1] | sums[-1] << self._units[n]) & most)
        sums.reverse()
        return sums

    def _may_hold(self, at: int, rest: Sequence[int], sums: int) -> bool:
        """Whether bins filled to the best sums there are, each by itself, would be enough."""
        missing = sum(self._units[n] for n in rest)
        for room in self._rooms[at:]:
            missing -= (sums & ((2 << room // self._unit) - 1)).bit_length() - 1
            if missing <= 0:
                return True
        return missing <= 0

    def _fillings(
        self, rest: Sequence[int], sums: Sequence[int], room: int, slack: int
    ) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yields the fillings of a bin and what each wastes, the largest sizes first.

        A filling that wastes more than the slack, or is dominated, is left out.
        """
        sizes, unit, count = [self._sizes[n] for n in rest], self._unit, len(rest)
        falling = [-size for size in sizes]
        effort, is_exact = self._effort, self._is_exact
        taken: list[int] = []
        at, left, steps = 0, room, max(0, effort.limit - effort.used)
        allowed = steps
        while steps:
            steps -= 1
            if at < count and sizes[at] > left:
                at = bisect_left(falling, -left, at)
            least = left - slack
            low = -(-least // unit) if is_exact else -(-least // unit) - (count - at)
            if low < 0:  # noqa: PLR1730 - `max` takes twice as long
                low = 0
            wide = left // unit - low
            can_complete = wide >= 0 and sums[at] >> low & ((2 << wide) - 1)
            if can_complete and at < count:
                taken.append(at)
                left -= sizes[at]
                at += 1
                continue
            if can_complete and least <= 0 and not self._is_dominated(sizes, taken, left):
                effort.spend(allowed - steps)
                yield tuple([rest[k] for k in taken]), left
                allowed = steps = max(0, effort.limit - effort.used)
            if not taken:
                break
            at = taken.pop()
            left += sizes[at]
            size = sizes[at]
            while at < count and sizes[at] == size:
                at += 1
        effort.spend(allowed - steps)

    @staticmethod
    def _is_dominated(sizes: Sequence[int], taken: Sequence[int], left: int) -> bool:
        """Whether one that is out could be added, or stand in for one or two that are in."""
        inside = set(taken)
        out = [sizes[k] for k in range(len(sizes) - 1, -1, -1) if k not in inside]
        if not out or not left:
            return False
        if out[0] <= left:
            return True
        for k in taken:
            place = bisect_right(out, sizes[k])
            if place < len(out) and out[place] <= sizes[k] + left:
                return True
        for one, other in combinations(taken, 2):
            both = sizes[one] + sizes[other]
            place = bisect_left(out, both)
            if place < len(out) and out[place] <= both + left:
                return True
        return False
