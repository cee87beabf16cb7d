"""What the operator orders beside a pretended Ollama: evictions, and leases that are given back."""

from __future__ import annotations

from dataclasses import replace

from loop_hosts import CHAT, CODER, EMBED, GIANT, SMALL, START, World, config, world
from soak.giving_back import Wire, give_back_on

from warmset.adapters.journal import Orders
from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.control.state import state_from_plain, state_to_plain
from warmset.core.loop_settings import LoopSettings
from warmset.core.settings import Settings
from warmset.core.twin.sidecar import Sidecar
from warmset.shell.said import Said

FILE = config(CODER={"pin": True}, EMBED={}, CHAT={}).settings


def ordered(settings: Settings = FILE, **orders: dict[str, float]) -> Config:
    """The file and orders, which are of moments after the start."""
    moved = {word: {n: START + at for n, at in table.items()} for word, table in orders.items()}
    return Said(settings=settings, orders=Orders(**moved)).config(wall=START, now=START)


def listens(scene: World, said: Config, at: float) -> World:
    """The loop takes an order up."""
    return scene.at(at, lambda _: scene.sidecar.loop.configure(said))


def test_who_was_evicted_is_not_fetched_in_that_time_pinned_or_not() -> None:
    """`warmset evict --force` lets a pin go for as long as it says, and then it comes back."""
    for name in (CODER, EMBED):
        scene = world(ordered())
        listens(scene, ordered(rests={name: 900.0}), 300.0)
        scene.at(300.0, lambda host, n=name: host.unload(host.library.find(n)))
        listens(scene, ordered(), 900.0).run(890.0)
        assert scene.resident() == {CODER, EMBED, CHAT} - {name}
        assert not set(scene.alarms()) & {"pin_missing", "pin_blocked"}
        scene.run(1100.0)
        assert scene.resident() == {CODER, EMBED, CHAT}


def test_an_eviction_makes_no_model_warmsets_own() -> None:
    """What nobody configured is only watched after it, and fetched if all are to be managed."""
    assert SMALL not in ordered(rests={SMALL: 600.0}).settings.models
    everything = replace(FILE, loop=LoopSettings(manages_all=True))
    assert not ordered(everything, rests={SMALL: 600.0}).settings.models[SMALL].preload


# -- leases that are given back -----------------------------------------------------------------


def stops_and_releases(scene: World) -> World:
    """Ends the process as `serve --on-stop release` does; the next one finds its state."""
    scene.sidecar.stop()
    loop = scene.sidecar.loop
    wire = Wire(scene.host, 0.0, lambda *_: None)
    give_back_on(wire, loop.state, loop.config.settings)
    state = replace(loop.state, looked=None)  # as it is written down
    scene.at(scene.now + 1.0, lambda _: None).run(scene.now + 1.0)
    scene.sidecar = Sidecar(scene.host, Loop(loop.config, state_from_plain(state_to_plain(state))))
    return scene


def test_leases_that_were_given_back_are_given_again_by_the_next_process() -> None:
    """A restart of warmset is no client that overwrote them: nobody runs out."""
    scene = stops_and_releases(world(ordered()).run(300.0))
    assert {scene.duration(name) for name in scene.resident()} == {300.0}
    scene.sidecar.start()
    scene.run(2000.0)
    assert scene.evicted() == []
    assert scene.findings("lease_overwritten") == []
    assert all(scene.duration(name) >= 1800.0 for name in (CODER, EMBED, CHAT))


def test_who_may_be_a_victim_keeps_its_lease_at_the_end() -> None:
    """A giant waits for a model that serves somebody: a ping would keep it for ever."""
    scene = world(ordered())
    scene.at(300.0, lambda host: host.use(CHAT, 120.0))
    scene.at(301.0, lambda host: host.use(GIANT, 1.0))
    scene.run(360.0)
    assert scene.host.scheduler.loaded[scene.key(CHAT)].duration <= 0
    stops_and_releases(scene).run(450.0)
    assert GIANT in scene.resident()


def test_no_lease_is_given_back_while_a_load_may_be_pending() -> None:
    """Where processes are hidden nobody can tell who serves somebody and is to go after that."""
    scene = world(ordered(), sees_processes=False)
    scene.at(300.0, lambda host: host.use(CHAT, 120.0))
    scene.at(301.0, lambda host: host.use(GIANT, 1.0))
    scene.run(308.0)
    assert scene.host.scheduler.loaded[scene.key(CHAT)].duration <= 0
    stops_and_releases(scene).run(450.0)
    assert GIANT in scene.resident()


def test_a_dead_runner_is_not_loaded_for_the_sake_of_its_lease() -> None:
    """It is listed, and a ping would load it."""
    scene = world(ordered())
    scene.at(300.0, lambda host: host.kill_runner(scene.key(EMBED))).run(320.0)
    loads = len(scene.loads())
    stops_and_releases(scene).run(400.0)
    assert len(scene.loads()) == loads


def test_no_pin_is_missing_that_makes_way_while_nothing_is_decided() -> None:
    """A client's load takes a quarter of an hour, and all have made way for a game before."""
    scene = world(ordered(), slowness=1.0)
    listens(scene, replace(ordered(), yielding="a game"), 100.0).run(200.0)
    assert scene.resident() == set()
    scene.host._physics.slowness = 200.0
    scene.at(200.0, lambda host: host.use(GIANT, 1.0)).run(900.0)
    assert scene.host.scheduler.loading is not None
    assert "pin_missing" not in scene.alarms()
