"""Which parts of a set fit together, where the whole does not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.holding import Holding, can_hold

MAX_CHECKS: Final = 400
"""Sets looked at; beyond, the list of subsets says that it is not complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subsets:
    """What of a set fits.

    Attributes:
        fitting: subsets that fit and to which no other model can be added, as far as is known,
            best first.
        unknown: the largest subsets of which it is not known, best first, each with the reason.
        is_all: whether every subset was looked at.
    """

    fitting: tuple[tuple[Candidate, ...], ...]
    unknown: tuple[tuple[tuple[Candidate, ...], str], ...]
    is_all: bool


def fits_together(host: HostCapacity, models: Sequence[Candidate]) -> Holding:
    """Returns whether Ollama would hold these models together, each as yet to be loaded."""
    return can_hold(host, [c.afresh() for c in models])


def maximal_subsets(
    wanted: Sequence[Candidate], fits: Callable[[Sequence[Candidate]], Holding]
) -> Subsets:
    """Returns all subsets that fit and to which no other of `wanted` can be added.

    Better is what holds more in the highest priority where two subsets differ.

    Args:
        wanted: models that do not fit together, or are not known to.
        fits: whether a subset does; what holds a set holds its subsets.
    """
    found: list[frozenset[int]] = []
    unknown: dict[frozenset[int], str] = {}
    checks = 0
    for size in range(len(wanted) - 1, 0, -1):
        for numbers in combinations(range(len(wanted)), size):
            chosen = frozenset(numbers)
            if any(chosen <= larger for larger in found):
                continue
            checks += 1
            if checks > MAX_CHECKS:
                return _sorted_out(wanted, found, unknown, is_all=False)
            answer = fits([wanted[n] for n in numbers])
            if answer.is_possible:
                found.append(chosen)
            elif answer.is_possible is None and not any(chosen <= larger for larger in unknown):
                unknown[chosen] = answer.unknown
    return _sorted_out(wanted, found, unknown, is_all=True)


def _sorted_out(
    wanted: Sequence[Candidate],
    found: Sequence[frozenset[int]],
    unknown: Mapping[frozenset[int], str],
    *,
    is_all: bool,
) -> Subsets:
    reasons = {frozenset(wanted[n].key for n in some): why for some, why in unknown.items()}
    return Subsets(
        fitting=_best_first(wanted, found),
        unknown=tuple(
            (some, reasons[frozenset(c.key for c in some)])
            for some in _best_first(wanted, tuple(unknown))
        ),
        is_all=is_all,
    )


def _best_first(
    wanted: Sequence[Candidate], found: Sequence[frozenset[int]]
) -> tuple[tuple[Candidate, ...], ...]:
    priorities = sorted({c.priority for c in wanted}, reverse=True)
    sets = [tuple(wanted[n] for n in sorted(numbers)) for numbers in found]

    def worth(models: tuple[Candidate, ...]) -> tuple[float, ...]:
        return tuple(-sum(c.value for c in models if c.priority == p) for p in priorities)

    return tuple(sorted(sets, key=lambda s: (worth(s), -len(s), [c.name for c in s])))
