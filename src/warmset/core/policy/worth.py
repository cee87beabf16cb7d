"""Warmset's own policy: value per byte of each idle model, from its gap law and its reload cost.

A resident is worth the load seconds that holding it will save, less the rent of its bytes for the
time it takes; the rent is what the last victims would have earned in the room they had. The set
of victims is the one that loses least and frees enough. With preloads allowed, `ahead.Lookahead`
brings back what is worth more than what it displaces.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from warmset.core.policy.ahead import Lookahead
from warmset.core.policy.appointments import Appointments
from warmset.core.policy.base import Decision, Event, Held, ModelCost, View
from warmset.core.policy.order import eviction_order
from warmset.core.policy.rent import NEAR_SECONDS
from warmset.core.policy.values import Values
from warmset.core.policy.victims import Candidate, best_victims

SOON_SECONDS: Final = 30.0
"""Who is likely to be asked for within it may be the next load: a few looks of the daemon, each of
which writes the order anew. Source: the score moves by less than 1 % between 10 and 600."""


class Worth:
    """Evicts the set that loses least; with `preload`, also fetches ahead.

    Args:
        preload: whether models may be loaded before anybody asks.
        fill: whether preloads also take models that nobody has asked for yet: once each into
            room that is free, and else for what others of their age are worth. Off: an operator
            would not expect a model that no one uses in memory.
        near_seconds: see `rent.NEAR_SECONDS`; an argument so that a benchmark can vary it.
    """

    def __init__(
        self, *, preload: bool = True, fill: bool = False, near_seconds: float = NEAR_SECONDS
    ) -> None:
        self.preload = preload
        self.fill = fill
        self.near_seconds = near_seconds
        ahead = (Event.IDLE, Event.LOADED, Event.WAKE) if preload else ()
        self.events: tuple[Event, ...] = (*ahead, Event.SPACE)

    def start(self, models: Mapping[str, ModelCost], budget_bytes: int) -> None:
        """Forgets everything and takes the models and the size of the pool."""
        self.models = models
        self.budget_bytes = budget_bytes
        appointments = Appointments(models) if self.preload else None
        self.values = Values(self.near_seconds, appointments)
        self.ahead = (
            None
            if appointments is None
            else Lookahead(models, self.values, appointments, fill=self.fill)
        )

    def requested(self, now: float, model: str) -> None:
        """Learns the gap that this request ends."""
        if self.ahead is not None:
            self.ahead.requested(now, model)
        self.values.requested(now, model)

    def decide(self, view: View) -> Decision | None:
        """Returns the victims of a waiting load, or what to fetch while the loader is idle."""
        if not view.short_bytes:
            return None if self.ahead is None else self.ahead.decide(view)
        rows = self._candidates(view)
        victims = best_victims(rows, view.short_bytes)
        if victims is None:
            return None
        self.values.evicted(view.now, [view.residents[v] for v in victims])
        if self.ahead is not None:
            self.ahead.evicted(view, victims)
        lost = {row.id: row.value for row in rows}
        reasons = tuple(f"{v}: {lost[v]:.2g} s of loading lost" for v in victims)
        return Decision(evict=victims, reasons=reasons)

    def in_order(self, view: View) -> list[Held]:
        """Returns the possible victims in the order that loses least, whatever comes next."""
        needs = [
            (short, self.values.chance_within(view.now, model, SOON_SECONDS))
            for model, short in view.lacking.items()
            if model in self.values
        ]
        return [view.residents[name] for name in eviction_order(self._candidates(view), needs)]

    def _candidates(self, view: View) -> list[Candidate]:
        """Returns those that may go, with what is lost with each."""
        may_go = [held for held in view.residents.values() if held.may_go]
        return self.values.candidates(view.now, may_go)
