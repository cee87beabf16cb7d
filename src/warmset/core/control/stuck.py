"""Loads that no longer happen, and loads of others that went before our own.

Ollama's queue can stop for ever while everything else answers (issue #17408): the head waits for
its victim to leave, and the victim was given a new keep-alive. Nobody else's request can be seen
waiting. What can be seen is our own preload: it stays open, no runner of it starts, and no model
comes or leaves. The documented rescue is to unload any idle model, which wakes the queue.

A preload that waits behind loads of users is called off: by the time of its turn the room that it
was meant for is theirs. So is one whose model is there and that waits on: somebody had it loaded
otherwise, and to load it anew for us would cost whoever uses it now.

Source: ollama-behaviour 3.2 (a cancelled request that is still queued is skipped), 3.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from warmset.core.control.actions import Alarm, CallOff, Finding, Preload, Severity, Unload
from warmset.core.control.drift import why_not_use
from warmset.core.control.idle import why_not_idle
from warmset.core.control.pinging import PING_LIMIT_SECONDS
from warmset.core.control.scene import Scene
from warmset.core.control.state import Running, State
from warmset.core.control.vanished import row_id
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import ModelKey, Observation
from warmset.core.replacing import replace
from warmset.core.units import MINUTE, format_seconds

LOADS: Final = frozenset({"model_came", "model_reloaded"})
"""Findings that tell of somebody's load."""

RESCUES: Final = 2
"""Rescues within the fight window. Our choice: a queue that two unloads do not wake has another
trouble, and every rescue costs somebody a load."""

ANSWER_SECONDS: Final = 1.0
"""A load is answered at the latest so long after its model is listed. Our choice."""

SLOW_LOAD_SECONDS: Final = 5 * MINUTE
"""A preload that is open for longer is told of. Our choice: a 40 GB file from a hard disk."""


def notice_moves(
    observation: Observation, state: State, now: float
) -> tuple[State, tuple[Finding, ...]]:
    """Returns the state that knows when models last came or left: then the queue was alive."""
    before = {row_id(row) for row in state.looked.residents} if state.looked else None
    present = {row_id(row) for row in observation.residents or ()}
    is_loading = any(runner.phase == "loading" for runner in observation.runners or ())
    if before == present and not is_loading and state.moved_at is not None:
        return state, ()
    if before is None and not is_loading and state.stuck_since is not None:
        return state, ()  # a clock that is set leaves nothing to compare with
    if state.stuck_since is None or (before == present and not is_loading):
        return replace(state, moved_at=now), ()
    text = f"loads happen again after {format_seconds(now - state.stuck_since)}"
    found = Finding(kind="loads_resumed", key=None, name="", text=text)
    return replace(state, moved_at=now, stuck_since=None), (found,)


def why_call_off(
    observation: Observation,
    state: State,
    news: Iterable[Finding],
    loop: LoopSettings,
    now: float,
) -> CallOff | None:
    """Returns why our own preload, or a ping that became a load, shall be called off.

    Args:
        observation, state, now: the look, and what is remembered with it.
        news: what this look showed: who came whose weights nobody knows is told only once.
        loop: for the longest load.
    """
    running = state.orders.running
    if running is None or running.is_cancelled:
        return None
    if isinstance(running.order, Preload):
        return _why_not_wait(running, observation, state, news, loop=loop, now=now)
    return _why_hang_up(running, now) if running.stage == "ping" else None


def why_give_up(state: State, loop: LoopSettings, now: float) -> CallOff | None:
    """Returns that our own preload has taken too long: no look is needed for that.

    A server that says nothing of its residents may be waited for without end, and whoever waits
    behind our load with it.
    """
    running = state.orders.running
    if running is None or running.is_cancelled or not isinstance(running.order, Preload):
        return None
    seconds = now - running.since
    if seconds <= loop.load_limit:
        return None
    return CallOff(kind="slow", reason=f"it has taken {format_seconds(seconds)}")


def _why_not_wait(
    running: Running,
    observation: Observation,
    state: State,
    news: Iterable[Finding],
    *,
    loop: LoopSettings,
    now: float,
) -> CallOff | None:
    since = running.since
    if slow := why_give_up(state, loop, now):
        return slow
    loading = {r.key for r in observation.runners or () if r.phase == "loading"}
    resident = {row.key: row.name for row in observation.residents or ()}
    if running.order.key in resident:
        return _why_not_reload(running, state, loop, now)
    if running.order.key in loading:
        return None
    names = {entry.key: entry.name for entry in observation.entries}
    first = [names[key] for key in loading if key in names]  # others are not this server's
    came = [name for key, name in resident.items() if _came_since(key, state, since)]
    came += [found.name for found in news if found.key is None and found.kind in LOADS]
    if running.listed_since is not None and now - running.listed_since > ANSWER_SECONDS:
        came.append(running.order.name)  # other weights of that name: ours were answered by now
    if first or came:
        reason = f"{(*first, *came)[0]} was loaded for somebody else before it"
        return CallOff(kind="overtaken", reason=reason)
    still = now - max(since, since if state.moved_at is None else state.moved_at)
    if observation.runners is not None and still > loop.stuck_after:
        reason = f"nothing has been loaded or unloaded for {format_seconds(still)}"
        return CallOff(kind="stuck", reason=reason)
    return None  # without a view of processes, a long load of our own looks the same


def _why_not_reload(
    running: Running, state: State, loop: LoopSettings, now: float
) -> CallOff | None:
    """A load that is over is answered at once, and a look later at the latest."""
    key, name = running.order.key, running.order.name
    there_since = state.of(key).resident_since
    if there_since is None or now - there_since < loop.tick:
        return None
    reason = f"{name} is there, and waits to be loaded anew: somebody had it loaded otherwise"
    return CallOff(kind="overtaken", reason=reason)


def _why_hang_up(running: Running, now: float) -> CallOff | None:
    seconds = now - running.since
    if seconds <= PING_LIMIT_SECONDS:
        return None
    return CallOff(
        kind="raced", reason=f"it has taken {format_seconds(seconds)}: it found no runner"
    )


def _came_since(key: ModelKey | None, state: State, since: float) -> bool:
    known = None if key is None else state.models.get(key)
    return known is not None and known.resident_since is not None and known.resident_since > since


def note_stuck(state: State, loop: LoopSettings, now: float) -> State:
    """Returns the state after a preload is called off because nothing moves."""
    since = now if state.stuck_since is None else state.stuck_since
    return replace(state, stuck_since=since, probe_at=now + loop.back_off)


def find_rescue(scene: Scene) -> Unload | None:
    """Returns the idle model of the lowest rank that may be unloaded to wake the queue."""
    state, loop, now = scene.state, scene.loop, scene.now
    recent = [at for at in state.rescues if now - at < loop.fight_window]
    if not loop.may_rescue or len(recent) >= RESCUES or why_not_use(state, "unload", now)[0]:
        return None
    if scene.wish.conflict is not None:  # then nothing is moved at all
        return None
    for candidate in sorted(scene.wish.candidates, key=lambda c: c.rank):
        is_ours = candidate.key in scene.wish.managed or loop.may_evict_unconfigured
        if not candidate.is_resident or candidate.pin or not is_ours:
            continue
        if why_not_idle(candidate.key, state, loop, now):
            continue
        reason = "nothing is loaded any more: to unload an idle model wakes Ollama's queue"
        return Unload(key=candidate.key, name=candidate.name, reason=reason)
    return None


def about_slow_load(state: State, now: float) -> tuple[Alarm, ...]:
    """Returns the alarm about our own preload if it is open for long."""
    running = state.orders.running
    if running is None or not isinstance(running.order, Preload):
        return ()
    if now - running.since < SLOW_LOAD_SECONDS:
        return ()
    key, name = running.order.key, running.order.name
    text = (
        f"the preload of {name} is open for {format_seconds(now - running.since)}: it waits behind "
        "other requests, its disk is slow, or Ollama loads nothing any more"
    )
    return (Alarm(code=f"load_slow {key}", severity=Severity.WARNING, text=text, keys=(key,)),)


def about_stuck_loads(state: State, loop: LoopSettings, now: float) -> Iterator[Alarm]:
    """Yields the alarm that stands until something is loaded or leaves."""
    if state.stuck_since is None:
        return
    cure = (
        "warmset unloads an idle model to wake it"
        if loop.may_rescue
        else "`ollama stop` of any idle model may wake it, or [policy] may_rescue = true"
    )
    text = f"Ollama has loaded nothing since {format_seconds(now - state.stuck_since)} ago: {cure}"
    yield Alarm(code="loads_stuck", severity=Severity.ERROR, text=text)
