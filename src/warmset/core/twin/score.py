"""What a replay cost: the columns of `warmset simulate`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from warmset.core.units import GIB, HOUR, MINUTE

THRASH_SECONDS = MINUTE
"""An eviction and a reload within it. Source: style of the field, as in `vmstat` pages in/out."""


@dataclass(slots=True)
class Tally:
    """Counts of one replay, filled while it runs. Units: seconds, byte-seconds."""

    requests: int = 0
    cold_starts: int = 0
    cold_seconds: float = 0.0
    late_preloads: int = 0
    loads: int = 0
    load_seconds: float = 0.0
    preloads: int = 0
    unused_preloads: int = 0
    evictions: int = 0
    expired: int = 0
    thrash_reloads: int = 0
    held_byte_seconds: float = 0.0
    waits: list[float] = field(default_factory=list)  # only those above zero
    cold_by_model: dict[str, int] = field(default_factory=dict)
    evicted_at: dict[str, float] = field(default_factory=dict)

    def cold(self, model: str, seconds: float) -> None:
        """Counts a request that has its model loaded."""
        self.cold_starts += 1
        self.cold_seconds += seconds
        self.cold_by_model[model] = self.cold_by_model.get(model, 0) + 1

    def load(self, now: float, model: str, seconds: float, *, demanded: bool) -> None:
        """Counts the beginning of a load."""
        self.loads += 1
        self.preloads += not demanded
        self.load_seconds += seconds
        self.thrash_reloads += now - self.evicted_at.get(model, -inf) <= THRASH_SECONDS

    def score(self) -> Score:
        """Returns the sums."""
        return Score(
            requests=self.requests,
            cold_starts=self.cold_starts,
            cold_seconds=self.cold_seconds,
            wait_mean_seconds=sum(self.waits) / self.requests if self.requests else 0.0,
            wait_p95_seconds=percentile(self.waits, self.requests, 0.95),
            gib_hours=self.held_byte_seconds / GIB / HOUR,
            loads=self.loads,
            load_seconds=self.load_seconds,
            evictions=self.evictions,
            thrash_reloads=self.thrash_reloads,
            preloads=self.preloads,
            unused_preloads=self.unused_preloads,
            cold_by_model=dict(sorted(self.cold_by_model.items())),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a replay cost.

    Attributes:
        cold_starts: requests that had their model loaded.
        cold_seconds: load seconds that users waited for: of each cold start, and what was left of
            a preload when somebody first asked for it.
        wait_mean_seconds, wait_p95_seconds: over all requests, queueing behind loads included.
        evictions: every end of a residency, expired timers included.
        thrash_reloads: loads within a minute of the eviction of the same model.
    """

    requests: int
    cold_starts: int
    cold_seconds: float
    wait_mean_seconds: float
    wait_p95_seconds: float
    gib_hours: float
    loads: int
    load_seconds: float
    evictions: int
    thrash_reloads: int
    preloads: int
    unused_preloads: int
    cold_by_model: dict[str, int]


def percentile(positive: Sequence[float], count: int, share: float) -> float:
    """Returns the value that `share` of `count` values stay at or below; those not given are 0."""
    if not count:
        return 0.0
    place = min(count - 1, int(share * count)) - (count - len(positive))
    return sorted(positive)[place] if place >= 0 else 0.0
