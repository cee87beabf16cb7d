"""Guards of the step and the executor, each with what stands in its place once it is taken out."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from unittest import mock

from warmset.core.control import executor
from warmset.core.control import step as step_module

CONTROL = "warmset.core.control"


@dataclass(frozen=True)
class Mutant:
    """One guard taken out.

    Attributes:
        places: `module:name` of every place that uses the guard, from the room of the loop.
        instead: what stands there then.
        seeds: within so many stories a law must break.
    """

    name: str
    places: tuple[str, ...]
    instead: object
    seeds: int = 200

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Takes the guard out for a while."""
        with ExitStack() as stack:
            for place in self.places:
                module, _, name = place.partition(":")
                target: object = importlib.import_module(
                    module if module.startswith("..") else f".{module}", CONTROL
                )
                *owners, name = name.split(".")
                for owner in owners:
                    target = getattr(target, owner)
                stack.enter_context(mock.patch.object(target, name, self.instead))
            yield


def _nothing(*_: object, **__: object) -> str:
    return ""


def _may(*_: object, **__: object) -> tuple[str, None]:
    return "", None


def _unchanged(_observation, _config, state, _now):
    return state, ()


def _at_once(state, decision, now):
    """Begins the next order whether or not one is open."""
    state = replace(state, orders=replace(state.orders, queue=decision.sends))
    return executor._next(state, now)


def _as_if_empty(observation, config, state, now):
    """Takes a server that did not answer for one that holds nothing."""
    seen = replace(observation, residents=(), trouble="")
    return step_module.step(seen, config, state, now)


def _unconfirmed(_observation, state, _now):
    return replace(state, leaving=()), ()


MUTANTS: tuple[Mutant, ...] = (
    Mutant("idle: models in use are let go", ("levers:why_not_idle",), _nothing),
    Mutant("restraint: pins and others' models are let go", ("levers:why_not_unload",), _may),
    Mutant("restraint: reloads without bound", ("levers:why_not_preload",), _may),
    Mutant("pending: loads of others are not seen", ("step:find_foreign_load",), _nothing),
    Mutant("pending: nothing is waited for", ("step:why_silent",), _nothing),
    Mutant("room: Ollama's beliefs are not asked", ("levers:why_not_admitted",), _nothing),
    Mutant(
        "question and planner: old memory counts",
        ("question:if_fresh", "..planner.build:if_fresh"),
        lambda reading: reading,
    ),
    Mutant("step: no answer is taken for empty", ("step:_unknown",), _as_if_empty),
    Mutant("step: changed GPUs are taken over", ("step:gpu_ids", "restarts:gpu_ids"), lambda _: ()),
    Mutant("restarts: clock steps", ("restarts:_notice_clock",), _unchanged),
    Mutant("restarts: another server", ("restarts:_notice_server",), _unchanged),
    Mutant("restarts: a state of long ago", ("restarts:_notice_time",), _unchanged),
    Mutant("departures: gone is believed at once", ("step:confirm_departures",), _unconfirmed),
    Mutant("stuck: an overtaken load goes on", ("step:why_call_off",), lambda *_: None),
    Mutant("pinging: whatever the list says", ("executor:why_not_ping_any",), _nothing),
    Mutant("pinging: whatever the model does", ("executor:why_not_ping",), _nothing),
    Mutant("pinging: a ping that moved nothing", ("outcomes:_unmoved",), lambda *_: None),
    Mutant("renewing: dead runners are pinged", ("renewing:find_dead",), lambda *_: frozenset()),
    Mutant("executor: two commands at a time", ("loop:begin",), _at_once),
    Mutant(
        "executor: a load outlives its process",
        ("loop:stop",),
        lambda state: executor.Turn(state=state),
    ),
)
"""Not here: `Wish.is_blind`, behind which the planner promises nothing on unknown memory either,
and what no story shows: the order of alarms, texts, `basis`."""
