"""What is written down of a decision is enough to make it again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_hosts import START, world
from test_control_laws import SAID, happen, stories

from warmset.core.control.actions import Decision
from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.control.plain import PlainError, from_plain, to_plain
from warmset.core.control.state import State
from warmset.core.control.step import step
from warmset.core.model import Entry, FactValue, ModelKey, Observation, Quality, Reading, unknown
from warmset.core.settings import Budget, GpuBudget, ModelPolicy, Settings
from warmset.core.windows import Span, parse_window


class Remembering(Loop):
    """A loop that keeps all arguments and results of `step`."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.steps: list[tuple[Observation, Config, State, float, Decision]] = []

    def look(self, observation: Observation, now: float):
        before = self.state
        commands = super().look(observation, now)
        assert self.decision is not None
        self.steps.append((observation, self.config, before, now, self.decision))
        return commands


def through_json(kind: type, value: object):
    return from_plain(kind, json.loads(json.dumps(to_plain(value), allow_nan=False)))


@settings(max_examples=6)
@given(stories)
def test_a_decision_is_made_again_from_what_is_written(story) -> None:
    """Look, words and state through JSON are equal, and so is what `step` makes of them, whether
    or not it remembers earlier plans."""
    loop = Remembering(SAID)
    scene = world(SAID, loop=loop)
    for at, event in story:
        scene.at(at, lambda _, event=event: happen(scene, event))
    scene.run(1200.0)
    for observation, config, state, now, decided in loop.steps[:: max(1, len(loop.steps) // 25)]:
        written = (
            through_json(Observation, observation),
            through_json(Config, config),
            through_json(State, state),
        )
        assert written == (observation, config, state)
        after, again, wake_at = step(*written, now)
        assert (after, again, wake_at) == step(observation, config, replace(state, planned=()), now)
        assert again == decided
        assert through_json(Decision, again) == again


facts: st.SearchStrategy[FactValue] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), 1 << 64)
    | st.floats(allow_nan=False)
    | st.text(max_size=5).filter(lambda text: text != "forever"),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)


@given(st.dictionaries(st.text(max_size=8), facts, max_size=4), st.none() | st.integers(0))
def test_any_metadata_comes_back(found: dict[str, FactValue], size: int | None) -> None:
    """Whatever a model's header holds, infinities too, is read as it was."""
    entry = Entry(
        key=ModelKey("sha256:aa"),
        names=("a:1b",),
        manifest_digests={"a:1b": "0"},
        file_bytes=size,
        capabilities=frozenset({"tools", "completion"}),
        facts=found,
    )
    assert through_json(Entry, entry) == entry


def test_every_word_of_the_operator_comes_back() -> None:
    """Budgets by GPU, windows, shares and sizes."""
    policy = ModelPolicy(
        name="a:1b", pin=True, windows=(parse_window("Mon-Fri 08:00-18:00"),), keep_alive=60.0
    )
    budget = Budget(
        default=GpuBudget(vram_limit_ratio=0.9), gpus={"0": GpuBudget(vram_limit_bytes=1)}
    )
    said = Config(
        settings=Settings(models={"a:1b": policy}, budget=budget),
        holds={"a:1b": START},
        openings={"a:1b": (Span(start=1.0, end=2.0),)},
    )
    assert through_json(Config, said) == said


def test_what_does_not_fit_is_named() -> None:
    """A reading of the wrong kind, an unknown word, a broken rule: the place is told."""
    good = to_plain(Reading(value=5, source="x"))
    assert from_plain(Reading[int], good) == Reading(value=5, source="x")
    assert through_json(Reading[int], unknown("x", "y")).quality is Quality.UNKNOWN
    for change, words in (
        ({"value": "5"}, "value"),
        ({"value": None}, "Reading"),
        ({"worth": 1}, "unknown field 'worth'"),
    ):
        with pytest.raises(PlainError, match=words):
            from_plain(Reading[int], {**good, **change})
