"""What earlier processes saw of a host, for a picture that does not begin empty."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from warmset.adapters.journal import open_for_reading, read_demand
from warmset.core.units import DAY
from warmset.errors import TraceError
from warmset.shell.board.gaps import MOST_USES
from warmset.shell.board.keeper import BoardKeeper

MOST_EVENTS: Final = 1000
PAST_SECONDS: Final = 30 * DAY
"""Uses of a month tell the habits of weeks. Our choice."""


def keeper_of(folder: Path | None, now: float) -> BoardKeeper:
    """Returns a keeper that knows the host's past; one that cannot be read is done without.

    Args:
        folder: the host's state folder; `None`: it has none.
        now: Unix seconds.
    """
    if folder is None:
        return BoardKeeper()
    try:
        pages = open_for_reading(folder)
        events = () if pages is None else pages.events(limit=MOST_EVENTS)
        if pages is not None:
            pages.close()
        uses = read_demand(folder, now - PAST_SECONDS).uses[-MOST_USES:]
    except TraceError:
        return BoardKeeper()  # who opens the journal for writing says what is wrong with it
    return BoardKeeper(
        events=((row.at, row.kind, row.name, row.text) for row in events),
        uses=((row.key, row.at) for row in uses),
    )
