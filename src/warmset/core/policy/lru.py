"""Least recently used first."""

from __future__ import annotations

from warmset.core.policy.base import Held, RankPolicy


class Lru(RankPolicy):
    """Evicts the resident whose last use lies furthest back."""

    def rank(self, held: Held) -> tuple[float | str, ...]:
        """Returns the end of the last use."""
        return (held.last_used, held.id)
