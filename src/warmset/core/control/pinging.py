"""Whether a ping may be sent, judged by a list of residents that was read a moment ago.

A ping is a use. To an absent model it is a load, to the victim of an eviction it is a reprieve
that can freeze all loading for ever. What cannot be excluded is not risked: the next look decides
anew.

Source: ollama-behaviour 2.4, 3.5, 3.6.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from warmset.core.control.state import Looked
from warmset.core.control.vanished import early_leavers, row_id
from warmset.core.model import ModelKey, Resident

PS_FRESH_SECONDS: Final = 1.0
"""The oldest list of residents that a ping may be based on. Source: issue 4, "Pings"."""

PING_MARGIN_SECONDS: Final = 10.0
"""No ping so close to a deadline: an expiry that is queued is not called off by a new request.

Source: ollama-behaviour 2.4; the window is milliseconds, seconds while another unload blocks.
"""

SLOW_PING_SECONDS: Final = 1.0
"""A ping that takes longer found no runner and loaded one. Source: ollama-behaviour 3.6, pings of
resident models return at once, and the shortest loads in the transcripts take more than a second.
Where processes are hidden nothing else tells of it.
"""

PING_LIMIT_SECONDS: Final = 20.0
"""A ping that is open for so long waits for a load, perhaps for ever: it is hung up on. Our choice,
between the 15 and 30 s that ollama-behaviour 1.4 advises; Ollama skips a request that is gone.
"""


def why_not_ping_any(
    rows: tuple[Resident, ...] | None,
    looked: Looked | None,
    *,
    age_seconds: float,
    wall_at: float,
) -> str:
    """Returns why nothing must be pinged now; empty when that depends on the model.

    Args:
        rows: the list just read; `None`: no answer.
        looked: the look that the decision was made from.
        age_seconds: since the list was asked for.
        wall_at: the wall clock at the answer.
    """
    if rows is None:
        return "what is resident is not known"
    if age_seconds >= PS_FRESH_SECONDS:
        return f"the list of residents is {age_seconds:.1f} s old"
    before = looked.residents if looked else ()
    gone = early_leavers(before, rows, wall_at=wall_at)
    if gone:
        return f"{gone[0].name} left early: somebody's load may wait"
    if looked and {row_id(row) for row in rows} - {row_id(row) for row in before}:
        return "somebody's model was loaded since the look"
    return ""


def why_not_ping(
    key: ModelKey, rows: tuple[Resident, ...], looked: Looked | None, *, wall_at: float
) -> str:
    """Returns why this model must not be pinged now; empty when it may."""
    row = _find(rows, key)
    last = _find(looked.residents, key) if looked else None
    if row is None:
        return "it is no longer resident"
    if last is not None and last.expires_at != row.expires_at:
        return "it was in use since the look"
    if row.expires_at is None:
        return "its deadline is not known"
    left = row.expires_at - wall_at
    return f"its deadline is {left:.0f} s away" if left < PING_MARGIN_SECONDS else ""


def _find(rows: Iterable[Resident], key: ModelKey) -> Resident | None:
    return next((row for row in rows if row.key == key), None)
