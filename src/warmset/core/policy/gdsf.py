"""GreedyDual-Size-Frequency, as FaasCache uses it for whole functions."""

from __future__ import annotations

from collections.abc import Mapping

from warmset.core.policy.base import Decision, Held, ModelCost, RankPolicy, View


class Gdsf(RankPolicy):
    """Evicts the least `H = L + uses * load_seconds / bytes`, where `L` is the last victim's H.

    Args:
        remember: whether the count of uses outlives an eviction. FaasCache forgets it; on hosts
            that hold 5 to 20 models the count is the better part of what is known.

    Source: Cherkasova, GDSF (1998); Fuerst and Sharma, FaasCache (ASPLOS'21), section 4.
    """

    def __init__(self, *, remember: bool = True) -> None:
        self.remember = remember

    def start(self, models: Mapping[str, ModelCost], budget_bytes: int) -> None:
        """Forgets all credits and counts."""
        super().start(models, budget_bytes)
        self.inflation = 0.0
        self.credit: dict[str, float] = {}
        self.uses: dict[str, int] = {}
        self.evicted: set[str] = set()

    def requested(self, _now: float, model: str) -> None:
        """Counts the use and renews the credit."""
        if not self.remember and model in self.evicted:
            self.uses[model] = 0
        self.evicted.discard(model)
        self.uses[model] = self.uses.get(model, 0) + 1
        self.credit[model] = self.inflation + self.worth(model)

    def worth(self, model: str) -> float:
        """Returns load seconds saved per byte, times the uses."""
        cost = self.models[model]
        return self.uses[model] * cost.load_seconds / cost.bytes

    def rank(self, held: Held) -> tuple[float | str, ...]:
        """Returns the credit, then the age."""
        return (self.credit.get(held.id, 0.0), held.last_used, held.id)

    def decide(self, view: View) -> Decision | None:
        """Returns the victims and raises the floor to the richest of them."""
        decision = super().decide(view)
        for victim in decision.evict if decision else ():
            self.inflation = max(self.inflation, self.credit.get(victim, 0.0))
            self.evicted.add(victim)
        return decision
