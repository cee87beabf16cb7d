"""What clients do, and other tools at the same server."""

from __future__ import annotations

from soak.living import Living
from soak.story import TROUBLE_SECONDS, USUAL
from warmset.core.control.orders import (
    SendPing,
)

CUT_IN_SECONDS = {"use": 12.0, "unload": 2.0}
"""A look takes so long that somebody cuts in on: time for a load."""


class OfClients(Living):
    """What clients do, and other tools at the same server."""

    def _use(self, name: str, busy: float, keep: float | None, context: int | None) -> None:
        if self.host.is_up and self.host.library.find(name) is not None:
            self.tell_judges("used", name, keep)
            options = {} if context is None else {"num_ctx": context}
            self.host.use(name, busy, keep_alive=keep, options=options)

    def _fight(self, name: str) -> None:
        """A client unloads a model whenever it sees it."""

        def look() -> None:
            model = self.host.library.find(name)
            if self.now > TROUBLE_SECONDS:
                return
            if model is not None and self.host.is_up and model.key in self.host.scheduler.loaded:
                self.witness.disturbed()
                self.host.unload(model)
            self.timeline.after(20.0, look)

        look()

    def _contexts(self, name: str, count: int) -> None:
        """A client asks for one context and then for another, again and again."""
        for number in range(count):
            context = (2048, 16384)[number % 2]
            self.timeline.after(15.0 * number, lambda c=context: self._use(name, 1.0, None, c))

    def _nag(self, name: str, keep: float, count: int) -> None:
        """A client writes its own keep-alive again and again."""
        for number in range(count):
            self.timeline.after(20.0 * number, lambda: self._use(name, 0.3, keep, None))

    def _hang_up(self, name: str, seconds: float) -> None:
        """A client asks for a model and goes away, perhaps in the middle of its load."""
        if self.host.is_up and self.host.library.find(name) is not None:
            self.tell_judges("used", name, None)
            number = self.host.use(name, 60.0)
            self._later(seconds, lambda: self.host.cancel(number))

    def _snatch(self, count: int) -> None:
        """A model is unloaded between the list that a ping goes by and the ping."""
        self.snatches = count

    def snatch(self, ping: SendPing) -> None:
        """Unloads what is about to be pinged."""
        model = self.host.library.find(ping.name)
        if model is not None and self.host.is_up:
            self.snatches -= 1
            self.host.unload(model)

    def _meanwhile(self, what: str, name: str) -> None:
        """Between a look that leads to pings, and the pings, somebody loads or unloads a model."""
        self.meanwhile = (what, name)

    def cut_in(self, what: str, name: str) -> float:
        """Loads or unloads while a look is under way; returns how long the look takes."""
        resident = {row.model.name for row in self.host.residents()}
        names = [n for n in (name, *USUAL) if (n in resident) == (what == "unload")]
        self.witness.disturbed()
        if names and what == "use":
            self._use(names[0], 1.0, 7200.0, None)
        elif names:
            self._outsider("unload", names[0])
        return CUT_IN_SECONDS[what]

    def _outsider(self, what: str, name: str) -> None:
        """Another tool, or a person, acts on the same server."""
        model = self.host.library.find(name)
        if model is None or not self.host.is_up:
            return
        if what == "unload":
            self.host.unload(model)
        else:
            self.host.use(name, 0.0, keep_alive=1800.0)
