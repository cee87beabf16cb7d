"""Whether sizes fit into bins, sought where an answer is likely and not everywhere.

Where k bins follow and m sizes are left, there are k^m arrangements, of which the part that fits
goes with the power k of the slack. So a filling is the better the less it wastes and the fewer
sizes it takes, which are then the larger ones. A search that always follows the best is wrong in a
few places only: it is repeated with one place in which the second best is followed, then with two
or one third best, and so on; the last bins are gone through.

Source: limited discrepancy search, Harvey & Ginsberg 1995; what to hope for: our counting.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from warmset.core.planner.problem import Effort

MOST_WRONG: Final = 40
"""How many places in all may be gone past."""

BATCH: Final = 24
"""Fillings of a bin that are ranked."""

ENOUGH: Final = 3
"""Fillings of a bin below which it may waste more."""

WIDER: Final = 3
"""How many times more that is."""

LAST: Final = 4
"""Bins before the very last of which all ranked fillings are followed."""

Filling = tuple[int, int]
"""What lies in a bin, as bits, and what that wastes."""

Fillings = Callable[[int, int, int], Iterator[Filling]]
"""Yields the fillings of a bin, given the bin, what is left, and the most to waste."""


class Broad:
    """One question: see `Completion`.

    Args:
        bins: how many there are.
        fillings: of one bin.
        effort: when it runs out, the search ends.

    Attributes:
        held: what lies in which bin, once it is found.
    """

    def __init__(self, bins: int, fillings: Fillings, effort: Effort) -> None:
        self.held: list[tuple[int, int]] = []
        self._last = bins - 1
        self._fillings = fillings
        self._effort = effort
        self._ranked: dict[tuple[int, int], Sequence[Filling]] = {}
        self._failed: dict[tuple[int, int], int] = {}  # with how many wrong

    def find(self, everything: int, slack: int) -> bool:
        """Returns whether an arrangement was found; where not, there may still be one."""
        for wrong in range(MOST_WRONG):
            if self._fill(0, everything, slack, wrong):
                return True
            if self._effort.is_spent:
                break
        return False

    def _fill(self, at: int, rest: int, slack: int, wrong: int) -> bool:
        if at == self._last or not rest:
            self.held.append((at, rest))
            return True
        if self._last - at <= LAST:
            wrong = MOST_WRONG
        key = (at, rest)
        if self._failed.get(key, -1) >= wrong or not self._effort.spend():
            return False
        if key not in self._ranked:
            self._ranked[key] = self._rank(at, rest, slack)
        for rank, (held, wasted) in enumerate(self._ranked[key][: wrong + 1]):
            if self._fill(at + 1, rest ^ held, slack - wasted, wrong - rank):
                self.held.append((at, held))
                return True
        self._failed[key] = wrong
        return False

    def _rank(self, at: int, rest: int, slack: int) -> Sequence[Filling]:
        """Returns some fillings of a bin, first what leaves the most to hope for."""
        left = self._last - at
        waste = 1 + slack // (left + 1)
        while True:
            found: list[Filling] = []
            for filling in self._fillings(at, rest, min(waste, slack)):
                found.append(filling)
                if len(found) == BATCH:
                    break
            if len(found) >= ENOUGH or waste >= slack or self._effort.is_spent:
                break
            waste *= WIDER
        per_size = math.log(left)

        def hope(filling: Filling) -> float:
            held, wasted = filling
            return left * math.log((slack - wasted + 1) / (slack + 1)) - per_size * held.bit_count()

        return sorted(found, key=hope, reverse=True)
