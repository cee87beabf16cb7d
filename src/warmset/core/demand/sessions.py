"""Sessions against single requests: what a count of uses hides.

A chat of forty turns is one wish for a model, not forty. Uses closer together than a pause belong
to one session.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.units import MINUTE

PAUSE_SECONDS: Final = 5 * MINUTE
"""Longest gap inside a session: Ollama's default keep-alive, which it would survive unaided.

Source: ollama-behaviour 1, `envconfig/config.go: KeepAlive`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A run of uses of one model.

    Invariants:
        `ended_at >= started_at`; `requests >= 1`.
    """

    started_at: float
    ended_at: float
    requests: int


def find_sessions(
    times: Sequence[float], pause_seconds: float = PAUSE_SECONDS
) -> tuple[Session, ...]:
    """Returns the sessions in a list of request times, which need not be sorted."""
    sessions: list[Session] = []
    run: list[float] = []
    for at in sorted(times):
        if run and at - run[-1] > pause_seconds:
            sessions.append(_close(run))
            run = []
        run.append(at)
    if run:
        sessions.append(_close(run))
    return tuple(sessions)


def single_share(sessions: Sequence[Session]) -> float | None:
    """Returns the share of sessions with one request; `None` without any session."""
    if not sessions:
        return None
    return sum(s.requests == 1 for s in sessions) / len(sessions)


def _close(run: Sequence[float]) -> Session:
    return Session(started_at=run[0], ended_at=run[-1], requests=len(run))
