"""Whether a resident model is idle, by the evidence at hand.

There is no proof of idleness: Ollama tells no request counts. So a model counts as idle only after
a while without any sign of use, and never at the first look, when there is nothing to compare with.
"""

from __future__ import annotations

from warmset.core.control.state import State
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import ModelKey, Observation
from warmset.core.units import format_seconds


def find_busy(state: State, observation: Observation, now: float) -> frozenset[ModelKey]:
    """Returns the residents with a sign, at this very look, that a request is in flight."""
    return frozenset(
        row.key
        for row in observation.residents or ()
        if row.key is not None and state.of(row.key).busy_at == now
    )


def was_told_to_go(key: ModelKey, observation: Observation) -> bool:
    """Returns whether a resident's deadline is over: an idle one leaves at once, so it is in use.

    So it is with a victim of Ollama that serves a request (ollama-behaviour 3.4).
    """
    at = observation.at
    return any(
        row.key == key and row.expires_at is not None and row.expires_at <= at
        for row in observation.residents or ()
    )


def why_not_idle(key: ModelKey, state: State, loop: LoopSettings, now: float) -> str:
    """Returns what speaks against calling a resident idle; empty if nothing does."""
    known = state.of(key)
    if known.resident_since is None or known.resident_since >= now:
        return "seen for the first time: whether it is in use is not known yet"
    if state.looked is not None and state.looked.is_first:
        return "there is no earlier look to compare with: whether it is in use is not known yet"
    if known.used_at is not None and now - known.used_at <= loop.idle_after:
        is_busy = known.busy_at == now  # then this look is the last sign of use
        return "in use" if is_busy else f"used {format_seconds(now - known.used_at)} ago"
    return ""
