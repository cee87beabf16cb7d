"""Plans with models that may be split, against trying every set under Ollama's own rules.

A split goes by what is free when it loads, so what others hold decides whether it fits.
"""

import random
from dataclasses import replace
from itertools import combinations

import pytest
from planner_hosts import best_by_routes, host, model

from warmset.core.model import DeviceId
from warmset.core.planner import plan
from warmset.core.planner.holding import can_hold
from warmset.core.planner.standing import find_route

FOUND_ONCE = (17, 19, 28, 98, 184, 216, 218, 250, 288)
"""Instances of which a plan was once called the best that was not."""


def make(seed):
    chance = random.Random(f"splits {seed}")
    sizes = [chance.choice((10, 12, 16, 24, 24)) for _ in range(chance.randint(2, 3))]
    machine = host(*sizes, maximum=chance.choice((0, 0, 0, 3)))
    models = []
    for number in range(chance.randint(2, 5)):
        size = chance.choice((2, 3, 4, 6, 8, 9, 10, 14, 18, 22, 30))
        fields = {} if chance.random() < 0.6 else {"spread": None}
        if chance.random() < 0.4:
            fields["upper"] = size * chance.choice((1.05, 1.15))
        if chance.random() < 0.3:
            fields["forecast"] = size * chance.choice((0.8, 0.9, 1.1))
        one = model("abcde"[number], size, value=chance.randint(1, 9), **fields)
        if chance.random() < 0.35:
            one = replace(one, bound_to=DeviceId(f"GPU-{chance.randrange(len(machine.gpus))}"))
        models.append(one)
    return machine, models


@pytest.mark.parametrize("seed", [*FOUND_ONCE, *range(300, 340)])
def test_no_set_that_ollama_would_load_is_worth_more(seed):
    """The plan is proved, and is as good as the best of all sets that have a route."""
    machine, models = make(seed)
    outcome = plan(models, machine)
    assert outcome.is_proved
    assert sum(m.value for m in outcome.members) == best_by_routes(machine, models)


@pytest.mark.parametrize("seed", FOUND_ONCE)
def test_pins_that_fit_by_another_split_are_held(seed):
    """Whatever set has a route can be pinned."""
    machine, models = make(seed)
    for count in range(1, len(models) + 1):
        for some in combinations(models, count):
            if find_route(machine, some) is None:
                continue
            assert can_hold(machine, some).is_possible
            pins = [replace(m, pin=m in some) for m in models]
            assert plan(pins, machine).conflict is None
