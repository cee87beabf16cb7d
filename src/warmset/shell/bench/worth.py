"""Whether a model is worth its memory: seconds of waiting saved against GiB-hours held."""

from __future__ import annotations

from dataclasses import dataclass

from warmset.core.units import GIB, HOUR

DAY_HOURS = 24.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What keeping one model warm costs and saves.

    Attributes:
        penalty_seconds: what a cold start adds to a request's first token.
        held_bytes: what the model holds while it is resident.
        requests_per_day: expected; `None`: not known.
        price: seconds of waiting that one GiB-hour is worth to the operator; `None`: not said.
    """

    penalty_seconds: float
    held_bytes: int
    requests_per_day: float | None = None
    price: float | None = None

    @property
    def held_gib(self) -> float:
        """The bytes in GiB."""
        return self.held_bytes / GIB

    @property
    def saved_seconds_per_day(self) -> float | None:
        """At most, as if each request would find the model cold; `None`: demand is not known."""
        if self.requests_per_day is None:
            return None
        return self.requests_per_day * self.penalty_seconds

    @property
    def break_even_price(self) -> float | None:
        """Seconds saved per GiB-hour if it is kept all day; below this price it is worth it."""
        saved = self.saved_seconds_per_day
        if saved is None or self.held_bytes == 0:
            return None
        return saved / (self.held_gib * DAY_HOURS)

    @property
    def is_worth_it(self) -> bool | None:
        """Whether to keep it all day; `None`: demand or price is not known."""
        even = self.break_even_price
        return None if even is None or self.price is None else even >= self.price

    @property
    def keep_alive_seconds(self) -> float | None:
        """How long to keep it after a use; `None`: the price is not known, or zero.

        Formula:
            T = penalty / (price x GiB), never worse than twice the best choice in hindsight.

        Source: the ski-rental bound, Karlin et al., "Competitive Snoopy Caching", 1988.
        """
        if not self.price or self.held_bytes == 0:
            return None
        return self.penalty_seconds / (self.price * self.held_gib) * HOUR
