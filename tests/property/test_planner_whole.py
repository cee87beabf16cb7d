"""Bounds by whole items: exact for every set that is sought, and what they prove is so."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planner_instances import KINDS, make_instance

from warmset.core.planner import pack, proof
from warmset.core.planner.bounds import LevelBound, Surrogate
from warmset.core.planner.ground import Ground
from warmset.core.planner.problem import Effort, Item, Problem
from warmset.core.planner.whole import WholeBound, in_wholes, whole_fronts

ROWS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20)), max_size=9)
PLENTY = 100_000


def sets(rows, start=0):
    """Weight and value of every set of the rows from one on."""
    some = rows[start:]
    for mask in range(1 << len(some)):
        chosen = [row for n, row in enumerate(some) if mask >> n & 1]
        yield sum(w for w, _ in chosen), sum(v for _, v in chosen)


def bound_of(rows, room, target):
    surrogate = Surrogate(weights=tuple(w for w, _ in rows), limit=room)
    values = [v for _, v in rows]
    plain = LevelBound(surrogate, range(len(rows)), range(len(rows)), values)
    fronts = whole_fronts(rows, room, target, Effort(PLENTY))
    return WholeBound(plain, 0, fronts)


@given(ROWS, st.integers(0, 120), st.integers(0, 90))
def test_at_the_root_it_is_exact_for_what_is_sought(rows, room, target):
    """Some set of so much value fits exactly when the bound says so, and at the least weight."""
    sought = [(w, v) for w, v in sets(rows) if w <= room and v >= target]
    bound = bound_of(rows, room, target)
    least = bound.least_weight(0, target)
    assert least == min((w for w, _ in sought), default=None)
    if sought:
        assert bound.fill(0, room) == max(v for _, v in sought)


@given(ROWS, st.integers(0, 120), st.integers(0, 90), st.data())
def test_below_any_choice_it_bounds_what_is_sought(rows, room, target, data):
    """Whatever was chosen of the rows before: no set which is sought goes beyond the bound."""
    bound = bound_of(rows, room, target)
    start = data.draw(st.integers(0, len(rows)))
    before = [row for row in rows[:start] if data.draw(st.booleans())]
    spent, gained = sum(w for w, _ in before), sum(v for _, v in before)
    for weight, value in sets(rows, start):
        if spent + weight <= room and gained + value >= target:
            assert gained + bound.fill(start, room - spent) >= gained + value
            assert bound.least_weight(start, target - gained) <= weight


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 20)), min_size=1, max_size=8))
def test_what_is_better_by_one_is_still_sought(rows):
    """Bounds made for more than some value allow that value and one, and no more than there is."""
    room = max(w for w, _ in rows)
    best = max(v for w, v in sets(rows) if w <= room)
    items = tuple(Item(level=0, value=v, options=(((0, w),),)) for w, v in rows)
    ground = Ground(Problem(capacities=(room,), items=items, packed=1))
    view = ground.view(ground.mandatory(), (), 0)
    for reached in (best - 1, best):
        bound = in_wholes(ground, view, [reached], Effort(PLENTY)).bounds[0][0]
        assert (bound.least_weight(0, reached + 1) is not None) == (reached < best)


def test_a_front_that_takes_too_long_is_given_up():
    """Without an answer the bound with an item cut stays."""
    chance = random.Random(5)
    rows = [(chance.randrange(1, 1 << 36), chance.randrange(1, 1 << 36)) for _ in range(60)]
    effort = Effort(200)
    assert whole_fronts(rows, 1 << 40, 0, effort) is None
    assert effort.used < 20_000


@pytest.mark.parametrize("kind", KINDS)
def test_what_whole_items_prove_is_proved_without_them(kind, monkeypatch):
    """With next to no plain search before, the optimum is the same, and it is proved."""
    instances = [make_instance(kind, n, models=10 + n % 9, devices=1 + n % 4) for n in range(20)]
    expected = [objective(instance) for instance in instances]
    for name in ("SKIM", "PEEP", "GLANCE"):
        monkeypatch.setattr(proof, name, 1)
    monkeypatch.setattr(proof, "PRICE_SHARES", ())
    assert [objective(instance) for instance in instances] == expected


def objective(instance):
    packing = pack(instance["devices"], instance["models"], instance["max_loaded"])
    assert packing.proved
    return dict(packing.objective)
