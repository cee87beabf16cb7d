"""Carrying out a decision without I/O: commands out, events in.

What must hold, whatever comes back and in whatever order:

- One command is open at a time. A preload therefore has the server to itself, and nothing is sent
  while it runs.
- A ping is sent only to a row of `/api/ps` that was asked for less than a second before, and only
  if that list shows no sign of a load. Afterwards the list is read again: what the race that
  remains did is found out and reported.
- Whatever an event does not answer is ignored: late, doubled and unknown events change nothing.

Source: ollama-behaviour 3.5 and 3.6; design page, "ranks as leases".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, assert_never

from warmset.core.control.actions import CallOff, Decision, Finding, Preload, Renew, Unload
from warmset.core.control.config import Config
from warmset.core.control.drift import note_tried
from warmset.core.control.orders import (
    Aborted,
    Cancel,
    Command,
    Done,
    Event,
    Failed,
    Order,
    ReadResidents,
    SendPing,
    SendPreload,
    SendUnload,
    Started,
    TimedOut,
)
from warmset.core.control.outcomes import (
    after_failure,
    after_ping,
    after_preload,
    after_unload,
    before_preload,
    finding,
)
from warmset.core.control.pinging import PS_FRESH_SECONDS, why_not_ping, why_not_ping_any
from warmset.core.control.state import LeverName, Orders, Running, Stage, State
from warmset.core.model import Resident
from warmset.core.replacing import replace

AFTER_UNLOAD_SECONDS: Final = 1.0
"""Source: ollama-behaviour 3.7: freed memory is back after 0.5 to 5 s, so one second finds most."""

AFTER_FAILURE_SECONDS: Final = 1.0
"""A failure changes what is resident; the pauses after it are per model, not here. Our choice."""

LEVERS: Final[Mapping[Stage, LeverName]] = {
    "ping": "ping",
    "preload": "preload",
    "unload": "unload",
}
"""The stages that use a lever; the others only read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What follows from a decision or an event."""

    state: State
    commands: tuple[Command, ...] = ()
    findings: tuple[Finding, ...] = ()
    look_at: float | None = None  # when a look is worth its while; `None`: as planned before


def begin(state: State, decision: Decision, now: float) -> Turn:
    """Takes over a decision's orders; what was queued before and not begun is forgotten.

    A command that is open goes on, unless the decision calls it off.
    """
    orders = state.orders
    if orders.is_stopping:
        return Turn(state=state)
    state = replace(state, orders=replace(orders, queue=decision.sends))
    if orders.running is None:
        return _next(state, now)
    if decision.calls_off is not None:
        return _call_off(state, decision.calls_off)
    return Turn(state=state)


def stop(state: State) -> Turn:
    """Begins nothing more; an own load in flight is called off."""
    return _call_off(replace(state, orders=replace(state.orders, queue=(), is_stopping=True)))


def _call_off(state: State, why: CallOff | None = None) -> Turn:
    running = state.orders.running
    if running is None or running.is_cancelled:
        return Turn(state=state)
    orders = replace(state.orders, running=replace(running, is_cancelled=True, called_off=why))
    state = replace(state, orders=orders)
    return Turn(state=state, commands=(Cancel(number=running.number),))


def hear(state: State, event: Event, config: Config, now: float) -> Turn:
    """Returns what follows from an event."""
    running = state.orders.running
    if running is None or event.number != running.number or isinstance(event, Started):
        return Turn(state=state)
    state = replace(state, orders=replace(state.orders, running=None))
    if isinstance(event, Done):
        return _done(state, running, event, config, now)
    if isinstance(event, Failed | TimedOut | Aborted):
        state, findings = after_failure(state, running, event, config, now)
        look_at = now + AFTER_FAILURE_SECONDS
        return replace(_follow(_drop_queue(state), now, findings), look_at=look_at)
    assert_never(event)


def _done(state: State, running: Running, event: Done, config: Config, now: float) -> Turn:
    order = running.order
    if running.stage == "preload":
        assert isinstance(order, Preload)
        state, findings = after_preload(state, order, now - running.since, config.loop, now)
        return replace(_follow(state, now, findings), look_at=now)
    if running.stage == "unload":
        assert isinstance(order, Unload)
        state, findings = after_unload(state, order, now)
        return replace(_follow(state, now, findings), look_at=now + AFTER_UNLOAD_SECONDS)
    assert isinstance(order, Renew)
    if running.stage == "ping":
        orders = replace(state.orders, ping_seconds=now - running.since)
        return _open(replace(state, orders=orders), "check", order, now)
    if running.stage == "read":
        return _ping_or_leave(state, running, event, now)
    state, findings = after_ping(state, order, event, config, now)
    if any(found.kind == "ping_raced" for found in findings):  # what was to follow may race too
        state = _drop_queue(state)
    return _follow(state, now, findings)


def _follow(state: State, now: float, findings: tuple[Finding, ...]) -> Turn:
    turn = _next(state, now)
    return replace(turn, findings=(*findings, *turn.findings))


def _next(state: State, now: float) -> Turn:
    """Begins the next order, if there is one."""
    if not state.orders.queue:
        return Turn(state=state)
    order, *rest = state.orders.queue
    state = replace(state, orders=replace(state.orders, queue=tuple(rest)))
    stage: Stage = (
        "preload"
        if isinstance(order, Preload)
        else "unload"
        if isinstance(order, Unload)
        else "read"
    )
    return _open(state, stage, order, now)


def _ping_or_leave(state: State, running: Running, event: Done, now: float) -> Turn:
    """Sends the ping if the list just read allows it.

    A sign of a load ends this round of pings, and of all that was to follow; a reason that
    concerns the model alone does not. A look that was taken since has seen such signs before the
    list could: it decides anew.
    """
    order = running.order
    assert isinstance(order, Renew)
    if state.looked is not None and state.looked.at > running.since:
        left = finding("ping_left_out", order, "another look was taken since it was decided")
        return _follow(state, now, (left,))
    asked_at = now - PS_FRESH_SECONDS if event.asked_at is None else event.asked_at
    wall_at = event.wall_at or 0.0
    rows = event.residents if event.wall_at is not None else None
    reason = why_not_ping_any(rows, state.looked, age_seconds=now - asked_at, wall_at=wall_at)
    if rows is None or reason:
        left = finding("ping_left_out", order, reason)
        return _follow(_drop_queue(state), now, (left,))
    reason = why_not_ping(order.key, rows, state.looked, wall_at=wall_at)
    if reason:
        return _follow(state, now, (finding("ping_left_out", order, reason),))
    row = next(r for r in rows if r.key == order.key)
    return _open(state, "ping", order, now, resident=row)


def _open(
    state: State, stage: Stage, order: Order, now: float, *, resident: Resident | None = None
) -> Turn:
    number = state.orders.number + 1
    running = Running(number=number, stage=stage, order=order, since=now)
    orders: Orders = replace(state.orders, running=running, number=number)
    command = _command(number, stage, order, resident)
    state = replace(state, orders=orders)
    if stage == "preload":
        state = before_preload(state, order, now)
    lever = LEVERS.get(stage)
    if lever is not None:
        state = note_tried(state, lever, now)
        state = state.note(order.key, order.name, touched_at=now)
    return Turn(state=state, commands=(command,))


def _command(number: int, stage: Stage, order: Order, resident: Resident | None) -> Command:
    if stage in ("read", "check"):
        return ReadResidents(number=number)
    if isinstance(order, Renew):
        assert resident is not None
        return SendPing(
            number=number,
            key=order.key,
            name=order.name,
            resident=resident,
            keep_alive=order.keep_alive,
        )
    if isinstance(order, Preload):
        return SendPreload(
            number=number,
            key=order.key,
            name=order.name,
            keep_alive=order.keep_alive,
            num_ctx=order.num_ctx,
        )
    return SendUnload(number=number, key=order.key, name=order.name)


def _drop_queue(state: State) -> State:
    return replace(state, orders=replace(state.orders, queue=()))
