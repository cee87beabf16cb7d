"""What happens to memory, and to who reads it."""

from __future__ import annotations

from dataclasses import replace

from loop_hosts import gib

from soak.living import Living
from soak.story import TROUBLE_SECONDS


class OfMemory(Living):
    """What happens to memory, and to who reads it."""

    def _foreign(self, size: float, seconds: float, number: int = 0) -> None:
        card = self.host.spec.gpus[number].device
        taken = self._take(size, card)
        self._later(seconds, lambda: self._give_back(taken, card))

    def _take(self, size: float, card: str) -> int:
        """Another program takes so many GiB of a card, or what there is; returns the bytes."""
        taken = min(gib(size), self.host.cards.free(card))
        self.motives.takes()
        self.host.cards.set_foreign(card, self.host.cards.foreign(card) + taken)
        return taken

    def _give_back(self, taken: int, card: str) -> None:
        """What others took meanwhile stays theirs; all is back once the trouble is over."""
        held = self.host.cards.foreign(card) - self.host.spec.foreign_bytes.get(card, 0)
        self.host.cards.set_foreign(card, self.host.cards.foreign(card) - min(taken, held))

    def _tide(self, size: float, seconds: float, number: int = 0) -> None:
        """Another program takes memory and gives it back, again and again."""
        card = self.host.spec.gpus[number].device

        def rise() -> None:
            self.witness.disturbed()
            if self.now < TROUBLE_SECONDS:
                taken = self._take(size, card)
                self._later(seconds, lambda: fall(taken))

        def fall(taken: int) -> None:
            self._give_back(taken, card)
            self.timeline.after(seconds, rise)

        rise()

    def _ram(self, size: float, seconds: float) -> None:
        spec = self.host.spec
        self.host.spec = replace(spec, system_used_bytes=spec.system_total_bytes - gib(size))
        used = spec.system_used_bytes

        def give_back() -> None:
            self.host.spec = replace(self.host.spec, system_used_bytes=used)

        self._later(seconds, give_back)

    def _thrash(self, seconds: float) -> None:
        """Programs wait for RAM."""
        self.ram_pressure = "programs wait for memory"
        self._later(seconds, lambda: setattr(self, "ram_pressure", ""))

    def _late_release(self, lag: float, seconds: float) -> None:
        cards = self.host.cards
        cards.release_lag_seconds = lag
        self._later(
            seconds,
            lambda: setattr(cards, "release_lag_seconds", self.host.spec.release_lag_seconds),
        )

    def _driver(self, fault: str, seconds: float) -> None:
        self.faults.driver = fault
        if fault == "upgraded":  # nobody swaps a driver under a running server
            self._restart(seconds)
        self._later(seconds, lambda: setattr(self.faults, "driver", "well"))
