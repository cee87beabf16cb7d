"""Plans with models bound to a GPU, against trying every set under Ollama's own rules.

Such a model may load only after another one: what fails alone need not fail in company.
"""

import random
from dataclasses import replace

import pytest
from planner_hosts import best_by_routes, host, model

from warmset.core.model import DeviceId
from warmset.core.planner import plan

FOUND_ONCE = (60, 147, 216, 291, 293, 299, 343, 349, 362)
"""Instances of which a plan was once called the best that was not."""


def make(seed):
    chance = random.Random(seed)
    machine = host(*[chance.choice((10, 12, 16, 24, 24)) for _ in range(chance.randint(2, 3))])
    models = []
    for number in range(chance.randint(2, 5)):
        size = chance.choice((2, 3, 4, 6, 8, 9, 10, 14, 18))
        one = model("abcde"[number], size, value=chance.randint(1, 9), spread=None)
        if chance.random() < 0.45:
            one = replace(one, bound_to=DeviceId(f"GPU-{chance.randrange(len(machine.gpus))}"))
        models.append(one)
    return machine, models


@pytest.mark.parametrize("seed", [*FOUND_ONCE, *range(40)])
def test_no_set_that_ollama_would_load_is_worth_more(seed):
    """The plan is proved, and is as good as the best of all sets that have a route."""
    machine, models = make(seed)
    outcome = plan(models, machine)
    assert outcome.is_proved
    assert sum(m.value for m in outcome.members) == best_by_routes(machine, models)


@pytest.mark.parametrize("seed", [*FOUND_ONCE, *range(60)])
def test_a_bound_pin_is_held_where_another_load_steers_it(seed):
    """It is refused only if no set with it has a route; else the best such set is the plan."""
    machine, models = make(seed)
    pin = next((n for n, m in enumerate(models) if m.bound_to is not None), None)
    if pin is None:
        return
    pinned = [replace(m, pin=n == pin) for n, m in enumerate(models)]
    outcome = plan(pinned, machine)
    best = best_by_routes(machine, pinned)
    if best is None:
        assert outcome.conflict is not None
        return
    assert outcome.conflict is None
    assert sum(m.value for m in outcome.members) == best
