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
        focus: the mishaps that the guard is against; empty: stories of all kinds.
        in_ci: whether one of the first three stories shows it.
        seeds: within so many stories a law must break.
    """

    name: str
    places: tuple[str, ...]
    instead: object
    focus: tuple[str, ...] = ()
    in_ci: bool = False
    seeds: int = 100

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


def _as_before(state, *_):
    return state


def _at_once(state, decision_or_loop, now):
    """Nothing is waited for, and the next order begins whether or not one is open."""
    if not hasattr(decision_or_loop, "sends"):
        return ""
    decision = decision_or_loop
    state = replace(state, orders=replace(state.orders, queue=decision.sends))
    return executor._next(state, now)


def _after_the_end(state, decision, now, begin=executor.begin):
    """Begins orders although the process is about to end."""
    return begin(replace(state, orders=replace(state.orders, is_stopping=False)), decision, now)


def _any_end(state, event, config, now, hear=executor.hear):
    """Takes any end for that of the command that is open."""
    running = state.orders.running
    if running is not None:
        event = replace(event, number=running.number)
    return hear(state, event, config, now)


def _as_if_empty(observation, config, state, now):
    """Takes a server that did not answer for one that holds nothing."""
    seen = replace(observation, residents=(), trouble="")
    return step_module.step(seen, config, state, now)


def _unconfirmed(_observation, state, _now):
    return replace(state, leaving=()), ()


def _no_race(state, *_):
    return state, ()


PROCESS = ("crash", "stop", "crash_at", "restart", "clock", "suspend")
CLOCK = ("clock", "crash", "stop")
DRIVER = ("driver",)
WIRES = ("lost_reply", "refused", "no_effect", "doubled", "slow_ps")

MUTANTS: tuple[Mutant, ...] = (
    # -- what is seen
    Mutant("step: no answer is taken for empty", ("step:_unknown",), _as_if_empty),
    Mutant(
        "step: changed GPUs",
        ("step:gpu_ids", "restarts:gpu_ids"),
        lambda _: (),
        DRIVER,
        in_ci=True,
    ),
    Mutant(
        "question and planner: old memory counts",
        ("question:if_fresh", "..planner.build:if_fresh"),
        lambda reading: reading,
        DRIVER,
    ),
    Mutant("wanted: what is not known is not blind", ("wanted:Wish.is_blind",), False, DRIVER),
    Mutant("restarts: clock steps", ("restarts:_notice_clock",), _unchanged, CLOCK),
    Mutant("restarts: another server", ("restarts:_notice_server",), _unchanged, ("restart",)),
    Mutant("restarts: a state of long ago", ("restarts:_notice_time",), _unchanged, CLOCK),
    Mutant(
        "departures: gone is believed at once",
        ("step:confirm_departures",),
        _unconfirmed,
        ("late_release", "foreign"),
    ),
    # -- loads of others
    Mutant("pending: loads of others are not seen", ("step:find_foreign_load",), _nothing),
    Mutant("pending: nothing is waited for", ("step:why_silent",), _nothing, in_ci=True),
    Mutant("pending: bursts", ("levers:calm_at",), lambda *_: -1.0),
    Mutant("stuck: an overtaken load goes on", ("step:why_call_off",), lambda *_: None),
    Mutant("stuck: a queue that stands still", ("outcomes:note_stuck",), _as_before, ("wedge",)),
    Mutant(
        "room: Ollama's beliefs are not asked", ("levers:why_not_admitted",), _nothing, in_ci=True
    ),
    # -- whom it may touch, and how often
    Mutant("idle: models in use are let go", ("levers:why_not_idle",), _nothing, in_ci=True),
    Mutant("restraint: pins and others' models are let go", ("making_room:why_not_unload",), _may),
    Mutant("restraint: reloads without bound", ("levers:why_not_preload",), _may),
    # -- pings
    Mutant(
        "pinging: whatever the list says", ("executor:why_not_ping_any",), _nothing, ("slow_ps",)
    ),
    Mutant(
        "pinging: whatever the model does",
        ("executor:why_not_ping",),
        _nothing,
        ("slow_look", "nag"),
    ),
    Mutant(
        "pinging: a ping that moved nothing",
        ("outcomes:_unmoved",),
        lambda *_: None,
        ("edit", "outsider"),
    ),
    Mutant("outcomes: a ping that loaded something", ("executor:after_ping",), _no_race),
    Mutant(
        "renewing: dead runners are pinged",
        ("renewing:find_dead",),
        lambda *_: frozenset(),
        ("kill_runner",),
        in_ci=True,
    ),
    Mutant("renewing: a client's for ever", ("renewing:FOREVER",), -1.0),
    Mutant(
        "renewing: clients that insist", ("renewing:is_fought_over",), lambda *_: False, ("nag",)
    ),
    # -- the executor
    Mutant("executor: two commands at a time", ("step:why_silent", "loop:begin"), _at_once),
    Mutant("executor: any end is the end", ("loop:hear",), _any_end, WIRES, in_ci=True),
    Mutant("executor: goes on after its end", ("loop:begin",), _after_the_end, ("stop",)),
    Mutant(
        "executor: a load outlives its process",
        ("loop:stop",),
        lambda state: executor.Turn(state=state),
        ("stop", "slow_loads", "runtime_oom"),
    ),
)
"""Not here, since no law has told them from their absence yet: `restraint.step_back`, which no
story tries often enough; `drift.why_not_use`, beside which the pauses of each model bound the uses;
`executor._drop_queue`, behind which each further ping reads the list again; and what only words an
alarm or a reason."""
