"""Ranks by measured gaps beside a pretended Ollama (`[policy] name = "worth"`)."""

from __future__ import annotations

import json
from itertools import accumulate

from loop_hosts import CHAT, CODER, EMBED, START, World, words, world

from warmset.core.control.config import Config
from warmset.core.control.plain import from_plain, to_plain
from warmset.core.control.state import State
from warmset.core.control.step import step
from warmset.core.demand.measured import count_gaps
from warmset.core.loads import Learnt
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import Observation

HOUR = 3600.0


def said(models: dict[str, dict], name: str = "worth") -> Config:
    return words(models, LoopSettings(tick=15.0, name=name))


def asked(scene: World, gaps: dict[str, float]) -> World:
    """The host has been asked for each model at its own pace for long."""
    uses = [
        (at, scene.key(name))
        for name, gap in gaps.items()
        for at in accumulate([gap] * 60, initial=0.0)
    ]
    scene.sidecar.learnt = Learnt(gaps=count_gaps(sorted(uses)))
    return scene


def test_who_is_asked_for_more_goes_last_whatever_its_file_says() -> None:
    """By a day's saving the two stand the other way round in one of the two histories."""
    for often, seldom in ((CODER, CHAT), (CHAT, CODER)):
        scene = asked(world(said({CODER: {}, CHAT: {}})), {often: 600.0, seldom: 40_000.0})
        scene.run(300.0)
        assert scene.duration(often) > scene.duration(seldom)


def test_what_the_operator_expects_counts_where_no_history_does() -> None:
    """Without a gap measured, `requests_per_day` of the file ranks one above the other."""
    for often, seldom in ((CODER, CHAT), (CHAT, CODER)):
        scene = world(said({often: {"requests_per_day": 90.0}, seldom: {}}))
        scene.run(300.0)
        assert scene.duration(often) > scene.duration(seldom)


def test_a_session_costs_no_ping() -> None:
    """Within a session a model is worth more than one that is asked for steadily, and less right
    after it: neither is told to the server, once both have found their place."""
    gaps = ([20.0] * 5 + [4000.0]) * 20
    times = list(accumulate(gaps, initial=0.0))
    scene = world(said({CODER: {}, CHAT: {}}))
    steady = [(at, scene.key(CHAT)) for at in accumulate([600.0] * 150, initial=0.0)]
    session = [(at, scene.key(CODER)) for at in times]
    scene.sidecar.learnt = Learnt(gaps=count_gaps(sorted(steady + session)))
    for at in times:
        if at < 2 * HOUR:
            scene.at(600.0 + at, lambda host: host.use(CODER, 2.0))
    for n in range(12):
        scene.at(500.0 + 600.0 * n, lambda host: host.use(CHAT, 5.0))
    scene.run(2 * HOUR)
    changed = [r for d in scene.sidecar.log.decisions for r in d.renewals if "changed" in r.reason]
    assert len(changed) <= 2


def test_priorities_and_pins_count_before_worth() -> None:
    """A pin that nobody asks for outlasts what everybody asks for; so does a higher priority."""
    for word in ({"pin": True}, {"priority": 90}):
        scene = asked(world(said({CODER: word, CHAT: {}})), {CHAT: 300.0, CODER: 90_000.0})
        scene.run(300.0)
        assert scene.duration(CODER) > scene.duration(CHAT)


def test_ranks_do_not_flutter() -> None:
    """Idle ages grow at every look; ranks change about once for each use, of 60 in three hours."""
    scene = asked(
        world(said({CODER: {}, CHAT: {}, EMBED: {}})),
        {CODER: 500.0, CHAT: 520.0, EMBED: 480.0},
    )
    for n in range(20):
        for place, name in enumerate((CODER, CHAT, EMBED)):
            scene.at(600.0 + 500.0 * n + 160.0 * place, lambda host, name=name: host.use(name, 5.0))
    scene.run(3 * HOUR)
    changed = [
        order
        for decision in scene.sidecar.log.decisions
        for order in decision.renewals
        if "rank changed" in order.reason
    ]
    assert 0 < len(changed) <= 60 + 20
    assert all(len(d.renewals) <= 4 for d in scene.sidecar.log.decisions)
    assert scene.resident() == {CODER, CHAT, EMBED}


def test_a_decision_on_worth_can_be_made_again_from_what_was_written() -> None:
    """Gaps, uses and ranks in force are in look and state."""
    config = said({CODER: {}, CHAT: {}})
    scene = asked(world(config), {CODER: 500.0, CHAT: 9000.0}).run(HOUR)
    observation, state = scene.sidecar.observe(), scene.sidecar.loop.state
    look, known, word = (
        json.loads(json.dumps(to_plain(value))) for value in (observation, state, config)
    )
    now = START + HOUR + 15.0
    again = step(
        from_plain(Observation, look), from_plain(Config, word), from_plain(State, known), now
    )
    assert again == step(observation, config, state, now)
