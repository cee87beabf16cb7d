"""What the operator says."""

from __future__ import annotations

from soak.living import Living
from soak.operator import evict


class OfOperator(Living):
    """What the operator says."""

    def _edit(self, what: str) -> None:
        self.operator.edits(what)
        self._reload()

    def _reload(self) -> None:
        """SIGHUP: the file is read again, and counts from now on."""
        self.tell_judges("says")
        self.listens(self.wall, self.loop_now)
        if self.warmset is not None:
            self.warmset.loop.configure(self.said)
            self.warmset._arm()

    def _hold(self, name: str, seconds: float) -> None:
        if self.host.library.find(name) is not None:
            self.operator.holds(name, self.wall + seconds)
            self._order()
            self._holds_end()

    def _hold_end(self, name: str) -> None:
        self.operator.lets_go(name)
        self._order()

    def _order_pin(self, name: str, pin: bool) -> None:
        if self.host.library.find(name) is not None:
            self.operator.pins_it(name, pin=pin)
            self._order()

    def _evict(self, name: str, is_forced: bool, seconds: float) -> None:
        evict(self, name, is_forced=is_forced, seconds=seconds)
        self._later(seconds, self._order)

    def _budget(self, what: str, amount: float, index: int | None) -> None:
        self.operator.limits(what, amount, index)
        self._reload()

    def _make_way(self, seconds: float) -> None:
        """A program of `[yield]` runs for a while."""

        def end() -> None:
            self.operator.yielding = ""
            self._order()

        self.operator.yielding = "a game"
        self._order()
        self._later(seconds, end)
