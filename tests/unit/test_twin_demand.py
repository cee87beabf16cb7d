"""Demand patterns are seeded, ordered and scale with their name."""

import pytest

from warmset.core.twin.demand import PATTERNS, generate_demand
from warmset.errors import ConfigError

MODELS = ("coder:7b", "chat:8b", "embed:latest", "writer:14b", "script:3b", "giant:32b")


def test_the_same_seed_gives_the_same_demand() -> None:
    """A seed fixes every arrival; another seed gives another demand."""
    first = generate_demand("office", MODELS, hours=8, seed=1)
    assert first == generate_demand("office", MODELS, hours=8, seed=1)
    assert first != generate_demand("office", MODELS, hours=8, seed=2)


def test_arrivals_are_in_order_and_inside_the_hours() -> None:
    """Requests come in the order of time, within the length asked for."""
    arrivals = generate_demand("busy", MODELS, hours=4, seed=7)
    moments = [a.at for a in arrivals]
    assert moments == sorted(moments)
    assert 0 <= moments[0] <= moments[-1] < 4 * 3600
    assert {a.model for a in arrivals} <= set(MODELS)


def test_busier_patterns_ask_more() -> None:
    """The patterns are ordered by how much they ask."""
    counts = [len(generate_demand(name, MODELS, hours=12, seed=3)) for name in PATTERNS]
    assert counts == sorted(counts)
    assert counts[0] == 0 < counts[1]


def test_an_unknown_pattern_names_the_known_ones() -> None:
    """A typo in the pattern is an error that lists what there is."""
    with pytest.raises(ConfigError, match="offcie") as caught:
        generate_demand("offcie", MODELS, hours=1, seed=0)
    assert "office" in caught.value.hint
