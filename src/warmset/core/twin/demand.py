"""Who asks a twin host for which model, and when: seeded patterns, or a recorded trace.

A pattern describes each role of a host (a chat, a coder, an indexer, a rare giant) as sessions
that begin at random, with short gaps inside: the shape that public request traces show. All
numbers below are chosen to make a lively example; none claims to be measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from warmset.core.units import HOUR, MINUTE
from warmset.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request.

    Units:
        `at` seconds from the start, `seconds` of use once the model is ready, `keep_alive` as
        the client sends it (`None`: not at all).
    """

    at: float
    model: str
    seconds: float
    keep_alive: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """How one kind of client behaves.

    Attributes:
        sessions_per_hour: Poisson rate of sessions.
        requests: mean number of requests in a session.
        gap_seconds: mean pause between the requests of a session.
        use_seconds: mean time that a request keeps the model in use.
        every_seconds: instead of random sessions, one session each so many seconds.
    """

    sessions_per_hour: float = 0.0
    requests: float = 1.0
    gap_seconds: float = 30.0
    use_seconds: float = 6.0
    every_seconds: float | None = None
    keep_alive: float | None = None


CODER: Final = Role(sessions_per_hour=3, requests=12, gap_seconds=40, use_seconds=5)
CHAT: Final = Role(sessions_per_hour=4, requests=5, gap_seconds=60, use_seconds=12)
INDEXER: Final = Role(every_seconds=15 * MINUTE, requests=6, gap_seconds=2, use_seconds=0.4)
WRITER: Final = Role(sessions_per_hour=1.2, requests=4, gap_seconds=90, use_seconds=20)
GIANT: Final = Role(sessions_per_hour=0.3, requests=2, gap_seconds=60, use_seconds=40)
SCRIPT: Final = Role(sessions_per_hour=2, requests=3, gap_seconds=10, use_seconds=4)

_ROLES: Final = (CODER, CHAT, INDEXER, WRITER, SCRIPT, GIANT)
"""In the order in which a host lists its models (`hosts`): the first is the most interactive."""

PATTERNS: Final[Mapping[str, float]] = {"idle": 0.0, "quiet": 0.25, "office": 0.6, "busy": 1.2}
"""Name -> factor on the number of sessions."""


def generate_demand(
    pattern: str, models: Sequence[str], *, hours: float, seed: int
) -> tuple[Arrival, ...]:
    """Returns the requests of a pattern, in the order of their moments.

    Args:
        pattern: one of `PATTERNS`.
        models: names; the roles are dealt out to them in order.
        hours: length of the demand.
        seed: the same seed gives the same demand.

    Raises:
        ConfigError: there is no such pattern.
    """
    if pattern not in PATTERNS:
        raise ConfigError(
            f'no demand pattern "{pattern}"', hint=f"Known: {', '.join(PATTERNS)}, or a trace file."
        )
    arrivals: list[Arrival] = []
    for index, model in enumerate(models):
        chance = Random(f"{seed} {pattern} {model}")
        role = _ROLES[index % len(_ROLES)]
        for start in _sessions(role, PATTERNS[pattern], hours * HOUR, chance):
            arrivals += _session(role, model, start, hours * HOUR, chance)
    return tuple(sorted(arrivals, key=lambda a: (a.at, a.model)))


def _sessions(role: Role, factor: float, end: float, chance: Random) -> list[float]:
    if factor <= 0:
        return []
    starts: list[float] = []
    at = 0.0
    while True:
        if role.every_seconds is not None:
            at += role.every_seconds / factor
        else:
            at += chance.expovariate(role.sessions_per_hour * factor / HOUR)
        if at >= end:
            return starts
        starts.append(at)


def _session(role: Role, model: str, start: float, end: float, chance: Random) -> list[Arrival]:
    count = 1 + int(chance.expovariate(1 / max(role.requests - 0.5, 0.1)))
    arrivals = []
    at = start
    for _ in range(count):
        if at >= end:
            break
        use = chance.expovariate(1 / role.use_seconds)
        arrivals.append(Arrival(at=at, model=model, seconds=use, keep_alive=role.keep_alive))
        at += use + chance.expovariate(1 / role.gap_seconds)
    return arrivals
