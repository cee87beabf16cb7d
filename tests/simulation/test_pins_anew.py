"""A pin that keeps another pin out by what it found free, and who may end that."""

from __future__ import annotations

from loop_hosts import CARD, CHAT, CODER, EMBED, MEDIUM, World, config, gib, world

from warmset.core.loop_settings import LoopSettings
from warmset.core.model import FOREVER

ALLOWED = LoopSettings(may_reload_pins=True)
TWO_PINS = {"CODER": {"pin": True, "priority": 90}, "CHAT": {"pin": True, "priority": 80}}


def loaded_while_memory_was_short(loop: LoopSettings | None = None, **more: object) -> World:
    """Another program leaves room for one pin only, and goes after five minutes."""
    said = config(loop, **(TWO_PINS | more))  # type: ignore[arg-type]
    scene = world(said, starts=False)
    taken = scene.host.cards.foreign(CARD)
    scene.host.cards.set_foreign(CARD, taken + gib(14))
    scene.at(300, lambda host: host.cards.set_foreign(CARD, taken))
    scene.sidecar.start()
    return scene.run(300)


def test_a_pin_keeps_another_one_out_and_the_alarm_names_what_would_help() -> None:
    """Pins are not unloaded unless the operator says so."""
    scene = loaded_while_memory_was_short().run(1500)
    assert len(scene.resident()) == 1
    assert scene.unloads() == []
    assert "may_reload_pins" in scene.texts("pin_blocked")[0]


def test_an_idle_pin_is_loaded_anew_where_that_is_allowed() -> None:
    """Once is enough: both are resident then, and nothing moves any more."""
    scene = loaded_while_memory_was_short(ALLOWED)
    first = next(iter(scene.resident()))
    scene.run(480)
    assert scene.resident() == {CODER, CHAT}
    assert scene.unloads() == [first]
    scene.run(2400)
    assert scene.unloads() == [first]
    assert scene.sidecar.loop.decision.is_converged


def test_a_pin_in_use_is_waited_for() -> None:
    """However much another pin wants to come."""
    scene = loaded_while_memory_was_short(ALLOWED)
    (first,) = scene.resident()
    scene.host.use(first, 600.0)
    scene.run(890)
    assert scene.unloads() == []
    scene.run(1200)
    assert scene.unloads() == [first]
    assert scene.resident() == {CODER, CHAT}


def test_no_pin_goes_for_a_model_that_is_only_wanted() -> None:
    """It would cost those who were promised a warm model."""
    scene = world(config(ALLOWED, CODER={"pin": True}, CHAT={"priority": 40}), starts=False)
    taken = scene.host.cards.foreign(CARD)
    scene.host.cards.set_foreign(CARD, taken + gib(14))
    scene.at(300, lambda host: host.cards.set_foreign(CARD, taken))
    scene.sidecar.start()
    scene.run(1800)
    assert scene.resident() == {CODER}
    assert scene.unloads() == []


def test_no_pin_goes_in_vain() -> None:
    """While the other program stays there is no room for the second pin, whoever is loaded anew."""
    said = config(ALLOWED, **TWO_PINS, EMBED={"preload": False})  # type: ignore[arg-type]
    scene = world(said, starts=False)
    scene.host.cards.set_foreign(CARD, scene.host.cards.foreign(CARD) + gib(14))
    scene.host.use(EMBED, 1.0, keep_alive=3600.0)
    scene.sidecar.start()
    scene.run(1800)
    assert scene.unloads() in ([], [EMBED])
    assert len(scene.resident() & {CODER, CHAT}) == 1


def two_pins_beside_a_giant(seconds: float) -> World:
    """A client's model, which may be unloaded, serves somebody; beside it one pin has room."""
    said = config(LoopSettings(may_evict_unconfigured=True), **TWO_PINS)  # type: ignore[arg-type]
    scene = world(said, starts=False)
    scene.host.use(MEDIUM, seconds, keep_alive=FOREVER, options={"num_ctx": 16384})
    scene.run(30)
    scene.sidecar.start()
    return scene


def test_a_pin_does_not_come_beside_who_is_to_leave_where_it_would_keep_out_another_pin() -> None:
    """Both come once the other model has left: the first one waits a minute for that."""
    scene = two_pins_beside_a_giant(60.0).run(400)
    assert scene.resident() == {CODER, CHAT}
    assert scene.unloads() == [MEDIUM]
    first = min(begun for begun, _, name in scene.loads() if name != MEDIUM)
    assert first > 90
    scene.run(1200)
    assert len(scene.loads()) == 3


def test_a_pin_waits_two_minutes_for_that_and_no_longer() -> None:
    """The other model may serve somebody for hours."""
    scene = two_pins_beside_a_giant(3000.0).run(400)
    begun = [at for at, _, name in scene.loads() if name != MEDIUM]
    assert len(begun) == 1
    assert 140 < begun[0] < 200
