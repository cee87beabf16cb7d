"""`warmset evict`: like `ollama stop`, but never by accident against a pin or signs of use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from warmset.core.model import Entry, Resident
from warmset.core.settings import Settings
from warmset.errors import NotConverged, Refused
from warmset.shell.observe import Seen, see
from warmset.shell.wiring import Connection

APART_SECONDS: Final = 1.5
"""Between two looks: a deadline that slides, or a runner at work, shows. Our choice."""

GONE_WITHIN_SECONDS: Final = 10.0
"""Source: ollama-behaviour 3.7: unloads are serial, up to 5 s each."""

_POLL_SECONDS: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Evicted:
    """What came of it. `was_resident` false: there was nothing to do."""

    was_resident: bool


def evict(
    connection: Connection,
    settings: Settings,
    entry: Entry,
    *,
    is_forced: bool,
    before: Callable[[], None] = lambda: None,
) -> Evicted:
    """Unloads a model and waits until it is gone.

    Args:
        connection: the host.
        settings: the operator's words, with orders.
        entry: the model.
        is_forced: against a pin, and against signs of use.
        before: called when it is decided, right before the unload: a warmset that runs on the host
            must know by the time it sees the model gone.

    Raises:
        Refused: it is pinned, or in use.
        NotConverged: it is still listed; Ollama lets it go after its last request.
    """
    first = see(connection, settings)
    if _row(first, entry) is None:
        return Evicted(was_resident=False)
    if not is_forced:
        _refuse_pinned(settings, entry)
        connection.skip(APART_SECONDS)
        second = see(connection, settings, first.picture)
        if _row(second, entry) is None:
            return Evicted(was_resident=False)
        _refuse_busy(entry, first, second)
    before()
    connection.server.unload(entry.name)
    for _ in range(int(GONE_WITHIN_SECONDS / _POLL_SECONDS)):
        rows = connection.server.residents((entry,))
        if all(row.key != entry.key for row in rows):
            return Evicted(was_resident=True)
        connection.skip(_POLL_SECONDS)
    raise NotConverged(
        f"{entry.name} was told to go and is still resident",
        hint="Ollama lets it go after its last request",
        context={"model": entry.name},
    )


def _refuse_pinned(settings: Settings, entry: Entry) -> None:
    if settings.policy_for(entry.names).pin:
        raise Refused(
            f"{entry.name} is pinned",
            hint=f"`warmset unpin {entry.name}` first, or --force",
            context={"model": entry.name},
        )


def _refuse_busy(entry: Entry, first: Seen, second: Seen) -> None:
    signs = [
        use.reason
        for seen in (first, second)
        for use in seen.picture.use
        if use.key == entry.key and use.is_busy
    ]
    if signs:
        raise Refused(
            f"{entry.name} is in use: {signs[-1]}",
            hint="try again later, or --force: running requests end first in any case",
            context={"model": entry.name},
        )


def _row(seen: Seen, entry: Entry) -> Resident | None:
    rows = seen.observation.residents or ()
    return next((row for row in rows if row.key == entry.key), None)
