"""`pack` against CP-SAT: the same optimum on random and on hard instances."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from planner_instances import KINDS, make_instance

from warmset.core.planner import pack
from warmset.errors import Refused

ORACLE = Path(__file__).parent.parent / "cpsat_oracle.py"
INSTANCES = int(os.environ.get("PLANNER_ORACLE_INSTANCES", "25"))


def ask_oracle(instances):
    answer = subprocess.run(
        [sys.executable, str(ORACLE)],
        input=json.dumps(instances),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(answer.stdout)


def objective(instance):
    try:
        packing = pack(instance["devices"], instance["models"], instance["max_loaded"])
    except Refused:
        return None
    assert packing.proved, json.dumps(instance)
    return [round(value) for value in packing.objective.values()]


@pytest.mark.parametrize("kind", KINDS)
def test_the_optimum_is_that_of_an_exact_solver(kind):
    """On every instance both agree on the objective of each class, or on the refusal."""
    instances = [
        make_instance(kind, seed, models=4 + seed % 12, devices=1 + seed % 4)
        for seed in range(INSTANCES)
    ]
    for instance, answer in zip(instances, ask_oracle(instances), strict=True):
        expected = None if answer is None else answer["objective"]
        assert objective(instance) == expected, json.dumps(instance)


@pytest.mark.parametrize(("kind", "seed"), [("uneven", 3), ("bound", 6), ("subset-sum", 5)])
def test_sets_that_nearly_fill_eight_gpus_are_told_apart(kind, seed):
    """Where hundreds of sets miss fitting by little, the optimum is still proved."""
    instance = make_instance(kind, seed, models=64, devices=8)
    packing = pack(instance["devices"], instance["models"], instance["max_loaded"])
    assert packing.proved
    assert packing.gap == 0
