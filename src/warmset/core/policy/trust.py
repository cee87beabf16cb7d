"""How often promises came true: the realised precision of preloads."""

from __future__ import annotations

from typing import Final

MEMORY: Final = 0.98
"""Realised precision looks back over the last 50 preloads."""

AT_FIRST: Final = (1.0, 3.0)
"""Uses kept and promised before the first: one in three, so that a new host begins carefully.

The laws it has then are made of few gaps. The score on the traces moves by less than 1 % between
one in two and one in three.
"""


class Trust:
    """Weighs each promise against what came of it.

    Args:
        at_first: uses kept and promised before the first promise.
    """

    __slots__ = ("kept", "pending", "promised")

    def __init__(self, at_first: tuple[float, float] = AT_FIRST) -> None:
        self.kept, self.promised = at_first
        self.pending: dict[str, float] = {}  # preloads not used yet -> the chance they had

    @property
    def precision(self) -> float:
        """The share of what was promised that came true, at most 1."""
        return min(1.0, self.kept / self.promised)

    def promise(self, model: str, chance: float) -> None:
        """Notes that a model was preloaded, and with what chance of a use."""
        self.pending[model] = chance

    def settle(self, model: str, *, used: bool) -> None:
        """Notes that a model was used, or evicted; without a promise open it says nothing."""
        if model in self.pending:
            self.promised = self.promised * MEMORY + self.pending.pop(model)
            self.kept = self.kept * MEMORY + used
