"""What no schedule can beat: a bound from below on the load seconds of a trace.

Between two requests for a model it either stays in memory (share 1 of the gap is kept) or is
loaded again (share 0). At each request the kept gaps that span it, and the model that is asked
for, must fit together. Allowing shares between 0 and 1 makes it a linear programme, whose optimum
bounds the load seconds of every schedule that serves requests in their order, with or without
preloads. Requests that wait together can share a load, which a schedule may use to get below.

Source: Berger, Beckmann and Harchol-Balter, Practical bounds on optimal caching (SIGMETRICS'18),
section 4 (FOO), with a cost for each model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from warmset.core.demand.trace import Trace
from warmset.core.policy import ModelCost

_LARGE = (1, 2, 3)
"""No more than so many models larger than a half, a third, a quarter of the memory fit together."""


@dataclass(slots=True)
class LinearProgramme:
    """Minimise `cost @ x` where `rows` are equalities `= 0` and each x lies within its limits.

    Attributes:
        rows, columns, values: the entries of the matrix.
        upper: of each variable; the lower limit is 0.
        constant: what is to be added to the optimum.
    """

    cost: list[float] = field(default_factory=list)
    upper: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    row_count: int = 0
    constant: float = 0.0

    def variable(self, cost: float, upper: float) -> int:
        """Adds one and returns its number."""
        self.cost.append(cost)
        self.upper.append(upper)
        return len(self.cost) - 1

    def equality(self, entries: Mapping[int, float]) -> None:
        """Adds `sum of value * variable = 0`."""
        for column, value in entries.items():
            self.rows.append(self.row_count)
            self.columns.append(column)
            self.values.append(value)
        self.row_count += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """Requests in their order (never the same model twice in a row), with the gaps around them.

    Attributes:
        ends, begins: the variable of the gap that ends at a request, and that begins after it.
    """

    asked: tuple[str, ...]
    ends: tuple[int | None, ...]
    begins: tuple[int | None, ...]


def state_bound(
    trace: Trace, models: Mapping[str, ModelCost], budget_bytes: int
) -> LinearProgramme:
    """Returns the programme whose optimum (plus its constant) bounds the load seconds.

    Args:
        trace: the requests; all of their models fit alone.
        models: sizes and load seconds.
        budget_bytes: the memory.
    """
    asked = [m for i, m in enumerate(trace.models) if i == 0 or m != trace.models[i - 1]]
    made = LinearProgramme()
    ends: list[int | None] = [None] * len(asked)  # the gap that ends at a request
    begins: list[int | None] = [None] * len(asked)  # the gap that begins after it
    last: dict[str, int] = {}
    for place, model in enumerate(asked):
        seconds = models[model].load_seconds
        made.constant += seconds
        before = last.get(model)
        if before is not None:
            blocked = any(
                models[between].bytes + models[model].bytes > budget_bytes
                for between in set(asked[before + 1 : place])
            )
            gap = made.variable(-seconds, 0.0 if blocked else 1.0)
            ends[place], begins[before] = gap, gap
        last[model] = place
    gaps = Gaps(asked=tuple(asked), ends=tuple(ends), begins=tuple(begins))
    size = {name: model.bytes / budget_bytes for name, model in models.items()}
    _limit(made, gaps, size, 1.0)
    for most in _LARGE:
        large = {name: float(share > 1 / (most + 1)) for name, share in size.items()}
        if any(large[model] for model in asked):
            _limit(made, gaps, large, float(most))
    return made


def _limit(made: LinearProgramme, gaps: Gaps, weight: Mapping[str, float], limit: float) -> None:
    """Adds: at each request the kept gaps around it weigh no more than what it leaves.

    One variable for each request is what is kept across it; it differs from that across the
    request before by the gap that began there and the one that ends here.
    """
    before = None
    for place, model in enumerate(gaps.asked):
        across = made.variable(0.0, max(0.0, limit - weight[model]))
        entries = {across: 1.0}
        if before is not None:
            entries[before] = -1.0
            begun, heavy = gaps.begins[place - 1], weight[gaps.asked[place - 1]]
            if begun is not None and heavy:
                entries[begun] = entries.get(begun, 0.0) - heavy
        ended = gaps.ends[place]
        if ended is not None and weight[model]:
            entries[ended] = entries.get(ended, 0.0) + weight[model]
        made.equality(entries)
        before = across
