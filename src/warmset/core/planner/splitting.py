"""Sets of which a model is split by what is free when it loads, not by the sizes of empty GPUs.

The search weighs a split by its shares of an empty host. What the others leave may suit it better:
such sets are proposed here, the best first, under bounds that hold however a split is shared out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.choice import Choice, measured
from warmset.core.planner.problem import Effort
from warmset.core.planner.search import LEAST_ITEMS, solve
from warmset.core.planner.standing import find_route
from warmset.core.planner.wanted import state_problem
from warmset.core.replacing import replace

MOST_PROPOSALS: Final = 60
"""Sets that are looked at; beyond, the worth of the next stays as the bound."""


def with_any_split(
    host: HostCapacity, candidates: Sequence[Candidate], choice: Choice, work: int, loads: Effort
) -> Choice:
    """Returns the choice, or a better one that some split makes possible, with bounds for both.

    Args:
        host: where.
        candidates: all that may be chosen.
        choice: the best with splits as on an empty host.
        work: search budget.
        loads: simulated loads.
    """
    inside = {loaded.candidate.key for loaded in choice.route.world}
    could_be_split = any(c.spread is not None and c.bound_to is None for c in candidates)
    if not could_be_split or all(c.key in inside for c in candidates):
        return choice
    cuts: list[frozenset[int]] = []
    for _ in range(MOST_PROPOSALS):
        wanted = state_problem(host, candidates, conflicts=cuts, is_loose=True)
        solution = solve(wanted.problem, work=max(0, work))
        assert solution is not None, "what the pins take at least was found to fit"
        work -= solution.nodes * max(LEAST_ITEMS, len(candidates))
        if solution.bounds <= choice.values:
            return replace(choice, bounds=choice.values)
        best = replace(choice, bounds=solution.bounds)
        if solution.objective <= choice.values or work <= 0:
            return best
        loads.was_cut_short = False
        chosen = [wanted.candidates[n] for n in sorted(solution.chosen)]
        route = find_route(host, chosen, loads)
        if route is not None:
            return measured(wanted, route, solution.bounds)
        if loads.was_cut_short or not solution.is_proved:
            return best
        cuts.append(frozenset(solution.chosen))
    return best
