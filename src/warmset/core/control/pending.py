"""Signs that a load runs or waits that is not ours. While there is one, nothing is sent.

Ollama tells nothing of its queue. A runner process that is not listed yet is loading; a model that
left before its time made room; a model that came was asked for, and such requests come in bursts.
"""

from __future__ import annotations

from warmset.core.control.actions import Preload
from warmset.core.control.state import State
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import Observation
from warmset.core.units import format_seconds


def find_foreign_load(observation: Observation, state: State) -> str:
    """Returns what shows a load of somebody else at this moment; empty if nothing does."""
    running = state.orders.running
    own = running.order.key if running and isinstance(running.order, Preload) else None
    leaving = {one.key for one in state.leaving}
    for runner in observation.runners or ():
        if runner.phase == "loading" and (own is None or runner.key not in (own, None)):
            name = observation.name_of(runner.key) or "a model"
            return f"{name} is being loaded (PID {runner.pid})"
        if runner.phase == "stopping" and runner.key not in leaving:
            name = observation.name_of(runner.key) or "a model"
            return f"{name} is being unloaded (PID {runner.pid}): somebody may wait for its room"
    return ""


def why_silent(state: State, loop: LoopSettings, now: float) -> str:
    """Returns why nothing at all may be sent now; empty when something may.

    Covers what is open, what is on its way out, and a load that may be pending unseen.
    """
    running = state.orders.running
    if running is not None:
        waited = format_seconds(now - running.since)
        return f"{running.stage} of {running.order.name} is under way, {waited} so far"
    if state.leaving:
        return f"{state.leaving[0].name} is on its way out"
    seen = state.load_seen_at
    if seen is not None and now - seen < loop.settle:
        return f"{state.load_why} {format_seconds(now - seen)} ago: a load may be pending"
    return ""


def calm_at(state: State, loop: LoopSettings) -> float:
    """Returns from when on users' loads are long enough ago to load something ourselves."""
    return -1.0 if state.load_seen_at is None else state.load_seen_at + loop.calm
