"""Where the number of loaded models is short, a place among them counts as well as bytes."""

import random

import pytest

from warmset.core.planner import pack
from warmset.core.planner.bounds import Surrogate
from warmset.core.planner.places import place_prices, with_places
from warmset.core.planner.problem import Item, Problem

GIB = 1 << 30


def make(seed, models, devices, limit):
    chance = random.Random(f"places {seed}")
    places = [
        {"id": f"g{n}", "bytes": chance.choice((24, 24, 48, 80)) * GIB} for n in range(devices)
    ]
    rows = [
        {"id": f"m{n}", "bytes": chance.randrange(GIB // 4, 40 * GIB), "value": 1 + n * 37 % 991}
        for n in range(models)
    ]
    return places, rows, limit


@pytest.mark.parametrize("seed", range(3))
def test_small_models_do_not_take_the_places_of_better_ones(seed):
    """The gap is small although what fits best by bytes would take far too many places."""
    packing = pack(*make(seed, 200, 16, 60))
    assert len(packing.placement) <= 60
    assert packing.gap < 0.01


@pytest.mark.parametrize("seed", range(30))
def test_bytes_and_places_together_bound_every_choice(seed):
    """No set within the room and the places exceeds the joint knapsack."""
    chance = random.Random(seed)
    items = tuple(
        Item(level=0, value=chance.randint(1, 50), options=(((0, chance.randint(0, 30)),),))
        for _ in range(12)
    )
    problem = Problem(capacities=(60,), items=items, packed=1, max_count=4)
    weights = [item.options[0][0][1] for item in items]
    plain = Surrogate(weights=tuple(weights), limit=60)
    joint = with_places(problem, plain, place_prices(problem, weights))
    if joint is None:
        return
    for _ in range(200):
        some = chance.sample(range(12), chance.randint(1, 4))
        if sum(weights[n] for n in some) <= 60:
            assert sum(joint.surrogate.weights[n] for n in some) <= joint.surrogate.limit
