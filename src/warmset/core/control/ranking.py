"""Ranks by what each resident is worth per byte at this moment (`[policy] name = "worth"`).

Pins and priorities come first as ever. Within them a model is worth the load seconds that holding
it will save, by the law of its measured gaps and its idle age, less the rent of its memory; the
rent is what the poorest resident earns with its bytes. One without history counts as if its
requests per day came at random.

A change of rank is a request to the server, so two things keep the order calm: who was used just
now counts as if it had rested for a while, and nobody moves but for a clear difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import inf
from typing import Final

from warmset.core.control.state import State
from warmset.core.control.wanted import Wish
from warmset.core.demand.gaps import GapLaw, Outlook
from warmset.core.demand.measured import laws_of
from warmset.core.model import ModelKey, Observation
from warmset.core.planner import Candidate
from warmset.core.policy.rent import worth
from warmset.core.units import DAY

MARGIN: Final = 1.0
"""How much more a model must be worth than one above it to pass it: as much again.

Source: `scripts/bench_serve`'s loop on made demand (four cases): a half in its place costs a tenth
more pings and saves no waiting.
"""

RESTED_SECONDS: Final = 180.0
"""Idle ages count from here on: within a session a model is worth far more than right before and
right after it, which would cost two pings of each session.

Source: the same cases; with 0, 60, 180, 300 s there are 2.2, 1.7, 1.2, 1.15 times as many pings as
by `saving`, and 0.93, 0.92, 0.86, 0.86 times its cold seconds.
"""

_LEAST: Final = 1e-30  # of a worth, so that shares of it are defined


def rank_by_worth(
    observation: Observation, state: State, wish: Wish, now: float
) -> tuple[ModelKey, ...]:
    """Returns those who have a rank, the first to go first; see `steadied` for what changes it.

    Args:
        observation: with the gaps that were measured.
        state: who was used when, and the ranks in force.
        wish: who has a rank at all.
        now: the step's time.
    """
    laws = laws_of(observation.learnt.gaps)
    candidates = {row.key: row for row in wish.candidates}
    rows = [candidates[key] for key in wish.ranked]
    ages = {row.key: _age(state, row.key, now) for row in rows}
    earned = {row.key: _earned(row, laws.get(row.key), ages[row.key], observation) for row in rows}
    rent = min((earned[row.key] for row in rows if row.is_resident and not row.pin), default=0.0)
    worths = {
        row.key: _worth(row, laws.get(row.key), ages[row.key], rent, observation) for row in rows
    }
    slots = {row.key: state.of(row.key).slot for row in rows}
    known = {key: slot for key, slot in slots.items() if slot is not None}
    ordered: list[ModelKey] = []
    for _, group in groupby(rows, key=lambda row: (row.pin, row.priority)):
        ordered += steadied([row.key for row in group], worths, known)
    return tuple(ordered)


def steadied(
    keys: Sequence[ModelKey], worths: Mapping[ModelKey, float], slots: Mapping[ModelKey, int]
) -> list[ModelKey]:
    """Returns the order of worth that is next to the one in force.

    Args:
        keys: models of one priority.
        worths: of each, per byte.
        slots: the order in force, for those that have a place in it.

    Invariants:
        Nobody stands below one that is worth `MARGIN` less; the order that is returned, put in
        force, is returned again.
    """
    order = sorted((key for key in keys if key in slots), key=lambda key: slots[key])
    newcomers = sorted((key for key in keys if key not in slots), key=lambda k: (worths[k], k))
    for key in newcomers:
        place = next((i for i, k in enumerate(order) if worths[k] > worths[key]), len(order))
        order.insert(place, key)
    return order if _is_steady(order, worths) else _by_least(order, worths)


def _is_steady(order: Sequence[ModelKey], worths: Mapping[ModelKey, float]) -> bool:
    """Returns whether nobody stands below one that is worth clearly less, as at most looks."""
    least = inf
    for key in reversed(order):
        if worths[key] < least:
            least = worths[key]
        elif worths[key] > (1 + MARGIN) * least + _LEAST:
            return False
    return True


def _by_least(order: list[ModelKey], worths: Mapping[ModelKey, float]) -> list[ModelKey]:
    """Returns each time the first of those who are left that is not worth clearly more than any."""
    steady: list[ModelKey] = []
    while order:
        limit = (1 + MARGIN) * min(worths[key] for key in order) + _LEAST
        first = next(key for key in order if worths[key] <= limit)
        order.remove(first)
        steady.append(first)
    return steady


def _age(state: State, key: ModelKey, now: float) -> float:
    known = state.of(key)
    marks = (known.used_at, known.resident_since)
    idle = now - max((at for at in marks if at is not None), default=now)
    return max(RESTED_SECONDS, idle)


def _earned(row: Candidate, law: GapLaw | None, age: float, observation: Observation) -> float:
    """Returns load seconds saved per byte and second at best."""
    rate = _outlook(row, law, age, 0.0, observation).hit_rate
    return rate * row.load_seconds / _bytes(row, observation)


def _worth(
    row: Candidate, law: GapLaw | None, age: float, rent: float, observation: Observation
) -> float:
    """Returns load seconds that holding the model will save, per byte."""
    size = _bytes(row, observation)
    in_uses = rent * size / row.load_seconds
    outlook = _outlook(row, law, age, in_uses, observation)
    return row.load_seconds * worth(outlook, in_uses) / size


def _outlook(
    row: Candidate, law: GapLaw | None, age: float, rent: float, observation: Observation
) -> Outlook:
    if law is not None:
        return law.outlook(age, rent)
    measured = observation.learnt.requests_per_day
    per_day = measured.get(row.key, row.demand.requests_per_day)
    rate = max(per_day, _LEAST) / DAY
    return Outlook(max(0.0, 1.0 - rent / rate), rate, 1.0)


def _bytes(row: Candidate, observation: Observation) -> int:
    held = sum(observation.located.get(row.key, {}).values())
    expected = row.forecast_bytes or (row.file.file_bytes if row.file else None)
    return held or (row.on_one.upper_bytes if row.on_one else None) or expected or 1
