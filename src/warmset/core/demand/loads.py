"""How long a load takes here: measured, else from its bytes and this host's own bandwidth.

A file that was read lately comes from the page cache, several times quicker than from the disk, so
the two are learnt apart. Nothing shows which it was; a model that was resident within the last
hour counts as warm.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from warmset.core.loads import START_SECONDS
from warmset.core.units import HOUR

Cache = Literal["warm", "cold"]

WARM_SECONDS: Final = HOUR
"""How long a file is taken to stay in the page cache. Our choice: nothing that Ollama or the
process table shows tells, and programs that read much push it out sooner."""

RECENT: Final = 5
"""Loads of one model that count: drivers and disks change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenLoad:
    """One load as it was seen. Units: seconds, bytes of the file (`None`: not known)."""

    key: str
    seconds: float
    file_bytes: int | None
    cache: Cache


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTime:
    """What a load is expected to take, and on what ground."""

    seconds: float
    basis: Literal["measured", "bandwidth"]


class LoadTimes:
    """What the loads of one host teach.

    Args:
        loads: oldest first.
    """

    def __init__(self, loads: Iterable[SeenLoad]) -> None:
        self._by_model: dict[tuple[str, Cache], list[float]] = {}
        speeds: dict[Cache, list[float]] = {"warm": [], "cold": []}
        for load in loads:
            self._by_model.setdefault((load.key, load.cache), []).append(load.seconds)
            reading = load.seconds - START_SECONDS
            if load.file_bytes and reading > 0:
                speeds[load.cache].append(load.file_bytes / reading)
        self._speeds = {cache: median(found) for cache, found in speeds.items() if found}

    def bytes_per_second(self, cache: Cache = "cold") -> float | None:
        """Returns the bandwidth of this host, `None` if no load told."""
        return self._speeds.get(cache)

    def measured(self) -> dict[str, float]:
        """Returns the load seconds of each model that was loaded here, the slower if both."""
        found: dict[str, float] = {}
        for key, _ in self._by_model:
            expected = self.expect(key, None)
            if expected is not None:
                found[key] = expected.seconds
        return found

    def expect(
        self, key: str, file_bytes: int | None, cache: Cache | None = None
    ) -> LoadTime | None:
        """Returns what a load will take, `None` if nothing is known.

        Args:
            key: the weights.
            file_bytes: their size; `None`: not known.
            cache: where the file comes from; `None`: as its loads did so far, the slower if both.
        """
        wanted: tuple[Cache, ...] = ("cold", "warm") if cache is None else (cache,)
        for each in wanted:
            seen = self._by_model.get((key, each))
            if seen:
                return LoadTime(seconds=median(seen[-RECENT:]), basis="measured")
        for each in wanted:
            speed = self._speeds.get(each)
            if speed and file_bytes:
                return LoadTime(seconds=START_SECONDS + file_bytes / speed, basis="bandwidth")
        return None
