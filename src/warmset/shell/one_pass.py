"""Everything that one pass over a host needs: connection, words, lock, journal, and their end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from warmset.adapters.journal import (
    Journal,
    Orders,
    OrdersFile,
    make_folder,
    open_for_reading,
    state_folder,
)
from warmset.core.control.actions import Finding
from warmset.core.control.config import Config
from warmset.core.control.state import State, state_from_plain
from warmset.core.settings import Settings
from warmset.errors import TraceError
from warmset.ports import ModelServer
from warmset.shell.apply import Pass, in_haste
from warmset.shell.lock import Holder, take_lock
from warmset.shell.record import Recorder
from warmset.shell.said import Said
from warmset.shell.wiring import TWIN_SCHEME, Connection, connect
from warmset.shell.yielding import why_yield


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A pass that may begin, and the operator's words for it."""

    work: Pass
    said: Said
    connection: Connection

    def config(self) -> Config:
        """Returns what the decision is told; times in holds count from now."""
        now = self.connection.clock.now()
        return self.said.config(wall=now, now=now)


@contextmanager
def prepare(
    settings: Settings,
    environ: Mapping[str, str],
    *,
    may_write: bool,
    tell: Callable[[Finding], None] = lambda _: None,
) -> Iterator[Prepared]:
    """Gives a pass over the host that the settings name.

    Args:
        settings: the operator's file.
        environ: names the state folder.
        may_write: takes the lock and keeps a journal; otherwise only `preview` is of use.
        tell: hears each finding.

    Raises:
        Refused: another warmset steers this host.
    """
    settings = in_haste(settings)
    is_twin = settings.url.startswith(TWIN_SCHEME)
    with ExitStack() as stack:
        connection = connect(settings, environ=environ)
        stack.callback(connection.close)
        yielding = why_yield(settings, is_local=connection.is_local and not is_twin)
        said = Said(settings=settings, orders=Orders(), yielding=yielding)
        recorder, state = None, State()
        if not is_twin:
            folder = state_folder(environ, connection.server.url)
            if may_write:
                make_folder(folder)
                holder = Holder(pid=os.getpid(), since=time.time(), verb="apply")
                stack.enter_context(take_lock(folder, holder, wait_seconds=0.2))
                recorder = Recorder(Journal(folder))
                stack.callback(recorder.journal.close)
                state, _ = recorder.restore()
            else:
                state = _read_state(environ, connection.server.url)
            said = replace(said, orders=OrdersFile(folder).read())

        def open_server() -> ModelServer:
            return connection.server

        work = Pass(
            connection, said, state=state, recorder=recorder, open_server=open_server, tell=tell
        )
        yield Prepared(work=work, said=said, connection=connection)


def _read_state(environ: Mapping[str, str], url: str) -> State:
    """What an earlier process learnt; where it cannot be read, nothing."""
    try:
        pages = open_for_reading(state_folder(environ, url))
        plain = None if pages is None else pages.state()
        return State() if plain is None else state_from_plain(plain)
    except TraceError:
        return State()
