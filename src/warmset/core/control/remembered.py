"""What a decision owed to earlier plans, so that it can be made again exactly.

An answer to "what shall be resident" is used again while no amount of memory has moved by a grain
(`question`). A decision that was made so depends on amounts of an earlier look. They are few
numbers; everything else of that look was the same. With them the earlier plan can be made anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from warmset.core.control.actions import Decision
from warmset.core.control.config import Config
from warmset.core.control.lasting import plans_of_look, without_newcomers
from warmset.core.control.places import with_places
from warmset.core.control.question import ask
from warmset.core.control.state import State
from warmset.core.control.step import step
from warmset.core.control.wanted import Planned
from warmset.core.model import ModelKey, Observation, Reading, Resident
from warmset.core.replacing import replace


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedOn:
    """The amounts of the look that a plan was made from.

    Attributes:
        busy: who counted as in use.
        amounts: what was measured -> bytes, as `Question.amounts`.
    """

    busy: tuple[ModelKey, ...]
    amounts: tuple[tuple[tuple[str, ...], int], ...]


def find_planned_on(
    observation: Observation, config: Config, state: State, decision: Decision
) -> tuple[PlannedOn, ...]:
    """Returns which earlier amounts a decision rests on; empty: on those of its own look.

    Args:
        observation, config: what `step` was given.
        state: what it returned.
        decision: what it returned.
    """
    if decision.is_provisional or decision.trouble or not state.planned:
        return ()
    observation = with_places(observation, state)
    used = plans_of_look(state.planned)
    if without_newcomers(observation, state) is not observation:  # maybe planned for twice
        without = plans_of_look(state.planned[len(used) :])
        return tuple(_planned_on(p) for p in (*used, *without))
    own = ask(observation, config, {}, decision.at).amounts
    return tuple(_planned_on(p) for p in used if p.question.amounts != own)


def remember_again(
    observation: Observation,
    config: Config,
    state: State,
    now: float,
    planned_on: tuple[PlannedOn, ...],
) -> State:
    """Returns the state that has the earlier plans, made anew from their amounts."""
    planned: list[Planned] = []
    for earlier in planned_on:
        look = _with_amounts(observation, dict(earlier.amounts))
        made = step(look, config, replace(state, planned=()), now)[0].planned
        planned += [p for p in made if _planned_on(p) == earlier]
    return replace(state, planned=tuple(planned))


def _planned_on(planned: Planned) -> PlannedOn:
    question = planned.question
    amounts = tuple(sorted(question.amounts.items()))
    return PlannedOn(busy=tuple(sorted(question.busy)), amounts=amounts)


def _with_amounts(observation: Observation, amounts: dict[tuple[str, ...], int]) -> Observation:
    memory = observation.memory
    return replace(
        observation,
        devices=tuple(
            replace(d, free_bytes=_valued(d.free_bytes, amounts.get(("free", d.id))))
            for d in observation.devices
        ),
        memory=replace(
            memory, available_bytes=_valued(memory.available_bytes, amounts.get(("ram",)))
        ),
        residents=None
        if observation.residents is None
        else tuple(_sized(row, amounts) for row in observation.residents),
        located={
            key: {
                device: amounts.get(("held", key, device), count) for device, count in place.items()
            }
            for key, place in observation.located.items()
        },
    )


def _valued(reading: Reading[int], value: int | None) -> Reading[int]:
    return reading if value is None or reading.value is None else replace(reading, value=value)


def _sized(row: Resident, amounts: dict[tuple[str, ...], int]) -> Resident:
    what = (row.name, row.manifest_digest)
    return replace(
        row,
        size_bytes=amounts.get(("size", *what), row.size_bytes),
        size_vram_bytes=amounts.get(("vram", *what), row.size_vram_bytes),
    )
