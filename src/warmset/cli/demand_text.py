"""How the requests a day behind a value are shown, with what they are known from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from warmset.core.planner.candidates import Demand

KNOWN_FROM: Final = {
    "measured": "measured",
    "said": "said by the operator",
    "assumed": "assumed: nobody has described it",
}


def demand_text(demand: Demand) -> str:
    """Returns the number and, in a word, what it is known from."""
    return f"{demand.requests_per_day:.3g} ({demand.basis})"


def describe_demand(demand: Demand) -> Mapping[str, object]:
    """Returns what `-o json` has of it."""
    return {"requests_per_day": demand.requests_per_day, "basis": demand.basis}
