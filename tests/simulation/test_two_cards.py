"""Hosts with two cards: models that lie over both, and which card a model lies on."""

from __future__ import annotations

import pytest
from loop_hosts import (
    CHAT,
    CODER,
    EMBED,
    MEDIUM,
    SMALL,
    World,
    config,
    gib,
    pair,
    world,
)

from warmset.core.loop_settings import LoopSettings

FIRST, SECOND = "CUDA:0", "CUDA:1"
TWO_PINS = {"CODER": {"pin": True, "priority": 90}, "CHAT": {"pin": True, "priority": 80}}


def held(scene: World, name: str) -> dict[str, int]:
    """What the driver would say of a model."""
    runner = scene.host.scheduler.loaded[scene.key(name)]
    return dict(scene.host.cards.held_by(runner.pid))


def place(scene: World, name: str) -> set[str]:
    """The cards on which warmset knows a model to lie."""
    return set(scene.sidecar.loop.state.of(scene.key(name)).place)


@pytest.mark.parametrize("sees_processes", [True, False])
def test_what_lies_over_two_cards_counts_with_what_it_holds(sees_processes: bool) -> None:
    """A model lies over both cards, and another program takes what the second one has to spare.
    What the model might have taken beyond what it holds is no reason to send it away."""
    said = config(CODER={"pin": True}, MEDIUM={"preload": False})
    scene = world(said, pair(), sees_processes=sees_processes).run(60)
    scene.at(100, lambda host: host.use(MEDIUM, 1.0, keep_alive=7200.0))
    scene.at(200, lambda host: host.cards.set_foreign(SECOND, gib(1.6)))
    scene.run(900)
    assert set(held(scene, MEDIUM)) == {FIRST, SECOND}
    assert scene.unloads() == []


def test_where_a_model_lies_is_seen_when_it_comes() -> None:
    """Nobody says which card holds what. But more is taken where a model came than before, and it
    stays there, whatever other programs and models come later."""
    scene = world(config(**TWO_PINS, SMALL={"preload": False}), pair(), sees_processes=False)
    scene.at(100, lambda host: host.cards.set_foreign(FIRST, gib(4)))
    scene.at(200, lambda host: host.use(SMALL, 1.0))
    scene.at(300, lambda host: host.cards.set_foreign(FIRST, 0))
    for until in (60, 150, 250, 350):
        scene.run(until)
        for name in scene.resident():
            assert place(scene, name) == set(held(scene, name)), (until, name)
    assert scene.resident() == {CODER, CHAT, SMALL}


def test_nobody_goes_on_a_guess() -> None:
    """Warmset begins beside two models, and nobody says which card holds which. For a pin that has
    no room none of them goes, since it might be the wrong one; once one has left it comes."""
    said = config(CHAT={"pin": True}, CODER={"preload": False}, SMALL={"preload": False})
    scene = world(said, pair(), starts=False, sees_processes=False)
    scene.host.use(CODER, 1.0, keep_alive=1500.0, options={"num_ctx": 32768})
    scene.run(60)
    scene.host.use(SMALL, 1.0, keep_alive=1500.0, options={"num_ctx": 65536})
    scene.run(120)
    scene.sidecar.start()
    scene.run(600)
    assert scene.unloads() == []
    assert any("only guessed" in reason for reason in scene.waits())
    scene.run(2400)
    assert scene.resident() == {CHAT, CODER}


def test_who_is_loaded_elsewhere_waits_for_whom_it_is_for() -> None:
    """A client's model overfills the second card and would fit on the first one, if a small one
    changed places with it. It serves somebody for minutes: the small one does not go before it."""
    loop = LoopSettings(may_evict_unconfigured=True)
    scene = world(config(loop, CODER={"pin": True}, EMBED={"priority": 60}), pair()).run(30)
    scene.at(44, lambda host: host.use(CHAT, 200.0, keep_alive=7200.0, options={"num_ctx": 16384}))
    scene.run(60)
    assert set(held(scene, CHAT)) == set(held(scene, CODER)) == {SECOND}
    scene.run(240)
    assert scene.unloads() == []


def test_a_lower_rank_gives_way_where_only_pins_could_change_places() -> None:
    """Two clients' contexts overfill the second card. If the pins changed places all would fit; but
    pins are not unloaded for that, so the lowest rank goes."""
    more = {"EMBED": {"priority": 60}, "SMALL": {"priority": 20, "preload": False}}
    scene = world(config(**TWO_PINS, **more), pair())
    for when, name in ((60, SMALL), (120, CHAT)):
        scene.run(when)
        scene.host.use(name, 1.0, keep_alive=7200.0, options={"num_ctx": 16384})
    scene.run(600)
    assert scene.unloads() == [SMALL]
    assert scene.resident() == {CODER, CHAT, EMBED}
