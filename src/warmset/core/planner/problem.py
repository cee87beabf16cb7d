"""The one packing problem behind `pack` and `plan`, in whole numbers.

Choose items and an option for each, so that no resource is overfull, no conflict is complete and
at most `max_count` are chosen. Mandatory items are all in. Among the choices, maximise the summed
value of level 0, then of level 1, and so on (lexicographically).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

Use = tuple[tuple[int, int], ...]
"""What one option takes: pairs of (resource, amount), the largest idea first."""


@lru_cache(maxsize=1024)
def anywhere(size: int, packed: int) -> tuple[Use, ...]:
    """Returns the options of what takes the same on whichever of the packed resources it lies."""
    return tuple([((r, size),) for r in range(packed)])


class Item(NamedTuple):
    """Something to choose. `level` 0 counts before level 1; options are alternatives.

    No dataclass: it takes several times as long to make one, and there are hundreds.
    """

    level: int
    value: int
    options: tuple[Use, ...]
    is_mandatory: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What there is and what it is to hold.

    Attributes:
        capacities: amount of each resource.
        packed: the number of leading resources that items are packed into one by one (GPUs);
            the rest (RAM) is shared by all.
        conflicts: sets of item numbers that must not be chosen together.
    """

    capacities: tuple[int, ...]
    items: tuple[Item, ...]
    packed: int
    max_count: int | None = None
    conflicts: tuple[frozenset[int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """A choice: item number -> option number, and how good it is known to be.

    Attributes:
        objective: sum of values per level.
        bounds: per level, what no choice can exceed given the levels before it.
        is_proved: whether this is the optimum on every level.
        nodes: steps of search that it took.
    """

    chosen: dict[int, int]
    objective: tuple[int, ...]
    bounds: tuple[int, ...]
    is_proved: bool
    nodes: int


class Effort:
    """A budget of search steps, in place of a clock: the core has none.

    Args:
        steps: how many may be taken.
        whole: the budget that this one is a part of; both count the same steps.
    """

    def __init__(self, steps: int, whole: Effort | None = None) -> None:
        self.limit = steps
        self.was_cut_short = False  # whether an answer is missing for lack of steps
        self._whole = whole
        self._taken: list[int] = [0] if whole is None else whole._taken  # noqa: SLF001 - its own
        self._start = self._taken[0]
        self._end = self._start + steps

    @property
    def used(self) -> int:
        """The steps that were taken."""
        return self._taken[0] - self._start

    def spend(self, steps: int = 1) -> bool:
        """Takes steps; returns whether there was something left to take from."""
        self._taken[0] += steps
        return self._taken[0] <= self._end

    def ran_out(self) -> None:
        """Notes here, and in what this is a part of, that an answer was not reached."""
        self.was_cut_short = True
        if self._whole is not None:
            self._whole.ran_out()

    def part(self, steps: int) -> Effort:
        """Returns a budget of `steps` within this one, or of what is left."""
        return Effort(max(0, min(steps, self._end - self._taken[0])), self)

    @property
    def left_of_whole(self) -> int:
        """What is left of the budget that this one is a part of, or of itself."""
        if self._whole is None:
            return self._end - self._taken[0]
        return self._whole.left_of_whole

    @property
    def is_spent(self) -> bool:
        """Whether the budget is exhausted."""
        return self._taken[0] >= self._end
