"""A price of memory beside a pretended Ollama: who is let go when holding no longer pays."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import accumulate
from math import log

import pytest
from loop_hosts import CARD, CODER, EMBED, SMALL, START, World, gib, words, world

from warmset.core.control.config import Config
from warmset.core.control.orders import SendUnload
from warmset.core.control.plain import from_plain, to_plain
from warmset.core.control.state import State
from warmset.core.control.step import step
from warmset.core.demand.measured import count_gaps
from warmset.core.loads import Learnt
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import Observation

HOUR = 3600.0
PRICE = 2.0
"""At 2 s for a GiB-hour a model of 5 GiB that loads in 3 s breaks even in 18 minutes."""


def said(models: dict[str, dict], price: float = PRICE) -> Config:
    return words(models, LoopSettings(tick=60.0, price_per_gib_hour=price))


def left_at(scene: World, name: str) -> list[float]:
    sent = scene.sidecar.log.sent
    return [at - START for at, c in sent if isinstance(c, SendUnload) and c.name == name]


def used_with(gaps: list[float], scene: World) -> World:
    """The host has been asked for the model with these gaps before."""
    at = accumulate(gaps, initial=0.0)
    key = scene.key(CODER)
    scene.sidecar.learnt = Learnt(gaps=count_gaps((moment, key) for moment in at))
    return scene


def went(scene: World, hours: float = 2.0, name: str = CODER) -> float:
    """When an unused model is let go, in seconds since it became ready."""
    scene.run(hours * HOUR)
    (left,) = left_at(scene, name)
    ready = next(end for _, end, loaded in scene.loads() if loaded == name)
    return left - ready


def test_a_model_leaves_when_its_memory_is_worth_more_than_its_load() -> None:
    """An unused one is let go at break-even, and not fetched again until somebody asks for it."""
    scene = world(said({CODER: {}}))
    seconds = went(scene)
    assert 0.2 * HOUR < seconds < 2 * HOUR
    assert scene.resident() == set()
    assert scene.preloads() == [CODER]
    scene.at(3 * HOUR, lambda host: host.use(CODER, 10.0)).run(3 * HOUR + 120)
    assert scene.resident() == {CODER}
    scene.run(5 * HOUR)
    assert len(left_at(scene, CODER)) == 2
    assert scene.preloads() == [CODER]


def test_twice_the_price_is_half_the_stay() -> None:
    """With nothing known the rent paid equals one load, whatever the price."""
    cheap = went(world(said({CODER: {}}, PRICE)))
    dear = went(world(said({CODER: {}}, 2 * PRICE)))
    assert dear == pytest.approx(cheap / 2, rel=0.1)


def test_without_a_price_nobody_leaves() -> None:
    """Memory is free unless the operator says what it is worth."""
    scene = world(said({CODER: {}}, 0.0)).run(4 * HOUR)
    assert scene.resident() == {CODER}
    assert left_at(scene, CODER) == []


def test_the_shorter_of_keep_alive_and_price_ends_the_stay() -> None:
    """Each is an end of its own."""
    alone = went(world(said({CODER: {}})))
    shorter = went(world(said({CODER: {"keep_alive": alone / 2}})))
    longer = went(world(said({CODER: {"keep_alive": alone * 2}})))
    assert shorter == pytest.approx(alone / 2, abs=90)
    assert longer == pytest.approx(alone, abs=90)


def test_pins_holds_and_strangers_are_not_priced() -> None:
    """A pin and a hold count before every price; what nobody configured is left to Ollama."""
    config = said({CODER: {"pin": True}, EMBED: {}}, price=200.0)
    config = replace(config, holds={EMBED: START + 3 * HOUR})
    scene = world(config)
    scene.at(60.0, lambda host: host.use(SMALL, 5.0, keep_alive=5 * HOUR)).run(2.5 * HOUR)
    assert scene.resident() == {CODER, EMBED, SMALL}
    assert scene.unloads() == []
    scene.run(4 * HOUR)
    assert left_at(scene, EMBED)


def test_measured_gaps_move_the_end() -> None:
    """A model that is soon used again, whenever that is, is held past break-even; one that comes
    twice a day is let go sooner than one of which nothing is known."""
    unknown = went(world(said({CODER: {}})))
    quick = [-log(1 - (n * 37 % 100 + 0.5) / 100) * unknown / 3 for n in range(100)]
    often = went(used_with(quick, world(said({CODER: {}}))), hours=6.0)
    seldom = went(used_with([12 * HOUR] * 100, world(said({CODER: {}}))))
    assert often > 1.2 * unknown
    assert seldom < 0.5 * unknown


def test_other_programs_make_what_is_left_dearer() -> None:
    """While another program holds a third of the card, the stay ends sooner, and only then."""
    alone = went(world(said({CODER: {}})))
    scene = world(said({CODER: {}}))
    scene.at(1.0, lambda host: host.cards.set_foreign(CARD, gib(8.0)))
    beside = went(scene)
    assert 0.5 * alone < beside < 0.75 * alone
    unseen = world(said({CODER: {}}), sees_processes=False)
    unseen.at(1.0, lambda host: host.cards.set_foreign(CARD, gib(8.0)))
    assert went(unseen) == pytest.approx(alone, rel=0.1)


def test_what_is_given_back_at_once_makes_nothing_dearer() -> None:
    """A program that starts takes memory for a while, when the stay would end with it."""
    alone = went(world(said({CODER: {}})))
    scene = world(said({CODER: {}}))
    taken = scene.host.cards.foreign(CARD)
    scene.at(0.8 * alone, lambda host: host.cards.set_foreign(CARD, gib(8.0)))
    scene.at(0.8 * alone + 40, lambda host: host.cards.set_foreign(CARD, taken))
    assert went(scene) == pytest.approx(alone, rel=0.05)


def test_a_decision_on_a_price_can_be_made_again_from_what_was_written() -> None:
    """Gaps and prices are in look and words, so the same step follows from the journal."""
    config = said({CODER: {}, EMBED: {}})
    scene = used_with([HOUR / 5] * 100, world(config))
    scene.run(HOUR / 4)
    observation, state = scene.sidecar.observe(), scene.sidecar.loop.state
    look = json.loads(json.dumps(to_plain(observation)))
    known = json.loads(json.dumps(to_plain(state)))
    said_again = from_plain(Config, json.loads(json.dumps(to_plain(config))))
    now = START + HOUR / 4 + 15.0
    again = step(from_plain(Observation, look), said_again, from_plain(State, known), now)
    assert again == step(observation, config, state, now)
