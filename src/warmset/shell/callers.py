"""The right keep-alive for each caller of each model of a host: `warmset advise --for caller`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from warmset.core.callers import HABITS, Caller
from warmset.core.model import FOREVER, Entry, normalise_name
from warmset.core.settings import Settings
from warmset.core.units import HOUR, MINUTE, format_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerAdvice:
    """What one kind of caller should send for one model.

    Attributes:
        keep_alive: as it stands in a request; empty: nothing at all.
        endpoint: which request carries it.
    """

    model: str
    caller: Caller
    keep_alive: str
    endpoint: str
    reason: str


def advise_callers(
    entries: tuple[Entry, ...], settings: Settings, *, is_steered: bool
) -> tuple[CallerAdvice, ...]:
    """Returns the advice for every model, by name.

    Args:
        entries: what is installed.
        settings: a keep-alive of a class or model there counts before our own choice.
        is_steered: whether a warmset runs on the host: then nobody should send anything.
    """
    ordered = sorted(entries, key=lambda entry: entry.name)
    return tuple(
        advice for entry in ordered for advice in _of_model(entry, settings, is_steered=is_steered)
    )


def _of_model(entry: Entry, settings: Settings, *, is_steered: bool) -> Iterator[CallerAdvice]:
    policy = settings.policy_for(entry.names)
    is_managed = any(normalise_name(name) in settings.models for name in entry.names)
    callers = (Caller.EMBEDDING,) if entry.is_embedding else (Caller.INTERACTIVE, Caller.BATCH)
    for caller in callers:
        keep_alive, reason = HABITS[caller].text, HABITS[caller].reason
        if policy.keep_alive is not None and caller is not Caller.BATCH:
            keep_alive = _wire(policy.keep_alive)
            reason = f"budgets.toml keeps it for {format_seconds(policy.keep_alive)}"
        if is_steered and is_managed:
            keep_alive = ""
            reason = "warmset steers it: a value of the caller would replace its rank"
        yield CallerAdvice(
            model=entry.name,
            caller=caller,
            keep_alive=keep_alive,
            endpoint="/api/embed" if entry.is_embedding else "/api/chat, /api/generate",
            reason=reason,
        )


def _wire(seconds: float) -> str:
    """Returns seconds in the largest unit that is whole; for ever as -1 with a unit."""
    if seconds == FOREVER:
        return "-1s"
    for unit, size in (("h", HOUR), ("m", MINUTE)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:g}s"
