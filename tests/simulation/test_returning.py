"""Who makes room for others and is fetched again keeps its place before lower ranks."""

from __future__ import annotations

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
    world,
)

from warmset.core.control import turns
from warmset.core.loop_settings import LoopSettings

PINS = {"CODER": {"pin": True}, "CHAT": {"pin": True}}


def beside_one_that_found_little(said: dict[str, dict], context: int | None) -> World:
    """A client uses a model that was loaded beside another program, and keeps all others out."""
    scene = world(config(SMALL={"preload": False}))
    taken = scene.host.cards.foreign(CARD)
    scene.host.cards.set_foreign(CARD, taken + gib(8))
    options = {} if context is None else {"num_ctx": context}
    scene.host.use(MEDIUM, 200.0, keep_alive=7200.0, options=options)
    scene.run(30)
    assert scene.resident() == {MEDIUM}
    scene.host.cards.set_foreign(CARD, taken)
    scene.sidecar.loop.configure(config(**said))
    return scene


@pytest.mark.parametrize(
    ("pins", "context"),
    [({"CODER": {"pin": True}}, None), (PINS, 16384)],
    ids=["it would keep it out", "it would take its room"],
)
def test_who_would_have_to_go_again_does_not_come_first(pins: dict, context: int | None) -> None:
    """The pins need a model to go that comes back after them. A lower rank that would fit at once
    would then keep it out: for what it remembers, or since a client gave it another context."""
    more = {"MEDIUM": {"priority": 60}, "EMBED": {"priority": 59}}
    scene = beside_one_that_found_little({**pins, **more}, context)
    scene.run(200)
    assert scene.resident() == {MEDIUM}
    assert any("turn is after" in text for text in scene.waits())
    scene.run(900)
    assert scene.unloads() == [MEDIUM]
    assert {EMBED, CODER} <= scene.resident()


def test_who_is_sent_away_is_not_pinged_first() -> None:
    """Not even if its lease is due, and whatever the plan says of it: a ping would be a use."""
    scene = beside_one_that_found_little({"CODER": {"pin": True}, "MEDIUM": {"priority": 60}}, None)
    loop, key = scene.sidecar.loop, scene.key(MEDIUM)
    while not scene.unloads():
        assert scene.now < 900
        loop.state = loop.state.note(key, MEDIUM, lease=None)
        scene.run(scene.now + 1)
    assert MEDIUM in scene.pings()
    for decision in scene.sidecar.log.decisions:
        assert len({type(order) for order in decision.sends if order.key == key}) <= 1


def test_who_keeps_nobody_out_comes_at_once() -> None:
    """Nothing that is to return needs its place."""
    more = {"SMALL": {"priority": 60, "preload": False}, "EMBED": {"priority": 59}}
    scene = beside_one_that_found_little({"CODER": {"pin": True}, **more}, None)
    scene.run(200)
    assert scene.resident() == {MEDIUM, EMBED}


@pytest.mark.parametrize("sees_processes", [True, False])
def test_nobody_comes_before_the_memory_of_one_that_left_is_back(sees_processes: bool) -> None:
    """Somebody's model leaves just before a look, and the card still looks full. A small model that
    came now would remember that, and have to go again for the larger one."""
    said = {"CODER": {"pin": True}}
    scene = world(config(**said), sees_processes=sees_processes).run(60)
    scene.host.use(CHAT, 1.0, keep_alive=900.0, options={"num_ctx": 32768})
    scene.run(150)
    assert scene.resident() == {CODER, CHAT}
    scene.host.cards.release_lag_seconds = 3.0
    before_a_look = scene.sidecar.loop.wake_at - START + 59.5
    scene.host.use(CHAT, 0.0, keep_alive=before_a_look - 150)
    scene.run(before_a_look)
    more = {"MEDIUM": {"priority": 60}, "EMBED": {"priority": 59}}
    scene.sidecar.loop.configure(config(**said, **more))
    scene.run(900)
    assert scene.resident() == {CODER, MEDIUM, EMBED}
    assert scene.unloads() == []


def test_a_lower_rank_does_not_come_before_a_pin_whose_pause_is_minutes_long() -> None:
    """Clients made warmset step back from a pin for five minutes. A small model that came beside
    one that found little would keep the latter out once it has made room for the pin."""
    more = {"MEDIUM": {"priority": 60}, "EMBED": {"priority": 59}}
    scene = beside_one_that_found_little({"CODER": {"pin": True}, **more}, None)
    loop, key = scene.sidecar.loop, scene.key(CODER)
    until = scene.now + START + loop.config.loop.back_off - 1
    loop.state = loop.state.note(key, CODER, quiet_until=until, quiet_reason="fought over")
    scene.run(240)
    assert scene.resident() == {MEDIUM}
    assert any("turn is after" in text for text in scene.waits())
    scene.run(900)
    assert scene.unloads() == [MEDIUM]
    assert scene.resident() == {MEDIUM, EMBED, CODER}


def test_nobody_goes_for_a_plan_that_the_next_load_ends() -> None:
    """Beside a pin the plan wants a large model, whose pause lasts, and then another pin; a small
    one is to go. The other pin comes first, and the large one does not fit after it: the small one
    need not go."""
    more = {"MEDIUM": {"priority": 60}, "EMBED": {"priority": 59}}
    scene = world(config(CODER={"pin": True}, EMBED={"priority": 59})).run(60)
    loop = scene.sidecar.loop
    loop.configure(config(**PINS, **more))
    loop.state = loop.state.note(scene.key(MEDIUM), MEDIUM, unloaded_at=START + 60)
    scene.run(400)
    assert scene.unloads() == []
    assert scene.resident() == {CODER, CHAT, EMBED}


def test_a_lower_rank_comes_first_only_if_a_pin_fits_for_certain_after_it() -> None:
    """By what the large model is likely to take, a pin just fits after it; it takes a little more.
    It would have to go again for the pin, so the pin comes first."""
    scene = world(config(CODER={"pin": True}), starts=False, sees_processes=False)
    scene.host.use(CODER, 1.0, keep_alive=7200.0, options={"num_ctx": 16384})
    scene.run(20)
    scene.sidecar.start()
    scene.run(100)
    scene.sidecar.loop.configure(config(**PINS, MEDIUM={"priority": 60}))
    scene.run(900)
    assert scene.unloads() == []
    assert scene.resident() == {CODER, CHAT}


def test_who_is_unloaded_to_be_placed_anew_comes_back_at_its_turn() -> None:
    """A large model found little, and keeps both pins out. It goes, and by the plan's order it is
    loaded first: were it paused as one that had to go, the pins would come before it, and it would
    find no place after them."""
    scene = beside_one_that_found_little({**PINS, "MEDIUM": {"priority": 60}}, None)
    began = scene.now
    scene.run(900)
    assert scene.unloads() == [MEDIUM]
    assert scene.preloads(since=began) == [MEDIUM, CHAT, CODER]
    assert scene.resident() == {MEDIUM, CODER, CHAT}


def test_who_would_keep_out_the_second_of_two_pins_does_not_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client's models are in the way of two pins: one is busy yet, one found little. A small one
    that came beside them would let a pin in after them, and remember too little for the other. The
    pins wait for each other no longer."""
    monkeypatch.setattr(turns, "PINS_WAIT_SECONDS", 0.0)
    loop = LoopSettings(may_evict_unconfigured=True)
    scene = world(config(loop, SMALL={"preload": False})).run(30)
    scene.host.use(MEDIUM, 150.0, keep_alive=300.0, options={"num_ctx": 16384})
    scene.run(40)
    taken = scene.host.cards.foreign(CARD)
    scene.host.cards.set_foreign(CARD, taken + gib(4))
    scene.host.use(SMALL, 1.0, keep_alive=300.0, options={"num_ctx": 16384})
    scene.run(50)
    scene.host.cards.set_foreign(CARD, taken)
    scene.run(60)
    assert scene.resident() == {MEDIUM, SMALL}
    scene.sidecar.loop.configure(config(loop, **PINS, EMBED={"priority": 60}))
    scene.run(150)
    assert EMBED not in scene.resident()
    assert any("turn is after" in text for text in scene.waits())
    scene.run(900)
    assert EMBED in scene.resident()
    assert EMBED not in scene.unloads()


def test_nobody_goes_for_a_lower_rank() -> None:
    """A client has the large model in a shape that does not fit beside both pins. One pin comes
    beside it, and by what that one remembers the other stays out, whoever goes. That a small model
    of lower rank would find room then is no reason to send the large one away."""
    scene = world(config(SMALL={"preload": False}))
    for name in (MEDIUM, SMALL):
        scene.host.use(name, 200.0, keep_alive=7200.0, options={"num_ctx": 16384})
    scene.run(30)
    more = {"MEDIUM": {"priority": 60}, "EMBED": {"priority": 59}, "SMALL": {"preload": False}}
    scene.sidecar.loop.configure(config(**PINS, **more))
    scene.run(900)
    assert scene.unloads() == []
    assert MEDIUM in scene.resident()


def test_who_stayed_after_its_unload_and_was_pushed_out_gives_way() -> None:
    """The server says yes to an unload and does nothing. When a client's model takes the place
    later, that is not the unload by which it was to be placed anew."""
    scene = beside_one_that_found_little({**PINS, "MEDIUM": {"priority": 60}}, None)
    scene.host.unload = lambda model: None
    while not scene.unloads():
        scene.run(scene.now + 1)
    scene.run(scene.now + 40)
    scene.host.use(GIANT, 1.0, keep_alive=5.0)
    scene.run(scene.now + 10)
    assert scene.evicted() == [MEDIUM]
    began = scene.now
    scene.run(began + LoopSettings().cool_down - 10)
    assert MEDIUM not in scene.preloads(since=began)


def test_nobody_goes_while_another_has_to_stay_who_keeps_the_same_one_out() -> None:
    """Two of a client's models were loaded beside another program, and each would keep a pin out
    by what it remembers. One is in use: the idle one stays until that may go too."""
    loop = LoopSettings(may_evict_unconfigured=True)
    scene = world(config(loop, CHAT={"pin": True}, SMALL={"preload": False})).run(100)
    taken = scene.host.cards.foreign(CARD)
    scene.host.cards.set_foreign(CARD, taken + gib(9))
    scene.run(101)
    scene.host.unload(scene.host.library.find(CHAT))
    scene.at(102, lambda host: host.use(MEDIUM, 300.0, keep_alive=7200.0))
    scene.at(120, lambda host: host.use(SMALL, 1.0, keep_alive=7200.0))
    scene.at(200, lambda host: host.cards.set_foreign(CARD, taken))
    scene.run(400)
    assert scene.resident() == {MEDIUM, SMALL}
    assert any("it believes free" in reason for reason in scene.waits())
    scene.run(900)
    assert CHAT in scene.resident()


def test_nobody_comes_or_goes_for_one_that_would_return_before_the_pins_come() -> None:
    """A client's context keeps a large model out of the plan; in its own it will be wanted again,
    and a lower rank that is resident would go for it. So would a small one that came meanwhile. But
    it is paused when it has left, and cannot come once the pins are there: nobody goes for it."""
    low = {"SMALL": {"priority": 20, "preload": False}}
    more = {"MEDIUM": {"priority": 60}, "EMBED": {"priority": 59}, **low}
    scene = world(config(SMALL=low["SMALL"]))
    scene.host.use(CODER, 1.0, keep_alive=30.0)
    scene.at(
        10, lambda host: host.use(MEDIUM, 150.0, keep_alive=7200.0, options={"num_ctx": 16384})
    )
    scene.at(50, lambda host: host.use(SMALL, 1.0, keep_alive=7200.0))
    scene.run(60)
    assert scene.resident() == {MEDIUM, SMALL}
    scene.sidecar.loop.configure(config(**PINS, **more))
    scene.run(1200)
    assert scene.unloads() == [MEDIUM]
    assert scene.resident() == {CODER, CHAT, EMBED, SMALL}


def test_nobody_goes_who_comes_back_first_and_has_to_wait_for_a_third_one() -> None:
    """For a pin a large model is in the way, since nobody knows what it found when it came. Loaded
    anew it would come before the pin, and another one, which is in use, would keep it out then. It
    stays until both can go."""
    scene = world(config(CHAT={"preload": False})).run(10)
    scene.host.use(MEDIUM, 1.0, keep_alive=7200.0)
    scene.run(30)
    scene.host.use(CHAT, 400.0, keep_alive=7200.0)
    scene.run(60)
    assert scene.resident() == {MEDIUM, CHAT}
    loop = scene.sidecar.loop
    loop.state = loop.state.note(scene.key(MEDIUM), MEDIUM, free_low={CARD: 0})
    more = {"MEDIUM": {"priority": 60}, "CHAT": {"priority": 20, "preload": False}}
    loop.configure(config(CODER={"pin": True}, **more))
    scene.run(400)
    assert scene.resident() == {MEDIUM, CHAT}
    scene.run(1200)
    assert scene.resident() == {CODER, MEDIUM}


def test_pins_do_not_wait_for_who_is_in_use_so_that_a_lower_rank_comes_first() -> None:
    """The plan loads the largest first and its pins once two clients' models have left, which are
    in use: pins that have room at once take it, and nobody is loaded who goes for them then."""
    scene = world(config(SMALL={"preload": False}, EMBED={"preload": False}))
    scene.at(5, lambda host: host.use(SMALL, 600.0, keep_alive=7200.0))
    scene.at(10, lambda host: host.use(EMBED, 600.0, keep_alive=7200.0))
    scene.run(30)
    low = {"SMALL": {"priority": 20, "preload": False}, "EMBED": {"priority": 19}}
    scene.sidecar.loop.configure(config(**PINS, MEDIUM={"priority": 60}, **low))
    scene.run(400)
    assert scene.resident() == {CODER, CHAT, SMALL, EMBED}
    assert scene.unloads() == []
