"""Ranks as keep-alives on a living host: what a change of rank costs, whose values the leases stand
above, and what is left of them when warmset is gone."""

from __future__ import annotations

from loop_hosts import CHAT, CODER, EMBED, SMALL, World, config, with_env, world

from warmset.core.control.leases import BASE_SECONDS, SLOT_SECONDS
from warmset.core.loop_settings import LoopSettings
from warmset.core.units import HOUR

FOUR = {
    "CODER": {"priority": 40},
    "CHAT": {"priority": 30},
    "SMALL": {"priority": 20},
    "EMBED": {"priority": 10},
}


def in_order(scene: World) -> list[str]:
    """The residents as Ollama would evict them, the first to go first."""
    return sorted(scene.resident(), key=scene.duration)


def test_a_change_of_rank_is_one_ping() -> None:
    """The last becomes the first, then two neighbours change places: each time the order in Ollama
    is the new one, for one ping and no load."""
    scene = world(config(**FOUR)).run(60)
    assert in_order(scene) == [EMBED, SMALL, CHAT, CODER]
    first = {"EMBED": {"priority": 50}}
    moves = (
        (first, [SMALL, CHAT, CODER, EMBED]),
        (first | {"SMALL": {"priority": 35}}, [CHAT, SMALL, CODER, EMBED]),
    )
    for turn, (change, order) in enumerate(moves, 1):
        since = scene.now
        scene.sidecar.loop.configure(config(**FOUR | change))
        scene.run(60 + 60 * turn)
        assert in_order(scene) == order
        assert len(scene.pings(since=since)) == 1
    assert len(scene.preloads()) == len(FOUR)


def test_a_model_that_comes_between_two_ranks_pings_nobody_else() -> None:
    """Slots leave gaps, so that the neighbours keep theirs."""
    three = {name: said for name, said in FOUR.items() if name != "CHAT"}
    scene = world(config(**three)).run(60)
    scene.sidecar.loop.configure(config(**FOUR))
    scene.run(120)
    assert in_order(scene) == [EMBED, SMALL, CHAT, CODER]
    assert scene.pings() == []  # its lease came with its load


def test_the_operator_may_have_shorter_leases() -> None:
    """`lease_base` of ten minutes: leases begin there, and nobody is told that clients raised them;
    the server's own five minutes lie below."""
    scene = world(config(LoopSettings(lease_base=600.0), CODER={"pin": True})).run(60)
    assert 600.0 <= scene.duration(CODER) < BASE_SECONDS
    assert "base_raised" not in scene.alarms()


def test_leases_stand_above_the_servers_own_default() -> None:
    """A server that keeps everything for three hours: what warmset does not manage ranks below."""
    for default, is_raised in ((300.0, False), (3 * HOUR, True)):
        scene = world(config(CODER={"pin": True}), with_env("workstation", keep_alive=default))
        scene.at(30, lambda host: host.use(SMALL, 1.0)).run(300)
        assert scene.duration(SMALL) == default
        assert scene.duration(CODER) > max(default, BASE_SECONDS)
        assert ("base_raised" in scene.alarms()) is is_raised


def test_without_warmset_the_host_is_free_within_one_lease() -> None:
    """It is killed and never comes back: nothing of it is left after the longest of its leases, and
    until then users find their models as ever."""
    scene = world(config(CODER={"pin": True}, CHAT={"pin": True}, EMBED={"priority": 50})).run(600)
    longest = max(scene.duration(name) for name in scene.resident())
    assert longest < BASE_SECONDS + 10 * 3 * SLOT_SECONDS
    scene.sidecar.kill()
    scene.run(600 + BASE_SECONDS / 2)
    assert scene.resident() == {CODER, CHAT, EMBED}
    scene.run(600 + longest)
    assert scene.resident() == set()


def test_a_lease_that_was_forgotten_and_stands_is_no_clients_value() -> None:
    """The clock is set while a pin is in use; when it is idle its deadline shows our own lease."""
    scene = world(config(CODER={"pin": True})).at(60.0, lambda host: host.use(CODER, 200.0))
    scene.at(100.0, lambda _: setattr(scene.sidecar, "clock_ahead", 4000.0))
    base = scene.run(50.0).sidecar.loop.state.base
    scene.run(300.0)
    assert scene.findings("clock_stepped")
    assert scene.sidecar.loop.state.base == base
    assert scene.pings() == []
