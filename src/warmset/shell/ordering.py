"""Orders to a running warmset, and what becomes of them when none runs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from warmset.adapters.journal import (
    EventRow,
    Journal,
    Orders,
    OrdersFile,
    make_folder,
    state_folder,
)
from warmset.errors import Refused
from warmset.shell.lock import Holder, find_holder
from warmset.shell.wiring import Connection


class Desk:
    """Where orders for one host are left.

    Args:
        environ: names the state folder.
        connection: the host.
        is_twin: the host lives in this process only, so that nobody could take an order up.

    Raises:
        Refused: from `change`, for such a host.
    """

    def __init__(
        self, environ: Mapping[str, str], connection: Connection, *, is_twin: bool
    ) -> None:
        self._folder = state_folder(environ, connection.server.url)
        self._connection = connection
        self._is_twin = is_twin

    @property
    def holder(self) -> Holder | None:
        """Who steers the host now."""
        return None if self._is_twin else find_holder(self._folder)

    def read(self) -> Orders:
        """Returns the orders that count now."""
        if self._is_twin:
            return Orders()
        return OrdersFile(self._folder).read().without_past(self._connection.clock.now())

    def change(self, how: Callable[[Orders], Orders]) -> None:
        """Changes the orders."""
        if self._is_twin:
            raise Refused(
                "a twin:// host ends with this command: nobody would take the order up",
                hint="`warmset twin` serves one that lasts",
            )
        make_folder(self._folder)
        OrdersFile(self._folder).change(how, now=self._connection.clock.now())

    def note(self, kind: str, text: str, *, key: str = "", name: str = "") -> None:
        """Leaves a word of the operator in the journal."""
        if self._is_twin:
            return
        journal = Journal(make_folder(self._folder), may_mend=False)
        at = self._connection.clock.now()
        journal.record_events((EventRow(at=at, kind=kind, text=text, key=key, name=name),))
        journal.close()

    def when(self) -> str:
        """Returns when an order takes effect, for people."""
        holder = self.holder
        if holder is None:
            return "no warmset runs on this host: it counts for the next `serve` or `apply`"
        return f"the running warmset (process {holder.pid}) takes it up at its next look"

    def ask_to_reload(self, path: Path) -> str:
        """Lets the running warmset read this file again; returns what came of it, for people."""
        holder = self.holder
        if holder is None or holder.verb != "serve":
            return "no warmset runs on this host: it counts for the next `serve` or `apply`"
        if holder.config != str(path.resolve()):
            return f"the running warmset reads another file: {holder.config or 'none'}"
        with suppress(OSError):
            os.kill(holder.pid, signal.SIGHUP)
            return f"the running warmset (process {holder.pid}) was told to read it again"
        return f"tell the running warmset to read it again: kill -HUP {holder.pid}"
