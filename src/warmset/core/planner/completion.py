"""Whether sizes fit into bins, bin by bin: each is completed at once, the smallest bin first.

What all bins hold together beyond the sizes is *slack*. A bin may waste no more than the slack
that is left, which rules out most of its fillings where sets are tight. Of bins that are alike, the
first takes the largest size that any of them takes.

Source: bin completion, Korf 2002; Fukunaga & Korf 2007.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from warmset.core.planner.broad import Broad
from warmset.core.planner.fillings import Fillings, largest_of
from warmset.core.planner.problem import Effort

EVEN_PART: Final = (1, 4)
"""Part of the effort for arrangements that waste evenly: what is filled well leaves room later."""

SOON: Final = 4
SOON_PART: Final = 8
"""How many times what these took, and at most which part of the effort, for all arrangements where
the even ones are soon gone through: most sets that cannot be arranged are refuted by that."""

BROAD_PART: Final = (1, 3)
"""Part of what is then left for a search where an answer is likely."""

LENIENT: Final = (5, 2)
"""How many times its even share of the slack a bin may then waste. Of 431 full sets for 16 GPUs
that can be arranged, 20 are not in 4000 steps; 61 with an even share, 29 with 3.5 times as much."""


class Completion:
    """One question: do these sizes fit into these bins?

    Sets of sizes are the bits of a number, the largest size the lowest bit.

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
        self._fillings = Fillings(sizes, self._rooms)
        self._is_even = False  # whether no bin may waste much more than its share
        self._failed: set[tuple[int, int, int]] = set()
        self._held: list[tuple[int, int]] = []

    def find(self) -> list[int] | None:
        """Returns the bin of each size; `None`: there is none, or it was not found in time."""
        slack = sum(self._rooms) - sum(self._sizes)
        everything = (1 << len(self._sizes)) - 1
        if slack < 0 or not self._is_found(everything, slack):
            return None
        bins = [0] * len(self._sizes)
        for at, held in self._held:
            for n in self._fillings.numbers(held):
                bins[n] = self._bins[at]
        return bins

    def _is_found(self, everything: int, slack: int) -> bool:
        """Tries first with no bin wasting much more than its share of the slack.

        Where that is soon gone through, so may be all there is; else an answer is guessed at first.
        """
        whole = self._effort
        even = self._part(EVEN_PART)
        self._is_even = True
        is_found = self._search(even, everything, slack)
        self._is_even = False
        self._failed.clear()
        if is_found:
            return True
        if not even.is_spent:
            soon = whole.part(min(SOON * even.used, whole.limit // SOON_PART))
            if self._search(soon, everything, slack):
                return True
            if not soon.is_spent:
                return False
        return self._is_found_broadly(everything, slack) or self._search(whole, everything, slack)

    def _part(self, part: tuple[int, int]) -> Effort:
        """Returns a part of what is left of the effort."""
        times, of = part
        return self._effort.part((self._effort.limit - self._effort.used) * times // of)

    def _search(self, effort: Effort, everything: int, slack: int) -> bool:
        """Goes through all arrangements, as far as an effort reaches."""
        whole, self._effort = self._effort, effort
        is_found = self._fill(0, everything, slack, 0)
        self._effort = whole
        return is_found

    def _is_found_broadly(self, everything: int, slack: int) -> bool:
        """Searches where an answer is likely."""
        whole = self._effort
        self._effort = self._part(BROAD_PART)
        broad = Broad(len(self._rooms), self._fillings_of, self._effort)
        is_found = not whole.is_spent and broad.find(everything, slack)
        self._effort = whole
        self._held += broad.held
        return is_found

    def _fillings_of(self, at: int, rest: int, waste: int) -> Iterator[tuple[int, int]]:
        """Yields the fillings of a bin that waste no more than is said, and what each wastes."""
        if self._fillings.may_hold(at, rest):
            yield from self._fillings.of(at, rest, waste, self._effort)

    def _fill(self, at: int, rest: int, slack: int, first: int) -> bool:
        """Fills the bins from `at` on with the rest; the bin takes none before `first`."""
        if at == len(self._rooms) - 1 or not rest:
            self._held.append((at, rest))
            return True
        key = (at, first, rest)
        if key in self._failed or not self._effort.spend(1 + rest.bit_count()):
            return False
        if self._fillings.may_hold(at, rest) and self._branch(at, rest, slack, first):
            return True
        if not self._effort.is_spent:
            self._failed.add(key)
        return False

    def _branch(self, at: int, rest: int, slack: int, first: int) -> bool:
        """Tries one filling of a bin after the other."""
        room, open_here = self._rooms[at], rest >> first << first
        must = 0
        if room == self._rooms[-1]:  # all bins left are alike
            must = rest & -rest
            if not must & open_here:
                return False
        waste = slack
        if self._is_even:
            times, by = LENIENT
            waste = min(slack, slack * times // (by * (len(self._rooms) - at)))
        for held, wasted in self._fillings.of(at, open_here, waste, self._effort):
            if held & must != must:
                return False
            follows = largest_of(held) if held and self._rooms[at + 1] == room else 0
            if self._fill(at + 1, rest ^ held, slack - wasted, follows):
                self._held.append((at, held))
                return True
        return False
