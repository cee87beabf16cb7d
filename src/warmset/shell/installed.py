"""What is installed and which version answers, asked for every few looks of a loop.

Both change seldom, and a calm host is not asked about them at each tick. They are asked for anew
when a resident is seen that belongs to no installed model, and when the server was restarted.
"""

from __future__ import annotations

from typing import Final

from warmset.core.host.processes import ProcessFacts
from warmset.core.model import Entry, Resident

LOOKS: Final = 6
"""Half a minute at the usual tick: so long a pull or a deletion may go unnoticed. Our choice."""


class Installed:
    """What the last answers said."""

    def __init__(self) -> None:
        self.entries: tuple[Entry, ...] = ()
        self.version: str | None = None
        self._left = 0
        self._odd: frozenset[str] = frozenset()
        self._server: tuple[int, float] | None = None

    @property
    def is_due(self) -> bool:
        """Whether the server shall be asked at this look."""
        return self._left <= 0

    def learn(self, entries: tuple[Entry, ...], version: str | None) -> None:
        """Takes over fresh answers; a version that did not come is asked for again."""
        self.entries, self.version = entries, version
        self._left = LOOKS if version is not None else 1

    def check(self, residents: tuple[Resident, ...] | None, server: ProcessFacts | None) -> None:
        """Counts a look, and ends what it contradicts."""
        self._left -= 1
        odd = frozenset(row.manifest_digest for row in residents or () if row.key is None)
        started = None if server is None else (server.pid, server.started_at)
        if odd - self._odd or (self._server is not None and started != self._server):
            self._left = 0
        self._odd, self._server = odd, started

    def forget(self) -> None:
        """Asks again at the next look."""
        self._left = 0
