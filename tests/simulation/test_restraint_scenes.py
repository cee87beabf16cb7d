"""What holds the loop back, each rule with its bound: stays that are too short, comebacks that are
too early, flutter, too many reloads. And the alarm that ends every wait that is too long."""

from __future__ import annotations

from dataclasses import replace

import pytest
from loop_hosts import (
    CARD,
    CHAT,
    CODER,
    EMBED,
    GIANT,
    MEDIUM,
    SMALL,
    START,
    World,
    config,
    gib,
    with_env,
    world,
)
from test_fault_scenes import frail

from warmset.core.control.actions import Alarm, Severity
from warmset.core.control.alarms import MISSING_SECONDS
from warmset.core.control.orders import SendPreload, SendUnload
from warmset.core.control.restraint import CYCLES
from warmset.core.loop_settings import LoopSettings
from warmset.core.twin.events import Unloaded

LOW = {"preload": False, "priority": 10}


def moments(scene: World, kind: type, name: str, since: float = 0.0) -> list[float]:
    """When a command of one kind was sent to a model, in seconds since the start."""
    sent = [(at - START, c) for at, c in scene.sidecar.log.sent if isinstance(c, kind)]
    return [at for at, c in sent if c.name == name and at >= since]


def left_at(scene: World, name: str) -> float:
    """When a look first missed a model."""
    found = scene.sidecar.log.findings
    return next(at - START for at, f in found if f.kind == "model_left" and f.name == name)


def most_within(moments: list[float], seconds: float) -> int:
    """The most moments that lie within one span."""
    return max((sum(a <= b < a + seconds for b in moments) for a in moments), default=0)


def raised(scene: World, code: str) -> list[tuple[float, Alarm]]:
    """When alarms with a code began, and with which text."""
    decisions = scene.sidecar.log.decisions
    return [(d.at - START, a) for d in decisions for a in d.alarms if a.code.startswith(code)]


def standing(scene: World) -> set[str]:
    return {code.split()[0] for code in scene.sidecar.loop.decision.standing}


# -- a pin that stays away ------------------------------------------------------------------------


def test_a_pin_that_is_away_for_long_is_an_error_with_its_reason() -> None:
    """Five minutes after it had to go, once, with the model and what is waited for; it stands until
    the pin is back."""
    scene = world(config(CODER={"pin": True})).at(60, lambda h: h.use(GIANT, 900.0)).run(800)
    ((at, alarm),) = raised(scene, "pin_missing")
    loop = scene.sidecar.loop.config.loop
    late = loop.settle + 2 * loop.tick  # nothing is decided while its leaving may mean a load
    assert MISSING_SECONDS <= at - left_at(scene, CODER) <= MISSING_SECONDS + late
    assert alarm.severity is Severity.ERROR
    assert alarm.keys == (scene.key(CODER),)
    assert CODER in alarm.text
    assert "it believes free of" in alarm.text  # the reason, with its numbers
    assert "pin_missing" in standing(scene)
    scene.run(2400)
    assert scene.resident() == {CODER}
    assert "pin_missing" not in standing(scene)
    assert len(raised(scene, "pin_missing")) == 1


def test_a_pin_that_is_back_in_time_is_no_error() -> None:
    """Bursts of users take less than five minutes, and nobody hears of them."""
    scene = world(config(CODER={"pin": True})).at(60, lambda h: h.use(GIANT, 60.0, keep_alive=5.0))
    scene.run(1200)
    assert scene.findings("model_left").count(CODER) == 1
    assert scene.resident() == {CODER}
    assert not raised(scene, "pin_missing")


# -- stays and comebacks --------------------------------------------------------------------------


def test_nobody_is_unloaded_right_after_it_came() -> None:
    """A client's model is in the way of a pin: it goes when it has been there for as long as the
    operator says, and no later."""
    loop = LoopSettings(min_residency=300.0)
    scene = world(config(loop, CHAT=LOW), with_env("workstation", max_loaded_models=1))
    scene.at(60, lambda host: host.use(CHAT, 1.0, keep_alive=3600.0))
    scene.at(
        70, lambda _: scene.sidecar.loop.configure(config(loop, CHAT=LOW, CODER={"pin": True}))
    )
    scene.run(600)
    (at,) = moments(scene, SendUnload, CHAT)
    came = next(end for _, end, name in scene.loads() if name == CHAT)
    assert 300.0 <= at - came <= 300.0 + 2 * loop.tick
    assert scene.resident() == {CODER}


def test_what_had_to_go_does_not_come_back_at_once_unless_it_is_pinned() -> None:
    """After a giant has passed, the pin returns when the host is calm, the other model when it has
    been away for the cool-down."""
    loop = LoopSettings(cool_down=500.0)
    scene = world(config(loop, CODER={"pin": True}, EMBED={"priority": 50}))
    scene.at(60, lambda host: host.use(GIANT, 10.0, keep_alive=5.0)).run(1200)
    away = left_at(scene, EMBED)
    (pin,) = moments(scene, SendPreload, CODER, since=60)
    (other,) = moments(scene, SendPreload, EMBED, since=60)
    assert pin - left_at(scene, CODER) < 120.0
    assert loop.cool_down <= other - away <= loop.cool_down + loop.tick
    assert scene.resident() == {CODER, EMBED}


def test_who_goes_late_after_its_unload_is_away_since_it_went() -> None:
    """It serves somebody unseen when it is unloaded, and goes when that is over: the cool-down
    begins then."""
    loop = LoopSettings(cool_down=200.0)
    scene = world(config(loop, CODER={"pin": True}, CHAT={"priority": 80}), sees_processes=False)
    scene.run(60)
    scene.host.use(CHAT, 150.0)
    scene.at(100, lambda host: host.cards.set_foreign(CARD, gib(13)))
    scene.at(215, lambda host: host.cards.set_foreign(CARD, gib(0.6))).run(900)
    (sent,) = moments(scene, SendUnload, CHAT)
    (back,) = moments(scene, SendPreload, CHAT, since=60)
    away = next(at for at, event in scene.events if isinstance(event, Unloaded))
    assert away - sent > 60.0
    assert loop.cool_down <= back - away <= loop.cool_down + loop.tick + 1.0


# -- flutter --------------------------------------------------------------------------------------


def test_a_host_that_flutters_is_not_followed() -> None:
    """A game takes its memory and gives it back every two minutes: a low rank yields and returns
    twice, then stays away until the ten minutes are over, and an alarm says so."""
    loop = LoopSettings(min_residency=10.0, cool_down=10.0, calm=10.0)
    said = config(loop, CODER={"pin": True}, CHAT={"priority": 80}, SMALL={"priority": 20})
    scene = world(said)
    for turn in range(20):
        taken = 13 if turn % 2 == 0 else 0.6
        scene.at(100 + 60 * turn, lambda h, n=taken: h.cards.set_foreign(CARD, gib(n)))
    scene.run(1300)
    for name in (CHAT, SMALL):
        unloads = moments(scene, SendUnload, name)
        assert most_within(unloads, loop.fight_window) <= CYCLES
    assert max(len(moments(scene, SendUnload, name)) for name in (CHAT, SMALL)) >= CYCLES
    assert raised(scene, "flutter")
    assert scene.findings("model_left").count(CODER) == 0
    scene.run(3600)
    assert scene.resident() == {CODER, CHAT, SMALL}
    assert "flutter" not in standing(scene)


def test_an_unload_that_did_nothing_is_no_flutter() -> None:
    """The next one is, and counts from when its model was gone."""
    scene = frail(config(CODER={"pin": True}, CHAT={"priority": 80}))
    scene.sidecar.start()
    scene.run(90)
    scene.sidecar.faults.without_effect = 1
    scene.host.cards.set_foreign(CARD, gib(13))
    scene.run(300)
    first, second = moments(scene, SendUnload, CHAT)
    assert scene.findings("unload_without_effect") == [CHAT]
    (counted,) = scene.sidecar.loop.state.of(scene.key(CHAT)).cycles
    assert counted - START > second > first


def test_who_fluttered_gives_way_all_the_same() -> None:
    """It is loaded no more; a client loads it, and other programs need the memory. To keep it for
    the rest of the ten minutes would save no load and hold what others wait for."""
    loop = LoopSettings(min_residency=10.0, cool_down=10.0, calm=10.0)
    scene = world(config(loop, CODER={"pin": True}, CHAT={"priority": 80}))
    for turn in range(5):
        taken = 13 if turn % 2 == 0 else 0.6
        scene.at(100 + 60 * turn, lambda h, n=taken: h.cards.set_foreign(CARD, gib(n)))
    scene.at(330, lambda host: host.cards.set_foreign(CARD, gib(0.6)))
    scene.at(340, lambda host: host.use(CHAT, 1.0, keep_alive=7200.0))
    scene.at(420, lambda host: host.cards.set_foreign(CARD, gib(13)))
    scene.run(480)
    assert raised(scene, "flutter")
    assert len(moments(scene, SendUnload, CHAT)) == CYCLES + 1
    assert scene.resident() == {CODER}


# -- the budget of reloads ------------------------------------------------------------------------


def test_reloads_of_all_models_together_are_bounded() -> None:
    """Somebody unloads one model after the other: no ten minutes see more reloads than the budget,
    and what is waited for is said."""
    loop = LoopSettings(reloads_per_window=3, cool_down=5.0, calm=5.0, settle=5.0)
    models = {"EMBED": {"priority": 60}, "SMALL": {"priority": 50}, "MEDIUM": {"priority": 40}}
    scene = world(config(loop, CODER={"pin": True}, **models))

    def unload_all(host) -> None:
        for row in list(host.residents()):
            host.unload(row.model)

    for turn in range(30):
        scene.at(100 + 60 * turn, unload_all)
    reasons: set[str] = set()
    for until in range(100, 1900, 20):
        reasons |= {reason.partition(":")[2] for reason in scene.run(until).waits()}
    again = [
        at for name in (CODER, EMBED, SMALL, MEDIUM) for at in moments(scene, SendPreload, name)
    ]
    again = [at for at in again if at > 100]  # all had been there by then
    assert most_within(again, loop.fight_window) == loop.reloads_per_window
    assert " the host is left alone" in reasons
    scene.run(3600)
    assert scene.resident() == {CODER, EMBED, SMALL, MEDIUM}


def test_a_restart_of_the_server_costs_no_budget() -> None:
    """All its models are gone through nobody's fight: everything is loaded again at once."""
    loop = LoopSettings(reloads_per_window=1)
    scene = world(config(loop, CODER={"pin": True}, CHAT={"pin": True}, EMBED={"pin": True}))
    scene.at(100, lambda host: host.restart(2.0)).run(140)
    assert scene.resident() == {CODER, CHAT, EMBED}


# -- who it was -----------------------------------------------------------------------------------


def connected(scene: World, *clients: str) -> World:
    """Lets looks that ask for it see these programs connected to the server."""
    look = scene.sidecar.observe

    def observe():
        decision = scene.sidecar.loop.decision
        asks = decision is not None and decision.asks_who
        return replace(look(), clients=clients if asks else None)

    scene.sidecar.observe = observe
    return scene


@pytest.mark.parametrize(
    ("clients", "words"),
    [
        ((), "the client cannot be named"),
        (("chat (PID 7)",), "the likely client: chat (PID 7)"),
        (tuple("abcde"), "the likely client: a, b, c and 2 more"),
    ],
)
def test_an_alarm_about_a_fight_names_model_and_likely_client(clients, words) -> None:
    """A pin that somebody unloads again and again, and one whose lease is replaced again and again:
    who was connected right afterwards is named, as far as it could be seen."""
    scene = connected(world(config(CODER={"pin": True}, CHAT={"pin": True})), *clients)
    coder = scene.host.library.find(CODER)
    for turn in range(40):
        scene.at(100 + 30 * turn, lambda host: host.unload(coder))
        scene.at(103 + 30 * turn, lambda host: host.use(CHAT, 0.1, keep_alive=600.0))
    scene.run(1300)
    for code, name in (("paused", CODER), ("overwritten", CHAT)):
        (text, *_) = scene.texts(code)
        assert name in text
        assert words in text


def test_who_was_connected_long_ago_is_not_named() -> None:
    """A name belongs to one fight; the next one is somebody else's until it is seen."""
    scene = connected(world(config(CODER={"pin": True})), "chat (PID 7)")
    coder = scene.host.library.find(CODER)
    scene.at(100, lambda host: host.unload(coder)).run(200)
    assert scene.sidecar.loop.state.of(scene.key(CODER)).client == "chat (PID 7)"
    scene.run(200 + 2 * scene.sidecar.loop.config.loop.fight_window)
    assert scene.sidecar.loop.state.of(scene.key(CODER)).client == ""


def test_nobody_is_loaded_anew_for_a_lower_rank_that_comes_beside_a_higher_one() -> None:
    """The large model fits as things are. A third one would too, had the small one been loaded
    after the large one; but that ranks higher than it, and stays."""
    said = {"CODER": {"pin": True}, "EMBED": {"priority": 59}}
    scene = world(config(**said), sees_processes=False).run(60)
    assert scene.resident() == {CODER, EMBED}
    more = {"MEDIUM": {"priority": 60}, "CHAT": {"priority": 50}}
    scene.sidecar.loop.configure(config(**said, **more))
    scene.run(900)
    assert scene.unloads() == []
    assert scene.resident() == {CODER, EMBED, MEDIUM}
