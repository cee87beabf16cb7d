"""Keeping the warm set: which leases to renew and what to bring back, from one look at a host.

Two rules stand above everything here:

- A ping is a use, and a ping to a busy eviction victim can freeze all loading (ollama-behaviour
  3.5). While there is any sign of a load, nothing is sent.
- A preload never evicts: it is sent only if Ollama's own rule lets the model in beside the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.control.leases import lease_seconds
from warmset.core.model import FOREVER, ModelKey

RENEW_BELOW_RATIO: Final = 0.5
"""A lease is renewed when less than this share of it is left: a client's shorter value shows at
the first look after it, and an untouched lease is pinged once in half its length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One resident model as the loop sees it. Units: seconds.

    `remaining` is `None` where the expiry is not known; infinite for a client's "for ever".
    """

    key: ModelKey
    remaining: float | None
    is_busy: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """Give a resident model its lease."""

    key: ModelKey
    keep_alive: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Preload:
    """Load a wanted model that is not resident."""

    key: ModelKey
    keep_alive: float
    reason: str


def keep(
    wanted: Sequence[ModelKey],
    slots: Mapping[ModelKey, int],
    held: Sequence[Held],
    *,
    is_load_pending: bool,
    admits: Callable[[ModelKey], bool],
) -> tuple[Renew | Preload, ...]:
    """Returns what to send now, the most wanted first.

    Args:
        wanted: the warm set in the order in which it shall be loaded.
        slots: of every model whose rank is managed, resident or not (`leases.assign_slots`).
        held: what is resident.
        is_load_pending: any sign that a load runs or waits.
        admits: whether Ollama would load the model now without an eviction.

    Invariants:
        At most one preload; nothing at all while a load is pending; busy models are left alone.
    """
    if is_load_pending:
        return ()
    actions: list[Renew | Preload] = []
    for model in held:
        if model.key in slots and not model.is_busy and model.remaining is not None:
            lease = lease_seconds(slots[model.key])
            if model.remaining != FOREVER and model.remaining < lease * RENEW_BELOW_RATIO:
                reason = f"{model.remaining:.0f} s left of a lease of {lease:.0f} s"
                actions.append(Renew(key=model.key, keep_alive=lease, reason=reason))
    resident = {model.key for model in held}
    for key in wanted:
        if key not in resident and key in slots and admits(key):
            reason = "wanted and not resident"
            lease = lease_seconds(slots[key])
            return (*actions, Preload(key=key, keep_alive=lease, reason=reason))
    return tuple(actions)
