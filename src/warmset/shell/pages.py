"""What the journal of a host tells, for the verbs that read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from warmset.adapters.journal import (
    EventRow,
    LoadRow,
    Orders,
    OrdersFile,
    open_for_reading,
    state_folder,
)
from warmset.core.control.state import Remembered, State, state_from_plain
from warmset.errors import TraceError
from warmset.shell.lock import Holder, find_holder


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is known of one host's past.

    Attributes:
        state: of the last process; `None` if there is none that can be read.
        holder: who steers the host now.
        orders: given since the file was written.
    """

    folder: str
    events: tuple[EventRow, ...]
    loads: tuple[LoadRow, ...]
    state: State | None
    holder: Holder | None
    orders: Orders

    def of(self, key: str) -> Remembered | None:
        """Returns what the loop remembers of a model."""
        found = None if self.state is None else self.state.models
        return next((known for k, known in (found or {}).items() if k == key), None)


def read_story(
    environ: Mapping[str, str],
    url: str,
    *,
    key: str = "",
    name: str = "",
    since: float = 0.0,
    limit: int = 50,
) -> Story:
    """Returns the last events and loads of a host, oldest first; of one model if named.

    Raises:
        TraceError: the journal is there and cannot be read.
    """
    folder = state_folder(environ, url)
    orders = OrdersFile(folder).read()
    holder = find_holder(folder)
    pages = open_for_reading(folder)
    if pages is None:
        return Story(
            folder=str(folder), events=(), loads=(), state=None, holder=holder, orders=orders
        )
    try:
        return Story(
            folder=str(folder),
            events=pages.events(key=key, name=name, since=since, limit=limit),
            loads=pages.loads(key=key, limit=limit),
            state=_state(pages.state()),
            holder=holder,
            orders=orders,
        )
    finally:
        pages.close()


def read_decision(environ: Mapping[str, str], url: str, number: int) -> Mapping[str, object]:
    """Returns one decision with all it was made from, as plain values.

    Raises:
        TraceError: it is not kept, or the journal cannot be read.
    """
    pages = open_for_reading(state_folder(environ, url))
    row = None
    if pages is not None:
        try:
            row = pages.decision(number)
        finally:
            pages.close()
    if row is None:
        raise TraceError(
            f"decision {number} is not in the journal (any more)",
            hint="`warmset history -o wide` shows the numbers",
        )
    times = {"id": row.id, "at": row.at, "until": row.until, "repeats": row.repeats}
    return {**times, **row.body, **row.parts}


def _state(plain: object | None) -> State | None:
    try:
        return None if plain is None else state_from_plain(plain)
    except TraceError:
        return None  # of another version: the events still tell
