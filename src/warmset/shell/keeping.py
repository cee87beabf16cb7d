"""Keeping models warm for as long as something else runs: `warmset run`.

Each model is held by an order that runs out by itself within a minute and is renewed before that,
so that nothing is held for ever by who was killed. A running warmset takes the orders up; where
none runs, one is started inside this process that fetches what is held and nothing else. Should
that one end before others that hold something, they take its place at their next renewal.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from warmset.adapters.journal import Orders
from warmset.core.model import ModelKey, normalise_name
from warmset.core.settings import Settings
from warmset.errors import NotConverged, WarmsetError
from warmset.shell.one_pass import prepare
from warmset.shell.ordering import Desk
from warmset.shell.serve import ServeOrder, Service
from warmset.shell.target import Target, find_target
from warmset.shell.warming import refuse_hopeless
from warmset.shell.wiring import TWIN_SCHEME, Connection, connect

HOLD_SECONDS: Final = 60.0
"""How long a hold outlives who held it. Our choice: some ticks of a busy loop."""

RENEW_SECONDS: Final = 15.0
"""Between two renewals: three may be missed. Our choice."""

TICK_SECONDS: Final = 2.0
"""Of the warmset inside this process: somebody waits for it."""

POLL_SECONDS: Final = 0.3
"""Between two looks at what is resident while somebody waits for it."""

END_SECONDS: Final = 3.0
"""For the warmset inside this process to give its leases back."""


class Keeping:
    """Models that are held together.

    Args:
        settings: the operator's words.
        environ: names the state folder.
        names: the models, in any form.
        say: hears what people may want to know.

    Raises:
        UnknownModel: from `begin`, the host does not have one of them.
        Refused: from `begin`, they do not fit, or nobody could take an order up.
    """

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str],
        names: Sequence[str],
        *,
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._names = names
        self._say = say
        self._stack = ExitStack()
        self._keeper: _Keeper | None = None
        self._until: dict[str, float] = {}
        self._renew_at = 0.0
        self._said_trouble = ""

    def begin(self, *, limit_seconds: float) -> None:
        """Holds the models and returns when all of them are resident.

        Raises:
            NotConverged: they are not, within the time.
        """
        self._connection = connect(self._settings, environ=self._environ)
        self._stack.callback(self._connection.close)
        self._targets = [find_target(self._connection, self._settings, n) for n in self._names]
        is_twin = self._settings.url.startswith(TWIN_SCHEME)
        self._desk = Desk(self._environ, self._connection, is_twin=is_twin)
        self._hold()
        self._note("held", "while a command runs, by the operator")
        self._refuse_what_does_not_fit()
        self._ensure_keeper()
        self._await_residents(limit_seconds)

    def renew(self) -> None:
        """Renews the holds where it is time; to be called every few seconds.

        What goes wrong is said, and does not end the command that runs meanwhile.
        """
        if time.monotonic() < self._renew_at:
            return
        try:
            self._hold()
            self._ensure_keeper()
        except WarmsetError as error:
            if error.message != self._said_trouble:
                self._say(f"the hold could not be renewed: {error.message}")
            self._said_trouble = error.message

    def end(self) -> None:
        """Lets go: ends the holds that nobody renewed since, and what was started for them."""
        try:
            if self._until:
                self._desk.change(self._without_ours)
                self._note("hold_ended", "the command has ended")
        finally:
            if self._keeper is not None:
                self._keeper.stop(within_seconds=END_SECONDS)
            self._stack.close()

    # -- inside -----------------------------------------------------------------------------------

    def _hold(self) -> None:
        until = self._connection.clock.now() + HOLD_SECONDS
        ours = {normalise_name(target.said[0]): until for target in self._targets}

        def how(orders: Orders) -> Orders:
            longer = {n: max(u, orders.holds.get(n, 0.0)) for n, u in ours.items()}
            rests = {n: u for n, u in orders.rests.items() if n not in ours}
            return replace(orders, holds={**orders.holds, **longer}, rests=rests)

        self._desk.change(how)
        self._until = ours
        self._renew_at = time.monotonic() + RENEW_SECONDS

    def _without_ours(self, orders: Orders) -> Orders:
        left = {n: u for n, u in orders.holds.items() if self._until.get(n) != u}
        return replace(orders, holds=left)

    def _refuse_what_does_not_fit(self) -> None:
        with prepare(self._settings, self._environ, may_write=False) as prepared:
            seen = prepared.work.preview()
        if seen.decision.is_provisional:
            return  # a load is under way: what fits is seen when it is over
        for target in self._targets:
            refuse_hopeless(target.name, seen.observation, seen.decision)

    def _ensure_keeper(self) -> None:
        """Starts a warmset in this process where none steers the host."""
        if self._keeper is not None and self._keeper.is_alive():
            return
        if self._desk.holder is None:
            self._keeper = _Keeper(self._held_only(), self._environ)
            self._keeper.start()

    def _held_only(self) -> Settings:
        """The operator's words, under which nothing is fetched but what is held."""
        entries = self._connection.server.entries()
        resident = {row.key for row in self._connection.server.residents(entries)}
        there = {normalise_name(n) for e in entries if e.key in resident for n in e.names}
        models = {
            name: replace(policy, pin=policy.pin and name in there, preload=False)
            for name, policy in self._settings.models.items()
        }
        loop = replace(self._settings.loop, tick=TICK_SECONDS, manages_all=False, on_stop="release")
        silent = replace(self._settings.serve, listen=None)
        return replace(self._settings, models=MappingProxyType(models), loop=loop, serve=silent)

    def _await_residents(self, limit_seconds: float) -> None:
        deadline = time.monotonic() + limit_seconds
        while missing := self._missing():
            self.renew()
            if self._keeper is not None and self._keeper.error is not None:
                raise self._keeper.error
            if time.monotonic() >= deadline:
                raise NotConverged(
                    f"not resident in time: {', '.join(t.name for t in missing)}",
                    hint="`warmset explain MODEL` tells why; --timeout waits longer",
                )
            time.sleep(POLL_SECONDS)

    def _missing(self) -> list[Target]:
        entries = tuple(target.entry for target in self._targets)
        resident: set[ModelKey | None] = {
            row.key for row in self._connection.server.residents(entries)
        }
        return [target for target in self._targets if target.entry.key not in resident]

    def _note(self, kind: str, text: str) -> None:
        for target in self._targets:
            self._desk.note(kind, text, key=target.entry.key, name=target.name)


class _Keeper(threading.Thread):
    """A `serve` inside this process, for as long as it is needed."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        super().__init__(name="keeper", daemon=True)
        self._settings = settings
        self._order = ServeOrder(
            load=lambda: settings,
            log_least="error",
            environ={k: v for k, v in environ.items() if k != "NOTIFY_SOCKET"},
            verb="run",
        )
        self._service: Service | None = None
        self._is_ending = False
        self.error: Exception | None = None  # why it ended before its time

    def run(self) -> None:
        """Takes the host's lock and keeps what is held, until `stop`."""
        try:
            with ExitStack() as stack:
                connection: Connection = connect(self._settings, environ=self._order.environ)
                stack.callback(connection.close)
                service = Service(self._order, self._settings, connection)
                state = service.take_over(stack)
                self._service = service
                if not self._is_ending:
                    service.run(state)
        except Exception as error:  # noqa: BLE001 - who waits for the models is told
            self.error = error

    def stop(self, *, within_seconds: float) -> None:
        """Ends it; an own load in flight is called off."""
        self._is_ending = True
        if self._service is not None:
            self._service.end()
        self.join(within_seconds)
