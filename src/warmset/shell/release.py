"""Giving ranks back: residents get the server's own keep-alive, so that it is stock soon.

Each gets one ping under the same rules as every other; whatever speaks against it leaves the
model to its lease, which ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from warmset.core.control.pending import why_silent
from warmset.core.control.pinging import why_not_ping, why_not_ping_any
from warmset.core.control.state import State
from warmset.core.model import Entry
from warmset.core.settings import Settings
from warmset.errors import WarmsetError
from warmset.ports import Clock, ModelServer

DEFAULT_KEEP_ALIVE_SECONDS: Final = 300.0
"""Source: ollama-behaviour 2.2, `envconfig/config.go: KeepAlive`."""


def release(
    server: ModelServer,
    entries: tuple[Entry, ...],
    state: State,
    *,
    settings: Settings,
    clock: Clock,
    may_go_on: Callable[[], bool],
) -> tuple[str, ...]:
    """Gives each leased resident the server's default keep-alive; returns the names.

    Args:
        server: the host.
        entries: what is installed.
        state: who has a lease of ours, and what the last look showed.
        settings: says the server's default, if it is not Ollama's.
        clock: for the age of the list of residents.
        may_go_on: asked before each ping; the end must not wait for a slow server.
    """
    if why_silent(state, settings.loop, state.at):
        return ()  # a victim that serves somebody still would be kept, and all loading wait for it
    keep_alive = settings.server.keep_alive_seconds or DEFAULT_KEEP_ALIVE_SECONDS
    by_key = {entry.key: entry for entry in entries}
    released: list[str] = []
    try:
        for key, known in state.models.items():
            if known.lease is None or key not in by_key or not may_go_on():
                continue
            if known.busy_at == state.at or f"runner_gone {key}" in state.raised:
                continue  # the one may be somebody's victim, the other would be loaded
            asked_at = clock.monotonic()
            rows = server.residents(entries)
            wall = clock.now()
            age = clock.monotonic() - asked_at
            if why_not_ping_any(rows, state.looked, age_seconds=age, wall_at=wall):
                return tuple(released)
            if why_not_ping(key, rows, state.looked, wall_at=wall):
                continue
            row = next(row for row in rows if row.key == key)
            server.ping(by_key[key], row, keep_alive=keep_alive)
            released.append(row.name)
    except WarmsetError:
        return tuple(released)  # the lease ends by itself
    return tuple(released)
