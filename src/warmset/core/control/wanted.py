"""What shall be resident: the planner's warm set, by the operator's words alone.

Two rules are added to the planner's:

- Within one priority, what is resident stays. The operator's priorities and pins move models;
  a mere estimate of worth only fills room.
- What nobody configured is watched, never fetched, and ranks below all that is. Unless it may be
  unloaded, it is part of the furniture: the rest is planned around it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from warmset.core.control.config import Config
from warmset.core.control.others import leave_room_to_grow
from warmset.core.control.pins import absent_pins, full_budgets, plan_pins, without_impossible
from warmset.core.control.question import EVERYTHING, Question, Unwanted, ask
from warmset.core.model import ModelKey, Observation
from warmset.core.planner import (
    ActionKind,
    Candidate,
    Conflict,
    HostCapacity,
    Need,
    Plan,
    build_candidates,
    build_host,
)
from warmset.core.planner.candidates import Spread, expected_saving
from warmset.core.planner.locate import where_told
from warmset.core.planner.standing import is_within, standing_world
from warmset.core.planner.worlds import World
from warmset.core.replacing import replace

UNMANAGED_PRIORITY: Final = -1
"""Below every priority that can be configured."""

ANSWERS_KEPT: Final = 32
"""Hosts go back and forth between a few states. Our choice: each costs a few kilobytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is wanted, and what it was made from.

    Attributes:
        candidates: managed models and residents, as the planner sees them.
        managed: keys of what the operator configured.
        worth: key -> seconds of waiting that residency saves per day, as far as known.
        ranked: keys of the managed models that have a rank, the first to go first.
        world: what is resident where, as the planner charges it; `None`: not known.
        fresh: residents as they would be loaded anew: by estimates, where `candidates` have what
            they were measured to hold, which is less for one that spilled.
        guessed: residents of which it is not known on which of several GPUs they lie.
        is_pressed: whether the residents hold more than may be used, so that somebody has to go.
        conflict: pins that this host could never hold together.
        postponed: pins that do not fit beside what other programs hold now.
        impossible: pins of which nothing can be promised, with the reason.
        absent: names of pinned models that are not installed.
    """

    host: HostCapacity
    candidates: tuple[Candidate, ...]
    managed: frozenset[ModelKey]
    worth: Mapping[ModelKey, float]
    ranked: tuple[ModelKey, ...]
    plan: Plan
    world: World | None
    fresh: Mapping[ModelKey, Candidate] = field(default_factory=dict)
    guessed: frozenset[ModelKey] = frozenset()
    is_pressed: bool = False
    conflict: Conflict | None = None
    postponed: Conflict | None = None
    impossible: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    def candidate(self, key: ModelKey) -> Candidate:
        """Returns the candidate of a model that is managed or resident."""
        return next(c for c in self.candidates if c.key == key)

    @property
    def is_blind(self) -> bool:
        """Whether a GPU's memory is not known: then nothing can be promised there."""
        return any(gpu.usable_bytes is None for gpu in self.host.gpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A question with its answer, kept since planning takes longer than looking."""

    question: Question
    wish: Wish


def make_wish(
    observation: Observation,
    config: Config,
    load_seconds: Mapping[ModelKey, float],
    now: float,
    busy: frozenset[ModelKey] = frozenset(),
    *,
    unwanted: Unwanted = EVERYTHING,
    planned: tuple[Planned, ...] = (),
) -> tuple[Planned, ...]:
    """Returns what shall be resident on this host, first of some answers worth keeping.

    Args:
        observation: one look.
        config: the operator's words.
        load_seconds: as measured here.
        now: the step's time, for holds.
        busy: residents with signs of requests in flight; they matter only if somebody has to go.
        unwanted: who is outside its windows, or kept no longer.
        planned: earlier answers, used where they hold.
    """
    question = ask(observation, config, load_seconds, now, unwanted)
    for in_use in (frozenset[ModelKey](), busy):
        question = replace(question, busy=in_use)
        same = next((p for p in planned if question.has_answer_of(p.question)), None)
        answer = same or Planned(question=question, wish=_answer(question))
        planned = (answer, *(p for p in planned if p is not answer))[:ANSWERS_KEPT]
        leaves = {c.key for c in answer.wish.plan.actions if c.kind is not ActionKind.KEEP}
        if not leaves & busy:
            break
    return planned


def _answer(question: Question) -> Wish:
    observation, settings = question.observation, question.settings
    host, where = build_host(observation, settings, located=where_told(observation))
    host = leave_room_to_grow(host, settings, observation)
    raw = build_candidates(
        observation,
        settings,
        host,
        where,
        busy=question.busy,
        load_seconds=question.load_seconds,
    )
    words = tuple(_in_the_operators_words(c, question) for c in raw)
    measured = _as_measured(words, observation)
    candidates, impossible = without_impossible(host, favour_residents(measured))
    may_evict = settings.loop.may_evict_unconfigured
    fixed = frozenset(
        c.key
        for c in candidates
        if c.is_resident and c.key not in question.managed and not c.dismissed and not may_evict
    )
    budgets = full_budgets(observation, settings)
    made, conflict, postponed = plan_pins(host, candidates, budgets, fixed)
    made = _as_worth(made, measured)
    world = standing_world(host, [c for c in candidates if c.is_resident])
    return Wish(
        host=host,
        candidates=candidates,
        managed=question.managed,
        worth={c.key: c.value for c in measured},
        ranked=_ranked(words, question, made),
        plan=made,
        world=world,
        fresh={c.key: c.afresh() for c in words if c.is_resident},
        guessed=question.guessed,
        is_pressed=world is not None and not is_within(host, world),
        conflict=conflict,
        postponed=postponed,
        impossible=impossible,
        absent=absent_pins(observation, settings),
    )


def _ranked(
    candidates: Sequence[Candidate], question: Question, made: Plan
) -> tuple[ModelKey, ...]:
    """Returns who has a rank: managed, and resident or wanted; the first to go first.

    Worth counts here by file and stated demand only: a load time that was just measured is no
    reason to ping anybody.
    """
    inside = {member.key for member in made.members}
    ranked = [
        c for c in candidates if c.key in question.managed and (c.is_resident or c.key in inside)
    ]

    def rank(candidate: Candidate) -> tuple[bool, int, float, str]:
        rate = question.settings.policy_for(candidate.names).requests_per_day
        size = None if candidate.file is None else candidate.file.file_bytes
        worth, _ = expected_saving(size, load_seconds=None, requests_per_day=rate)
        return (candidate.pin, candidate.priority, worth, candidate.key)

    return tuple(c.key for c in sorted(ranked, key=rank))


def _in_the_operators_words(candidate: Candidate, question: Question) -> Candidate:
    if candidate.key in question.held:
        return replace(candidate, pin=True, is_preloadable=True)
    if candidate.key in question.managed:
        return without_claim(candidate, question.unwanted)
    return without_claim(as_unmanaged(candidate), question.unwanted)


def as_unmanaged(candidate: Candidate) -> Candidate:
    """Returns a model that nobody configured: watched, never fetched, below all that is."""
    return replace(
        candidate, priority=UNMANAGED_PRIORITY, pin=False, is_preloadable=False, value=0.0
    )


def without_claim(candidate: Candidate, unwanted: Unwanted) -> Candidate:
    """Returns a candidate that is kept or fetched only as far as it is wanted now."""
    if candidate.key in unwanted.closed:
        candidate = replace(candidate, pin=False, is_preloadable=False)
    return replace(candidate, dismissed=unwanted.dismissed.get(candidate.key, ""))


def _as_measured(
    candidates: Sequence[Candidate], observation: Observation
) -> tuple[Candidate, ...]:
    """Residents count with the bytes that the driver shows, not with an estimate's upper bound.

    Where it does not say whose bytes are whose, Ollama's own word will do on a single GPU. What
    that leaves out, the driver's context of the process, is among what other programs hold; an
    upper bound would charge it a second time. So it is with RAM: of what residents hold there only
    what spilled counts as free without them (`planner.host_room`), all else is gone already.
    """
    rows, told = observation.residents or (), where_told(observation)
    spilled = {
        row.key: max(0, row.size_bytes - row.size_vram_bytes)
        for row in rows
        if row.size_bytes is not None and row.size_vram_bytes is not None
    }
    measured = []
    for candidate in candidates:
        place = told.get(candidate.key, {})
        if not place and len(observation.devices) == 1:
            place = candidate.located or {}
        need, spread, held = candidate.on_one, candidate.spread, sum(place.values())
        if not candidate.is_resident or held <= 0:
            measured.append(candidate)
        elif len(place) == 1:
            expected = 0 if need is None else need.ram_bytes
            ram = spilled.get(candidate.key, expected)
            need = Need(point_bytes=held, upper_bytes=held, ram_bytes=ram, basis="observed")
            measured.append(replace(candidate, on_one=need))
        elif spread is not None:
            ram = spilled.get(candidate.key, spread.ram_bytes)
            measured.append(replace(candidate, spread=_as_split(spread, held, len(place), ram)))
        else:
            measured.append(candidate)
    return tuple(measured)


def _as_split(spread: Spread, held: int, gpus: int, ram_bytes: int) -> Spread:
    """Returns the need of one that lies over several GPUs, as it is: without an upper bound."""
    fixed = min(spread.fixed_point_bytes, held // gpus)
    return replace(
        spread,
        fixed_point_bytes=fixed,
        fixed_upper_bytes=fixed,
        shared_bytes=held - fixed * gpus,
        ram_bytes=ram_bytes,
        basis="observed",
    )


def _as_worth(made: Plan, candidates: Sequence[Candidate]) -> Plan:
    """Returns the plan with each member's own worth, which `favour_residents` weighs up."""
    worth = {c.key: c.value for c in candidates}
    valued = [replace(m, value=worth[m.key]) for m in made.members]
    members = tuple(sorted(valued, key=lambda m: (not m.pin, -m.priority, -m.value, m.key)))
    objective = {
        priority: sum(m.value for m in members if m.priority == priority)
        for priority in made.objective
    }
    return replace(made, members=members, objective=objective)


def favour_residents(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Within a priority any one resident outweighs all that is not."""
    sums: dict[int, float] = {}
    for candidate in candidates:
        sums[candidate.priority] = sums.get(candidate.priority, 0.0) + candidate.value
    return tuple(
        replace(c, value=c.value + sums[c.priority] + 1.0) if c.is_resident else c
        for c in candidates
    )
