"""What `pack` has reached on large instances must not be lost again. Work is counted, not timed."""

import pytest
from planner_instances import make_instance

from warmset.core.planner import pack
from warmset.core.planner.problem import Item, Problem
from warmset.core.planner.search import solve

REACHED = {
    ("mixed", 64, 8, 1): (1240, 40, 0),
    ("mixed", 64, 8, 3): (1068, 199, 0),
    ("mixed", 200, 16, 2): (2952, 159, 83),
    ("uneven", 64, 8, 1): (1103, 181, 0),
    ("uneven", 64, 8, 3): (933, 117, 97),
    ("uneven", 200, 16, 2): (2760, 63, 34),
    ("tight", 64, 8, 1): (889, 100, 0),
    ("tight", 64, 8, 3): (1019, 0, 0),
    ("tight", 200, 16, 2): (2422, 0, 0),
    ("alike", 64, 8, 1): (59, 58, 0),
    ("alike", 64, 8, 3): (73, 32, 6),
    ("alike", 200, 16, 2): (222, 11, 4),
    ("subset-sum", 64, 8, 1): (716, 116, 10),
    ("subset-sum", 64, 8, 3): (1142, 12, 0),
    ("subset-sum", 200, 16, 2): (3184, 0, 0),
    ("bound", 64, 8, 1): (793, 325, 0),
    ("bound", 64, 8, 3): (873, 160, 55),
    ("bound", 200, 16, 2): (2703, 97, 195),
}
"""(kind, models, devices, seed) -> the objective per class, highest first."""


@pytest.mark.parametrize(("where", "reached"), REACHED.items(), ids=str)
def test_no_objective_is_worse_than_it_was(where, reached):
    """Class by class, highest first, within the same budget."""
    kind, models, devices, seed = where
    instance = make_instance(kind, seed, models, devices)
    packing = pack(instance["devices"], instance["models"], instance["max_loaded"])
    values = tuple(round(value) for value in packing.objective.values())
    assert values >= reached


@pytest.mark.parametrize(("kind", "seed"), [("tight", 22), ("tight", 23), ("alike", 2)])
def test_prices_are_followed_as_long_as_they_bound_lower(kind, seed):
    """Prices that are best in their box are not yet the best there are: the box moves on."""
    instance = make_instance(kind, seed, models=200, devices=16)
    assert pack(instance["devices"], instance["models"], instance["max_loaded"]).proved


@pytest.mark.parametrize(("kind", "seed"), [("places", 5007), ("places", 6000), ("uneven", 6002)])
def test_sets_that_nearly_fill_all_gpus_are_arranged(kind, seed):
    """A bin that wastes a little more than its share is no reason to look elsewhere for long."""
    instance = make_instance(kind, seed, models=200, devices=16)
    assert pack(instance["devices"], instance["models"], instance["max_loaded"]).proved


@pytest.mark.parametrize(("kind", "seed"), [("bound", 12003), ("mixed", 12002)])
def test_whole_items_prove_in_half_the_work(kind, seed):
    """Bounds that cut an item leave these open then, one of them at the full work as well."""
    instance = make_instance(kind, seed, models=200, devices=16)
    devices, models = instance["devices"], instance["models"]
    assert pack(devices, models, instance["max_loaded"], work=20_000_000).proved


def test_prices_are_sought_where_few_models_of_a_lower_class_are_open():
    """They lead to a better set: without them, 170 is reached in the second class."""
    instance = make_instance("uneven", 12001, models=200, devices=16)
    packing = pack(instance["devices"], instance["models"], instance["max_loaded"])
    assert tuple(packing.objective.values()) >= (1946, 268, 0)


def test_lower_classes_are_bettered_even_where_a_higher_one_is_not_proved():
    """What is left of the effort goes to the classes after the one that stays open."""
    instance = make_instance("bound", 3, models=200, devices=16)
    packing = pack(instance["devices"], instance["models"], instance["max_loaded"])
    assert tuple(packing.objective.values()) >= (2523, 235, 0)


@pytest.mark.parametrize("seed", [403, 404])
def test_no_single_question_takes_more_than_the_work_that_is_left(seed):
    """Whether one set can be arranged may take longer than all the rest: it ends with the work."""
    instance = make_instance("uneven", seed, models=200, devices=16)
    devices, work = instance["devices"], 14_000_000
    items = tuple(
        Item(
            level=(90, 50, 10).index(row["priority"]),
            value=row["value"],
            options=tuple(((n, row["bytes"]),) for n in range(len(devices))),
        )
        for row in instance["models"]
    )
    capacities = tuple(device["bytes"] for device in devices)
    solution = solve(Problem(capacities=capacities, items=items, packed=16), work=work)
    assert solution.nodes <= work // len(items) * 1.05
