"""`warmset bench`: who may be disturbed, then the runs, under the host's lock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from warmset.adapters.journal import make_folder, state_folder
from warmset.adapters.ollama.client import OllamaServer
from warmset.core.model import Entry, ModelKey, find_entry
from warmset.core.settings import Settings
from warmset.errors import Refused
from warmset.shell.bench.measure import Download, Measured, Plan, Stopwatch
from warmset.shell.lock import Holder, take_lock
from warmset.shell.observe import Seen, see
from warmset.shell.one_pass import prepare
from warmset.shell.target import find_target
from warmset.shell.warming import only, refuse_evictions, refuse_hopeless
from warmset.shell.wiring import TWIN_SCHEME, Connection, connect

APART_SECONDS: Final = 1.5
"""Between two looks: a deadline that slides, or a runner at work, shows. Our choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchOrder:
    """What is to be measured.

    Attributes:
        names: models, in any form.
        is_forced: also while others use the host, and at the cost of other residents.
        may_pull: whether a model that is not here is downloaded first.
    """

    names: Sequence[str]
    plan: Plan
    is_forced: bool = False
    may_pull: bool = False


def bench(
    settings: Settings,
    environ: Mapping[str, str],
    order: BenchOrder,
    *,
    tell: Callable[[str], None],
) -> tuple[Measured, ...]:
    """Returns the measurements of each model, in the order given.

    Raises:
        Refused: the host is in use or steered, or others would have to go; nothing was touched.
        UnknownModel: the server does not have it.
    """
    with ExitStack() as stack:
        connection = connect(settings, environ=environ)
        stack.callback(connection.close)
        server = connection.server
        if not isinstance(server, OllamaServer):
            raise Refused("this host cannot be measured: it does not speak HTTP")
        if not settings.url.startswith(TWIN_SCHEME):
            folder = make_folder(state_folder(environ, server.url))
            holder = Holder(pid=os.getpid(), since=time.time(), verb="bench")
            stack.enter_context(take_lock(folder, holder))
        if not order.is_forced:
            _refuse_busy(connection, settings)
        downloads = {n: _pull(connection, server, n, tell) for n in order.names if order.may_pull}
        entries = [find_target(connection, settings, name).entry for name in order.names]
        if not order.is_forced:
            for entry in entries:
                _refuse_disturbance(settings, environ, entry)
        watch = Stopwatch(server, connection.clock, tell, connection.skip)
        return tuple(
            watch.measure(entry, order.plan, downloads.get(name))
            for name, entry in zip(order.names, entries, strict=True)
        )


def _refuse_busy(connection: Connection, settings: Settings) -> None:
    """Refuses a host that shows signs of requests in flight or of loads."""
    first = see(connection, settings)
    connection.skip(APART_SECONDS)
    second = see(connection, settings, first.picture)
    signs = [
        use.reason
        for seen in (first, second)
        for use in seen.picture.use
        if use.key in _known_keys(seen)
    ]
    if signs:
        raise Refused(
            f"the host is in use: {signs[-1]}",
            hint="try again when it is quiet; --force measures anyway, and disturbs who is there",
        )


def _known_keys(seen: Seen) -> set[ModelKey]:
    """Returns the models whose signs of use count.

    Where the server's process is not known, a runner that is not listed may be another server's.
    """
    if seen.survey.server is None:
        return {row.key for row in seen.observation.residents or () if row.key is not None}
    return {entry.key for entry in seen.observation.entries}


def _refuse_disturbance(settings: Settings, environ: Mapping[str, str], entry: Entry) -> None:
    """Refuses a model whose load would push out another."""
    with prepare(only(settings, entry.name), environ, may_write=False) as prepared:
        seen = prepared.work.preview()
    if all(row.key == entry.key for row in seen.observation.residents or ()):
        return  # there is nobody to push out
    hint = "--force measures it anyway, at the cost of who has to go"
    refuse_hopeless(entry.name, seen.observation, seen.decision, hint=hint)
    refuse_evictions(entry.name, seen.decision, hint=hint)


def _pull(
    connection: Connection, server: OllamaServer, name: str, tell: Callable[[str], None]
) -> Download | None:
    """Downloads a model that is not here."""
    if find_entry(server.entries(), name) is not None:
        return None
    tell(f"{name}: downloading")
    began = connection.clock.monotonic()
    count = server.pull(name)
    return Download(count=count, seconds=connection.clock.monotonic() - began)
