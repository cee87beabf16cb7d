"""Who makes room for others and is fetched again keeps its place before lower ranks."""

from __future__ import annotations

import pytest
from loop_hosts import CARD, CODER, EMBED, MEDIUM, World, config, gib, world

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


def test_who_keeps_nobody_out_comes_at_once() -> None:
    """Nothing that is to return needs its place."""
    more = {"SMALL": {"priority": 60, "preload": False}, "EMBED": {"priority": 59}}
    scene = beside_one_that_found_little({"CODER": {"pin": True}, **more}, None)
    scene.run(200)
    assert scene.resident() == {MEDIUM, EMBED}
