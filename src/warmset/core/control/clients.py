"""Who was connected when something was lost: Ollama says of no request whose it was."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from warmset.core.control.actions import Finding
from warmset.core.control.config import Config
from warmset.core.control.state import State
from warmset.core.model import Observation

Result = tuple[State, tuple[Finding, ...]]

CLIENTS_NAMED: Final = 3
"""More names than that tell nothing of who it was. Our choice."""


def notice_clients(observation: Observation, config: Config, state: State, now: float) -> Result:
    """Keeps who was connected right after a model was lost or its lease replaced.

    Ollama says of no request whose it was. A client that generates, or keeps its connections, is
    still there at the next look.
    """
    del config, now
    looked = state.looked
    if not observation.clients or looked is None:
        return state, ()
    names = _listed(observation.clients)
    for key, known in state.models.items():
        if looked.at in (known.lost_at, *known.overwrites[-1:]):
            state = state.note(key, client=names)
    return state, ()


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - CLIENTS_NAMED
    return ", ".join(names[:CLIENTS_NAMED]) + (f" and {rest} more" if rest > 0 else "")
