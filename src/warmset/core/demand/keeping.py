"""What a keep-alive would have done: how many requests warm, for how many byte-hours.

Each model is taken alone: nobody evicts it before its time is over. So the shares are what a
keep-alive can give at best, and memory decides how many models can have it at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Final

from warmset.core.demand.trace import Trace
from warmset.core.units import HOUR, MINUTE

KEEP_ALIVES: Final = (0.0, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 4 * HOUR, inf)
"""What people write into `keep_alive`; infinity is a pin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One keep-alive of one model. Units: seconds.

    Attributes:
        warm: requests that would have found it resident.
        held_seconds: how long it would have been resident.
    """

    keep_alive: float
    warm: int
    held_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """What each keep-alive gives one model.

    Attributes:
        gaps: idle seconds between two uses, shortest first; none for overlapping uses.
        points: by keep-alive, 0 first, for ever last.
    """

    model: str
    requests: int
    times: tuple[float, ...]
    gaps: tuple[float, ...]
    points: tuple[Kept, ...]

    def at(self, keep_alive: float) -> Kept:
        """Returns the point of one of `KEEP_ALIVES`."""
        return next(point for point in self.points if point.keep_alive == keep_alive)

    @property
    def median_gap(self) -> float | None:
        """The middle idle gap; `None` with fewer than two uses."""
        return self.gaps[len(self.gaps) // 2] if self.gaps else None


def weigh_keep_alives(trace: Trace) -> tuple[Keeping, ...]:
    """Returns what each keep-alive would have given each model, the most asked-for first."""
    uses: dict[str, list[tuple[float, float]]] = {}
    for request in trace.requests():
        uses.setdefault(request.model, []).append((request.at, request.at + request.seconds))
    end = max((until for rows in uses.values() for _, until in rows), default=0.0)
    found = (_weigh(model, rows, end) for model, rows in uses.items())
    return tuple(sorted(found, key=lambda keeping: (-keeping.requests, keeping.model)))


def _weigh(model: str, uses: Sequence[tuple[float, float]], end: float) -> Keeping:
    runs = merge(uses)
    gaps = sorted(after[0] - before[1] for before, after in pairwise(runs))
    busy = sum(until - since for since, until in runs)
    joined = len(uses) - len(runs)  # requests that began while the model was in use
    tail = end - runs[-1][1]
    points = [
        Kept(
            keep_alive=keep,
            warm=joined + sum(gap <= keep for gap in gaps),
            held_seconds=busy + sum(min(gap, keep) for gap in gaps) + min(tail, keep),
        )
        for keep in KEEP_ALIVES[:-1]
    ]
    points.append(Kept(keep_alive=inf, warm=len(uses) - 1, held_seconds=end - runs[0][0]))
    return Keeping(
        model=model,
        requests=len(uses),
        times=tuple(since for since, _ in uses),
        gaps=tuple(gaps),
        points=tuple(points),
    )


def merge(uses: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns begin and end of each stretch in which a model is in use; `uses` are sorted."""
    runs: list[tuple[float, float]] = []
    for since, until in uses:
        if runs and since <= runs[-1][1]:
            runs[-1] = (runs[-1][0], max(runs[-1][1], until))
        else:
            runs.append((since, until))
    return runs
