"""The fillings of one bin that waste little, for `Completion`.

- Sums that some of the sizes make are the bits of one large number, so that a filling is begun only
  if it can be completed;
- a filling is *dominated* if a size that is left out could be added, or take the place of one or
  two that are in which are together no larger: what may be done with them may be done as well.

Sets of sizes are the bits of a number as well, the largest size the lowest bit.

Source: bin completion, Korf 2002; Fukunaga & Korf 2007; dominance of Martello & Toth 1990.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Final

from warmset.core.planner.problem import Effort

MOST_UNITS: Final = 1 << 12
"""Units of the largest bin in which sums are counted: exact where a common factor allows."""

FEW: Final = 16
"""Sizes up to which their sums are looked at as a whole: more make nearly all there are."""


class Fillings:
    """What may lie together in each of some bins.

    Args:
        sizes: largest first.
        rooms: per bin, the smallest first.
    """

    def __init__(self, sizes: Sequence[int], rooms: Sequence[int]) -> None:
        self._sizes = sizes
        self._rooms = rooms
        common = math.gcd(*sizes) or 1
        largest = rooms[-1]
        self._is_exact = largest // common <= MOST_UNITS
        self._unit = common if self._is_exact else -(-largest // MOST_UNITS)
        self._units = [size // self._unit for size in sizes]
        self._up_to = [(2 << room // self._unit) - 1 for room in rooms]

    def numbers(self, some: int) -> list[int]:
        """Returns a set as numbers, the largest size first."""
        return [n for n in range(len(self._sizes)) if some >> n & 1]

    def may_hold(self, at: int, rest: int) -> bool:
        """Whether bins filled to the best sums there are, each by itself, would be enough."""
        if self._sizes[largest_of(rest)] > self._rooms[-1]:
            return False
        if rest.bit_count() > FEW:
            return True
        most, missing, sums = self._up_to[-1], 0, 1
        for n in self.numbers(rest):
            units = self._units[n]
            missing += units
            sums |= sums << units & most
        for up_to in self._up_to[at:]:
            missing -= (sums & up_to).bit_length() - 1
            if missing <= 0:
                return True
        return missing <= 0

    def _sums(self, at: int, some: Sequence[int]) -> list[int]:
        """Returns, per place in some sizes, the sums for a bin that those from there on make."""
        most = self._up_to[at]
        sums = [1]
        for n in reversed(some):
            sums.append(sums[-1] | sums[-1] << self._units[n] & most)
        sums.reverse()
        return sums

    def of(  # noqa: C901 - the innermost loop: a call here costs a tenth of its time
        self, at_bin: int, rest: int, slack: int, effort: Effort
    ) -> Iterator[tuple[int, int]]:
        """Yields the fillings of a bin and what each wastes, the largest sizes first.

        A filling that wastes more than the slack, or is dominated, is left out. `slack` is what may
        be wasted beside what is taken: less than any size that is out is larger than one taken.
        """
        left = self._rooms[at_bin]
        some = [n for n in self.numbers(rest) if self._sizes[n] <= left]
        sizes, count = [self._sizes[n] for n in some], len(some)
        can_fill = self._filler(sizes, self._sums(at_bin, some))
        falling = [-size for size in sizes]
        smallest = min(sizes, default=left + 1)
        if left <= slack and left < smallest:
            yield 0, left
        taken: list[int] = []
        slacks: list[int] = []  # before each was taken
        at, steps = 0, max(0, effort.limit - effort.used)
        allowed = steps
        while steps:
            if at < count and sizes[at] > left:
                at = bisect_left(falling, -left, at)
            if at == count:
                if not taken:
                    break
                at, slack = taken.pop(), slacks.pop()
                left += sizes[at]
                at = bisect_right(falling, falling[at], at)
                continue
            steps -= 1
            size, tight = sizes[at], slack
            if at and (not taken or taken[-1] != at - 1):
                gap = sizes[at - 1] - size - 1
                if gap < slack:
                    tight = gap
            if not can_fill(at + 1, left - size, tight):
                at = bisect_right(falling, falling[at], at)
                if not can_fill(at, left, slack):
                    at = count
                continue
            taken.append(at)
            slacks.append(slack)
            left, slack, at = left - size, tight, at + 1
            is_full = left <= slack and (at == count or left < smallest)
            if is_full and not _is_dominated(sizes, falling, taken, left):
                effort.spend(allowed - steps)
                yield sum([1 << some[k] for k in taken]), left
                allowed = steps = max(0, effort.limit - effort.used)
        effort.spend(allowed - steps)

    def _filler(
        self, sizes: Sequence[int], sums: Sequence[int]
    ) -> Callable[[int, int, int], int | bool]:
        """Returns whether sizes from a place on may fill what is left but for some slack."""
        unit, count, is_exact = self._unit, len(sizes), self._is_exact
        smallest = max(1, min(sizes, default=1))

        def can_fill(at: int, left: int, slack: int) -> int | bool:
            if left <= slack:
                return True
            low = -((slack - left) // unit)
            if not is_exact:  # each that is taken may be up to a unit larger than what is counted
                most = left // smallest
                if most > count - at:  # noqa: PLR1730 - `min` takes twice as long
                    most = count - at
                low -= most
                if low <= 0:
                    return True
            wide = left // unit - low
            return wide >= 0 and sums[at] >> low & ((2 << wide) - 1)

        return can_fill


def _is_dominated(
    sizes: Sequence[int], falling: Sequence[int], taken: Sequence[int], left: int
) -> bool:
    """Whether a size that is out could be added, or stand in for two that are in.

    Args:
        sizes: largest first.
        falling: the same with the sign changed.
        taken: places of those that are in, ascending.
        left: what the bin has left.
    """
    if not left:
        return False
    at = len(sizes) - 1
    while at in taken:
        at -= 1
    if at >= 0 and sizes[at] <= left:
        return True
    for one, other in combinations(taken, 2):
        both = sizes[one] + sizes[other]
        if both <= sizes[0]:
            at = bisect_right(falling, -both) - 1
            while at in taken:
                at -= 1
            if at >= 0 and sizes[at] <= both + left:
                return True
    return False


def largest_of(some: int) -> int:
    """Returns the number of the largest size of a set."""
    return (some & -some).bit_length() - 1
