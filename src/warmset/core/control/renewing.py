"""Which leases to give or renew now: ranks written into Ollama.

A managed resident is pinged when its rank changed, when a client replaced its lease and it is
pinned, and when half of the lease is gone. What shall leave is not renewed, unless it is pinned.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from warmset.core.control.actions import Renew
from warmset.core.control.config import Config
from warmset.core.control.drift import why_not_use
from warmset.core.control.durations import raise_base
from warmset.core.control.leases import assign_slots, lease_seconds
from warmset.core.control.pinging import PING_MARGIN_SECONDS
from warmset.core.control.restraint import is_fought_over
from warmset.core.control.scene import Scene
from warmset.core.control.state import State
from warmset.core.control.wanted import Wish
from warmset.core.model import FOREVER, ModelKey, Observation, Resident
from warmset.core.planner.result import ActionKind
from warmset.core.replacing import replace
from warmset.core.settings import merge_server
from warmset.core.units import format_seconds

RENEW_BELOW_RATIO: Final = 0.5
"""A lease is renewed when less than this share of it is left: one ping in half its length."""

SAME_SECONDS: Final = 1.0
"""Two values closer than this are the same lease: the wire carries whole seconds."""


LAST_MOMENT_SECONDS: Final = 60.0
"""A pin that is fought over is left its client's value, but not to the end. Our choice: several
ticks before `PING_MARGIN_SECONDS`."""


def rank_leases(observation: Observation, config: Config, state: State, wish: Wish) -> State:
    """Returns the state with the base and the slots of this look."""
    server = merge_server(config.settings.server, observation.settings).keep_alive_seconds
    foreign = [known.foreign for known in state.models.values()]
    base = max(state.base, config.loop.lease_base)
    limit = config.loop.lease_base_limit
    state = replace(state, base=raise_base(base, (server, *foreign), limit=limit))
    held = {key: m.slot for key, m in state.models.items() if m.slot is not None}
    slots = assign_slots(wish.ranked, held)
    for key in {*held, *slots}:
        if held.get(key) != slots.get(key):
            name = next((c.name for c in wish.candidates if c.key == key), state.of(key).name)
            state = state.note(key, name, slot=slots.get(key))
    return state


def find_renewals(scene: Scene, unloaded: Collection[ModelKey] = ()) -> tuple[Renew, ...]:
    """Returns the pings that are due, the soonest to expire first, at most a tick's worth.

    Args:
        scene: whose models.
        unloaded: who is sent away by this decision, whether the plan says so or not.
    """
    observation, state, wish, now = scene.observation, scene.state, scene.wish, scene.now
    if state.pings_quiet_until is not None and now < state.pings_quiet_until:
        return ()
    if why_not_use(state, "ping", now)[0]:
        return ()
    pins = {c.key for c in wish.candidates if c.pin}
    leaves = {c.key for c in wish.plan.actions if c.kind in (ActionKind.UNLOAD, ActionKind.WAIT)}
    members = {member.key for member in wish.plan.members}
    # Who is only to be loaded anew stays until it may.
    going = {*(leaves - pins - members), *unloaded}
    dead = find_dead(observation, state)
    due = []
    for row in observation.residents or ():
        if row.key is None or row.key in going | dead:
            continue
        left = None if row.expires_at is None else row.expires_at - observation.at
        renew = _renewal(row, left, scene, is_pin=row.key in pins)
        if renew is not None and left is not None:
            due.append((left, renew))
    due.sort(key=lambda pair: pair[0])
    return tuple(renew for _, renew in due[: scene.loop.pings_per_tick])


def find_dead(observation: Observation, state: State) -> frozenset[ModelKey]:
    """Returns the residents whose process was seen and is gone: a ping would load them anew.

    Ollama lists a runner that was killed until somebody asks for it (transcript 29). A process
    that was never seen proves nothing: it may be hidden.
    """
    if observation.runners is None:
        return frozenset()
    alive = {runner.key for runner in observation.runners}
    listed = {row.key for row in observation.residents or () if row.key is not None}
    return frozenset(key for key in listed - alive if state.of(key).pid is not None)


def _renewal(row: Resident, left: float | None, scene: Scene, *, is_pin: bool) -> Renew | None:
    assert row.key is not None
    state, loop, now = scene.state, scene.loop, scene.now
    known = state.of(row.key)  # without a slot: nobody configured it, or it has no rank
    if known.slot is None or left is None or left < PING_MARGIN_SECONDS or known.busy_at == now:
        return None
    lease = lease_seconds(known.slot, state.base)
    is_clients = known.is_overruled and not is_pin
    if is_clients or (left == FOREVER and not loop.may_overwrite_infinite):
        return None
    if is_fought_over(row.key, state, loop) and left > LAST_MOMENT_SECONDS:
        return None
    if known.quiet_until is not None and now < known.quiet_until:
        return None
    reason = _why(known.lease, left, lease)
    is_rank_only = known.lease is not None and left >= lease * RENEW_BELOW_RATIO
    if not reason or (is_rank_only and why_not_use(state, "order", now)[0]):
        return None
    basis = {"left": min(left, 1e12), "lease": lease, "slot": known.slot, "base": state.base}
    return Renew(key=row.key, name=row.name, keep_alive=lease, reason=reason, basis=basis)


def _why(held: float | None, left: float, lease: float) -> str:
    if held is None:
        return f"{format_seconds(left)} left and no lease of ours"
    if abs(held - lease) > SAME_SECONDS:
        return f"its rank changed: {format_seconds(held)} becomes {format_seconds(lease)}"
    if left < lease * RENEW_BELOW_RATIO:
        return f"{format_seconds(left)} left of a lease of {format_seconds(lease)}"
    return ""
