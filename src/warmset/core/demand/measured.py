"""Gap laws as plain counts: what a look tells of the demand, so that a decision can be replayed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from warmset.core.demand.gaps import GapLaw, Pool
from warmset.core.demand.grid import Grid
from warmset.core.loads import GapCounts

FINE_PER_OCTAVE: Final = 4
"""Bins of 19 %: as those that foretell uses. Counts of other bins are not understood."""

DIGITS: Final = 3
"""Of a count, which is at most `gaps.MEMORY`: finer than any answer needs."""


def count_gaps(uses: Iterable[tuple[float, str]]) -> dict[str, GapCounts]:
    """Returns the gaps of each model that was used twice.

    Args:
        uses: moment and model, oldest first.

    Units:
        Seconds of the wall clock.
    """
    pool = Pool(Grid(FINE_PER_OCTAVE))
    laws: dict[str, GapLaw] = {}
    last: dict[str, float] = {}
    for at, model in uses:
        if model in last:
            laws.setdefault(model, GapLaw(pool)).add(max(0.0, at - last[model]))
        last[model] = at
    return {model: _written(law) for model, law in sorted(laws.items())}


def laws_of(counts: Mapping[str, GapCounts]) -> dict[str, GapLaw]:
    """Returns the laws that were counted, pooled over all models; those of other bins are none.

    Invariants:
        They are asked only, never added to: equal counts may have the same laws.
    """
    return _laws_of(tuple(counts.items()))


@lru_cache(maxsize=2)  # asked at each look, of counts that change once an hour
def _laws_of(counts: tuple[tuple[str, GapCounts], ...]) -> dict[str, GapLaw]:
    pool = Pool(Grid(FINE_PER_OCTAVE))
    laws: dict[str, GapLaw] = {}
    for model, gaps in counts:
        if len(gaps.reached) <= pool.grid.count:
            laws[model] = GapLaw(pool)
            laws[model].restore(gaps.reached, gaps.ended)
    return laws


def _written(law: GapLaw) -> GapCounts:
    reached, ended = law.counts
    length = sum(count > 0 for count in reached)  # whoever reached a bin had reached those before
    return GapCounts(
        reached=tuple(round(n, DIGITS) for n in reached[:length]),
        ended=tuple(round(e, DIGITS) for e in ended[:length]),
    )
