"""Holding back: what was done too often, too recently, or in vain is not done again at once.

Each rule here names its bound. Without them a loop that is right at every single step can still
wear a host out: load, lose, load again.
"""

from __future__ import annotations

from typing import Final

from warmset.core.control.state import Remembered, State
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import ModelKey
from warmset.core.planner import Candidate
from warmset.core.replacing import replace
from warmset.core.units import format_seconds

PINNED: Final = "pinned: it is not unloaded, not even to place it anew"

CYCLES: Final = 2
"""Times that warmset may load *and* unload one model within the fight window: the second time the
rules contradict each other, or the host flutters. Then it is not loaded; if a client does that, it
may have to go like any other. Our choice."""


def forget_old(state: State, loop: LoopSettings, now: float) -> State:
    """Returns the state without the counts that no longer count."""
    models = {
        key: _forget(known, loop, now) if _has_counts(known) else known
        for key, known in state.models.items()
    }
    return replace(state, models=models, reloads=_recent(state.reloads, loop, now))


def _has_counts(known: Remembered) -> bool:
    return bool(
        known.client
        or known.restores
        or known.overwrites
        or known.cycles
        or known.pause
        or known.failures
    )


def _forget(known: Remembered, loop: LoopSettings, now: float) -> Remembered:
    in_peace_since = max(known.resident_since or now, known.quiet_until or 0.0)
    is_stable = now - in_peace_since > loop.fight_window
    return replace(
        known,
        restores=_recent(known.restores, loop, now),
        overwrites=_recent(known.overwrites, loop, now),
        cycles=_recent(known.cycles, loop, now),
        client=known.client if _is_recent(known, loop, now) else "",
        pause=0.0 if is_stable else known.pause,
        failures=0 if is_stable else known.failures,
    )


def _is_recent(known: Remembered, loop: LoopSettings, now: float) -> bool:
    """Whether somebody took it from us, or its lease, within the fight window."""
    marks = (
        *known.overwrites,
        *known.restores,
        *(() if known.lost_at is None else (known.lost_at,)),
    )
    return any(now - at < loop.fight_window for at in marks)


def _recent(moments: tuple[float, ...], loop: LoopSettings, now: float) -> tuple[float, ...]:
    return tuple(at for at in moments if now - at < loop.fight_window)


def step_back(state: State, loop: LoopSettings, now: float) -> State:
    """Gives a pause to every model that was restored too often, twice as long each time."""
    running = state.orders.running
    for key, known in state.models.items():
        is_lost = known.lost_at is not None and known.resident_since is None
        is_coming = running is not None and running.order.key == key
        if len(known.restores) < loop.restores_per_window or not is_lost or is_coming:
            continue
        pause = min(max(loop.back_off, 2 * known.pause), loop.back_off_limit)
        rival = known.lost_to or "an unload or a load of somebody"
        reason = (
            f"restored {len(known.restores)} times in {format_seconds(loop.fight_window)} and "
            f"lost again, last to {rival}; {name_client(known)}"
        )
        state = state.note(
            key, restores=(), pause=pause, quiet_until=now + pause, quiet_reason=reason
        )
    return state


def name_client(known: Remembered) -> str:
    """Returns who may have done it, in words: Ollama names nobody."""
    return f"the likely client: {known.client}" if known.client else "the client cannot be named"


def why_not_preload(
    candidate: Candidate, state: State, loop: LoopSettings, now: float
) -> tuple[str, float | None]:
    """Returns why a wanted model must not be loaded yet, and until when; empty if it may."""
    known = state.of(candidate.key)
    if known.quiet_until is not None and now < known.quiet_until:
        return f"paused: {known.quiet_reason}", known.quiet_until
    if len(known.cycles) >= CYCLES:
        until = known.cycles[-CYCLES] + loop.fight_window
        text = f"loaded and unloaded {len(known.cycles)} times: held back against flutter"
        return text, until
    marks = (_sent_away(known), _lost(candidate, known))
    left = max((at for at in marks if at is not None), default=None)
    if left is not None and now - left < loop.cool_down:
        return f"it left {format_seconds(now - left)} ago", left + loop.cool_down
    if _would_reload(known) and len(state.reloads) >= loop.reloads_per_window:
        text = (
            f"{len(state.reloads)} reloads in {format_seconds(loop.fight_window)}: "
            "the host is left alone"
        )
        return text, state.reloads[0] + loop.fight_window
    return "", None


def _sent_away(known: Remembered) -> float | None:
    """Who had to go only to be loaded again at its turn does so: a pause would end that plan."""
    return None if known.comes_back else known.unloaded_at


def _lost(candidate: Candidate, known: Remembered) -> float | None:
    """A pin that was pushed out comes back at once; anything else gives way for a while."""
    return None if candidate.pin else known.lost_at


def _would_reload(known: Remembered) -> bool:
    return any(at is not None for at in (known.lost_at, known.unloaded_at, known.resident_since))


def why_not_unload(
    candidate: Candidate,
    state: State,
    loop: LoopSettings,
    now: float,
    *,
    is_managed: bool,
) -> tuple[str, float | None]:
    """Returns why an idle resident must not be unloaded yet; empty if it may.

    A pin may for another pin at most, if the operator allows that (`room.stale_holders`).
    """
    known = state.of(candidate.key)
    if candidate.pin and not loop.may_reload_pins:
        return PINNED, None
    if not is_managed and not loop.may_evict_unconfigured:
        return "nobody configured it: it leaves by itself", None
    since = known.resident_since
    if since is not None and now - since < loop.min_residency:
        return f"resident for {format_seconds(now - since)} only", since + loop.min_residency
    return "", None


def is_fought_over(key: ModelKey, state: State, loop: LoopSettings) -> bool:
    """Returns whether clients overwrite a model's lease again and again."""
    return len(state.of(key).overwrites) > loop.reasserts_per_window
