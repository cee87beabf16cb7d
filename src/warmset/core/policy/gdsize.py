"""GreedyDual-Size."""

from __future__ import annotations

from warmset.core.policy.gdsf import Gdsf


class GdSize(Gdsf):
    """Evicts the least `H = L + load_seconds / bytes`: recency bought with cost over size.

    Source: Cao and Irani, Cost-aware WWW proxy caching algorithms (1997).
    """

    def worth(self, model: str) -> float:
        """Returns load seconds per byte."""
        cost = self.models[model]
        return cost.load_seconds / cost.bytes
