"""How many bytes and seconds a load really takes on a pretended host."""

from __future__ import annotations

from typing import Protocol

from warmset.core.twin.runner import LoadOrder, LoadResult


class Physics(Protocol):
    """The truth behind a load; the scheduler only ever learns its result."""

    def load(self, order: LoadOrder) -> LoadResult:
        """Returns how starting this runner ends, given the driver's free memory."""
        ...
