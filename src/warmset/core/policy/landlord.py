"""Landlord: residents pay rent by the byte."""

from __future__ import annotations

from collections.abc import Mapping

from warmset.core.policy.base import Decision, Event, Held, ModelCost, View


class Landlord:
    """Charges every resident rent in proportion to its bytes and evicts those with no credit left.

    A request renews the credit to the load seconds.

    Source: Young, On-line file caching (Algorithmica 2002): k/(k-h+1)-competitive.
    """

    events = (Event.SPACE,)

    def start(self, models: Mapping[str, ModelCost], _budget_bytes: int) -> None:
        """Forgets all credits."""
        self.models = models
        self.credit: dict[str, float] = {}

    def requested(self, _now: float, model: str) -> None:
        """Renews the credit."""
        self.credit[model] = self.models[model].load_seconds

    def decide(self, view: View) -> Decision | None:
        """Returns the victims, lowest priority class first, after collecting the rent."""
        if view.event is not Event.SPACE:
            return None
        short, tenants = view.short_bytes, dict(view.residents)
        movable = [h for h in tenants.values() if h.may_go]
        if sum(h.bytes for h in movable) < short:
            return None
        gone: list[str] = []
        for priority in sorted({h.priority for h in movable}):
            rows = [h for h in movable if h.priority == priority]
            while short > 0 and rows:
                for held in self._collect(tenants, rows):
                    if short <= 0:
                        break
                    gone.append(held.id)
                    rows.remove(held)
                    del tenants[held.id]
                    short -= held.bytes
        return Decision(evict=tuple(gone))

    def in_order(self, view: View) -> list[Held]:
        """Returns the possible victims; who can pay the rent for the shortest time goes first."""
        rows = (h for h in view.residents.values() if h.may_go)
        return sorted(rows, key=lambda h: (h.priority, self.credit.get(h.id, 0.0) / h.bytes, h.id))

    def _collect(self, tenants: Mapping[str, Held], rows: list[Held]) -> list[Held]:
        """Charges all tenants until one of `rows` is broke; returns the broke ones."""
        rent = min(self.credit.get(h.id, 0.0) / h.bytes for h in rows)
        for held in tenants.values():
            left = self.credit.get(held.id, 0.0) - rent * held.bytes
            self.credit[held.id] = left if left > 1e-9 * held.load_seconds else 0.0
        return sorted((h for h in rows if not self.credit[h.id]), key=lambda h: h.id)
