"""Which parts of a set fit together, where the whole does not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Final

from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.pins import can_hold

MAX_CHECKS: Final = 400
"""Sets looked at; beyond, the list of subsets says that it is not complete."""


def fits_together(host: HostCapacity, models: Sequence[Candidate]) -> bool:
    """Returns whether Ollama would hold these models together, each as yet to be loaded."""
    return can_hold(host, [c.afresh() for c in models])


def maximal_subsets(
    wanted: Sequence[Candidate], fits: Callable[[Sequence[Candidate]], bool]
) -> tuple[tuple[tuple[Candidate, ...], ...], bool]:
    """Returns all subsets that fit and to which no other of `wanted` can be added, best first.

    Better is what holds more in the highest priority where two subsets differ.

    Args:
        wanted: models that do not fit together.
        fits: whether a subset does; what holds a set holds its subsets.

    Returns:
        The subsets, and whether these are all of them.
    """
    found: list[frozenset[int]] = []
    checks = 0
    for size in range(len(wanted) - 1, 0, -1):
        for numbers in combinations(range(len(wanted)), size):
            chosen = frozenset(numbers)
            if any(chosen <= larger for larger in found):
                continue
            checks += 1
            if checks > MAX_CHECKS:
                return _best_first(wanted, found), False
            if fits([wanted[n] for n in numbers]):
                found.append(chosen)
    return _best_first(wanted, found), True


def _best_first(
    wanted: Sequence[Candidate], found: Sequence[frozenset[int]]
) -> tuple[tuple[Candidate, ...], ...]:
    priorities = sorted({c.priority for c in wanted}, reverse=True)
    sets = [tuple(wanted[n] for n in sorted(numbers)) for numbers in found]

    def worth(models: tuple[Candidate, ...]) -> tuple[float, ...]:
        return tuple(-sum(c.value for c in models if c.priority == p) for p in priorities)

    return tuple(sorted(sets, key=lambda s: (worth(s), -len(s), [c.name for c in s])))
