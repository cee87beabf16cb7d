"""A trace: who was asked for when, and for how long it was in use.

The one form in which demand travels: measured on a host, imported, generated, replayed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite
from typing import NamedTuple


class Request(NamedTuple):
    """One request. Units: seconds from the start of the trace, seconds of use once it is ready."""

    at: float
    model: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Trace:
    """Requests as columns: long traces are replayed many times.

    Attributes:
        keep_alives: what the client sent with each request; `None`: nothing; infinity: for ever.

    Units:
        Seconds.

    Invariants:
        All columns are of one length; `times` ascend; no time is negative or infinite.
    """

    times: tuple[float, ...]
    models: tuple[str, ...]
    seconds: tuple[float, ...]
    keep_alives: tuple[float | None, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.times) == len(self.models) == len(self.seconds), "columns differ"
        assert not self.keep_alives or len(self.keep_alives) == len(self.times), "columns differ"
        assert all(a <= b for a, b in pairwise(self.times)), "not sorted"
        assert all(t >= 0 and isfinite(t) for t in (*self.times[:1], *self.times[-1:])), "time"

    @classmethod
    def of(cls, requests: Iterable[Request]) -> Trace:
        """Returns the trace of these requests, which need not be sorted."""
        rows = sorted(requests)
        return cls(
            tuple(row.at for row in rows),
            tuple(row.model for row in rows),
            tuple(row.seconds for row in rows),
        )

    def __len__(self) -> int:
        """How many requests there are."""
        return len(self.times)

    @property
    def span_seconds(self) -> float:
        """From the start to the last request."""
        return self.times[-1] if self.times else 0.0

    def requests(self) -> list[Request]:
        """Returns the rows."""
        return list(map(Request, self.times, self.models, self.seconds))

    def counts(self) -> dict[str, int]:
        """Returns the number of requests of each model, the most asked-for first."""
        found: dict[str, int] = {}
        for model in self.models:
            found[model] = found.get(model, 0) + 1
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def only(self, models: Iterable[str]) -> Trace:
        """Returns the requests for some of the models, at the times they had."""
        kept = frozenset(models)
        rows = [i for i, model in enumerate(self.models) if model in kept]
        if len(rows) == len(self.models):
            return self
        return Trace(
            tuple(self.times[i] for i in rows),
            tuple(self.models[i] for i in rows),
            tuple(self.seconds[i] for i in rows),
            tuple(self.keep_alives[i] for i in rows) if self.keep_alives else (),
        )
