"""The smallest set that cannot be held together: what a refusal names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Final

MAX_CHECKS: Final = 3000
"""Feasibility checks of one search; beyond, the set found is irreducible, maybe not smallest."""


def smallest_infeasible(
    members: Sequence[int],
    is_feasible: Callable[[frozenset[int]], bool],
    *,
    checks: int = MAX_CHECKS,
) -> frozenset[int]:
    """Returns a smallest subset of `members` that is not feasible.

    Args:
        members: an infeasible set, what conflicts most likely first (the largest).
        is_feasible: monotone: what holds a set holds its subsets.
        checks: how many calls the search for a smaller one may take.
    """
    irreducible = _without_idle_members(members, is_feasible)
    tried = 0
    for size in range(1, len(irreducible)):
        for subset in combinations(members, size):
            tried += 1
            if tried > checks:
                return irreducible
            if not is_feasible(frozenset(subset)):
                return frozenset(subset)
    return irreducible


def _without_idle_members(
    members: Sequence[int], is_feasible: Callable[[frozenset[int]], bool]
) -> frozenset[int]:
    """Drops members one by one, the last first, as long as the rest stays infeasible."""
    kept = list(members)
    for member in reversed(members):
        rest = [m for m in kept if m != member]
        if not is_feasible(frozenset(rest)):
            kept = rest
    return frozenset(kept)
