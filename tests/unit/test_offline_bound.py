"""The offline bound: below every schedule, and exact where one can count by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmset.adapters.linear import can_solve, minimise
from warmset.core.demand.trace import Request, Trace
from warmset.core.policy import POLICIES, ModelCost
from warmset.core.twin.bound import state_bound
from warmset.core.twin.memory import PoolSpec
from warmset.core.twin.pool import Pool
from warmset.shell.simulate import simulate

MODELS = {
    name: ModelCost(id=name, bytes=size, load_seconds=float(load))
    for name, size, load in (("a", 4, 3), ("b", 6, 5), ("c", 3, 2), ("d", 9, 7))
}


def bound(names: str, budget: int) -> float:
    trace = Trace.of(Request(1000.0 * i, name, 0.0) for i, name in enumerate(names))
    made = state_bound(trace, MODELS, budget)
    least = minimise(made.cost, made.upper, (made.rows, made.columns, made.values), made.row_count)
    assert least is not None
    return made.constant + least


def test_the_solver_is_installed_for_the_tests() -> None:
    """The extra is among what the tests install, so nothing below is left out in silence."""
    assert can_solve()


def test_without_the_solver_the_way_to_one_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is optional: rows and curve come without it, and nothing is imported."""
    monkeypatch.setattr("warmset.adapters.linear.find_spec", lambda _: None)
    demand = Trace.of([Request(0.0, "a", 1.0), Request(50.0, "b", 1.0)])
    made = simulate(
        demand, PoolSpec(models=MODELS, budget_bytes=9), ["lru"], mode="admission", points=2
    )
    assert made.bound_seconds is None
    assert "pip install 'warmset[bound]'" in made.bound_note
    assert (len(made.rows), len(made.curve)) == (1, 2)


@pytest.mark.parametrize(
    ("names", "budget", "seconds"),
    [
        ("a", 10, 3),
        ("aaaa", 10, 3),
        ("abab", 10, 8),  # both fit
        ("abab", 9, 8 + 3 + 5),  # never together
        ("aba", 9, 3 + 5 + 3),
        ("acbca", 10, 3 + 2 + 5 + 2),  # beside `b` either stays; `c` is cheaper to bring back
    ],
)
def test_small_cases_by_hand(names: str, budget: int, seconds: float) -> None:
    """What a person finds with pencil and paper."""
    assert bound(names, budget) == pytest.approx(seconds)


def least_by_trying(names: str, budget: int) -> float:
    """The cheapest schedule of all, by dynamic programming over what is resident."""
    states = {frozenset[str](): 0.0}
    for name in names:
        after: dict[frozenset[str], float] = {}
        for held, paid in states.items():
            cost = paid + (0.0 if name in held else MODELS[name].load_seconds)
            others = sorted(held - {name})
            for mask in range(1 << len(others)):
                kept = frozenset({name, *(o for i, o in enumerate(others) if mask >> i & 1)})
                if sum(MODELS[m].bytes for m in kept) <= budget:
                    after[kept] = min(after.get(kept, 1e9), cost)
        states = after
    return min(states.values(), default=0.0)


@settings(max_examples=60, deadline=None)
@given(names=st.text("abcd", min_size=1, max_size=12), budget=st.integers(9, 22))
def test_no_schedule_is_cheaper_than_the_bound(names: str, budget: int) -> None:
    """Neither the best of all, found by trying, nor any policy."""
    low = bound(names, budget)
    assert low <= least_by_trying(names, budget) + 1e-6
    trace = Trace.of(Request(1000.0 * i, name, 0.0) for i, name in enumerate(names))
    spec = PoolSpec(models=MODELS, budget_bytes=budget, fit_share=1.0)
    for policy in ("lru", "worth-demand"):
        assert Pool(trace, spec, POLICIES[policy]()).run().load_seconds >= low - 1e-6
