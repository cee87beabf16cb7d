"""Single faults beside the loop: overtaken and stuck loads, memory nobody can vouch for, pings that
met a request. The soak run draws such faults by chance; here each has its scene."""

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
    world,
)

from warmset.core.control.actions import Unload
from warmset.core.control.loop import Loop
from warmset.core.control.orders import SendPing
from warmset.core.control.step import step
from warmset.core.host.readings import STALE_AFTER_SECONDS
from warmset.core.loop_settings import LoopSettings
from warmset.core.twin.clock import Timeline
from warmset.core.twin.faults import Frail, FrailPhysics
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.twin.sidecar_view import observe_twin
from warmset.core.units import MIB

TWO_PINS = {"CODER": {"pin": True, "priority": 90}, "CHAT": {"pin": True, "priority": 80}}
BOTH = {CODER, CHAT}


def frail(said, *, slowness: float = 1.0, sees_processes: bool = True) -> World:
    """A host whose loads may be slow, with a warmset whose eyes may fail."""
    spec, timeline = named_host("workstation"), Timeline(START)
    physics = FrailPhysics(inner=physics_of(spec), slowness=slowness)
    events: list = []
    host = TwinHost(
        spec, physics, timeline, on_event=lambda event: events.append((timeline.now - START, event))
    )
    beside = Frail(host, Loop(said), sees_processes=sees_processes)
    return World(host, beside, events)


def pull_anew(scene: World, name: str) -> str:
    """Gives a name other weights; returns their key."""
    old = scene.host.library.find(name)
    new = replace(old.weights, digest=f"sha256:{'5' * 64}")
    physics = scene.host._physics
    physics = getattr(physics, "inner", physics)
    physics._facts = {**physics._facts, new.digest: new.facts}
    scene.host.library.delete(name)
    scene.host.library.install(replace(old, weights=new, digest=""))
    return new.digest


def freeze(scene: World) -> World:
    """Stops all loading at 60 s: a client's keep-alive reaches a busy victim (test_twin_deadlock),
    and at 200 s the operator wants one model more."""

    def use_all(host: TwinHost, keep: float) -> None:
        for row in host.residents():
            host.use(row.model.name, 20.0, keep_alive=keep)

    def ask(host: TwinHost) -> None:
        use_all(host, 600.0)
        host.use(GIANT, 5.0)

    loop = scene.sidecar.loop
    more = config(
        loop.config.loop, CODER={"pin": True}, SMALL={"priority": 10}, EMBED={"pin": True}
    )
    scene.at(60, ask).at(70, lambda host: use_all(host, 86400.0))
    return scene.at(200, lambda _: loop.configure(more))


# -- loads of others ------------------------------------------------------------------------------


def test_a_preload_that_users_overtook_is_called_off() -> None:
    """Somebody's models are loaded before ours has begun: ours is taken back, and sent anew when
    the host has been calm."""
    scene = world(config(CODER={"pin": True}), starts=False)
    scene.host.use(SMALL, 1.0)
    scene.host.use(MEDIUM, 5.0, keep_alive=30.0)
    scene.sidecar.sees_processes = False  # so that the first look shows an empty, idle host
    scene.sidecar.start()
    scene.run(300)
    texts = [f.text for _, f in scene.sidecar.log.findings if f.kind == "load_aborted"]
    assert [text.partition(": ")[2] for text in texts] == [
        f"{SMALL} was loaded for somebody else before it"
    ]
    assert [name for _, _, name in scene.loads()] == [SMALL, MEDIUM, CODER]
    assert scene.preloads() == [CODER, CODER]
    assert CODER in scene.resident()


def test_a_preload_that_old_weights_of_its_name_overtook_is_called_off() -> None:
    """They were asked for before the name was pulled anew. For a look they may be our own load, but
    that would have been answered."""
    scene = world(config(CHAT={"pin": True}), starts=False)
    scene.sidecar.sees_processes = False  # so that the first look shows an empty, idle host
    scene.host.use(CHAT, 120.0)
    scene.host.use(GIANT, 5.0)
    pull_anew(scene, CHAT)
    scene.sidecar.start()
    scene.run(20)
    assert scene.preloads() == [CHAT]
    assert scene.findings("load_aborted") == [CHAT]
    scene.run(600)
    assert [name for _, _, name in scene.loads()] == [CHAT, GIANT, CHAT]


def test_a_queue_that_stands_still_is_an_alarm_and_left_alone() -> None:
    """Our own preload that never begins tells it; it is called off, and nothing is unloaded unless
    the operator allows that."""
    scene = freeze(world(config(CODER={"pin": True}, SMALL={"priority": 10}))).run(1200)
    assert EMBED in scene.findings("load_aborted")
    assert "loads_stuck" in scene.alarms()
    assert "loads_stuck" in scene.sidecar.loop.state.raised
    assert not scene.unloads()
    assert len(scene.preloads(since=200)) <= 4


def test_a_clock_that_is_set_wakes_no_queue() -> None:
    """There is nothing to compare that look with, which is no sign of life."""
    scene = freeze(world(config(CODER={"pin": True}, SMALL={"priority": 10}))).run(600)
    assert "loads_stuck" in scene.sidecar.loop.state.raised
    asked = len(scene.preloads())
    scene.sidecar.clock_ahead += 30.0
    scene.run(620)
    assert scene.findings("clock_stepped")
    assert not scene.findings("loads_resumed")
    assert len(scene.preloads()) == asked
    assert "loads_stuck" in scene.sidecar.loop.state.raised


def test_a_rescue_wakes_the_queue_and_costs_one_idle_model() -> None:
    """Where it is allowed, the idle model of the lowest rank goes; then loads happen again, and the
    pins are resident in the end."""
    loop = LoopSettings(may_rescue=True)
    scene = freeze(world(config(loop, CODER={"pin": True}, SMALL={"priority": 10}))).run(2400)
    assert scene.unloads() == [SMALL]
    assert scene.findings("loads_resumed")
    assert "loads_stuck" not in scene.sidecar.loop.state.raised
    assert {CODER, EMBED} <= scene.resident()


def test_rescues_are_bounded() -> None:
    """What two unloads have not woken within ten minutes is not given a third."""
    scene = freeze(world(config(CODER={"pin": True}, SMALL={"priority": 10})))
    while scene.sidecar.loop.state.stuck_since is None:
        scene.run(scene.now + 5.0)
    scene.run(scene.now + 20.0)
    now, state = scene.host.timeline.now, scene.sidecar.loop.state
    said = scene.sidecar.loop.config
    loop = replace(said.loop, may_rescue=True)
    said = replace(said, settings=replace(said.settings, loop=loop))
    seen = observe_twin(scene.host)

    def rescued(*at: float) -> list[str]:
        decision = step(seen, said, replace(state, rescues=at), now)[1]
        return [order.name for order in decision.sends if isinstance(order, Unload)]

    assert rescued() == rescued(now - 60.0) == [SMALL]
    assert rescued(now - 120.0, now - 60.0) == []
    assert rescued(now - loop.fight_window - 1.0, now - 60.0) == [SMALL]


def test_a_long_load_of_our_own_is_not_taken_for_a_queue_that_stands_still() -> None:
    """Ten minutes from a slow disk: the runner is seen at work. It is told of, and not called
    off."""
    scene = frail(config(MEDIUM={"pin": True}), slowness=130.0)
    scene.sidecar.start()
    scene.run(1200)
    begun, end, _ = scene.loads()[0]
    assert end - begun > 2 * scene.sidecar.loop.config.loop.stuck_after
    assert scene.resident() == {MEDIUM}
    assert scene.preloads() == [MEDIUM]
    assert not scene.findings("load_aborted")
    assert "load_slow" in scene.alarms()
    assert "loads_stuck" not in scene.alarms()


# -- memory that nobody can vouch for -------------------------------------------------------------


def test_gpus_that_changed_under_a_running_server_move_nothing() -> None:
    """The driver shows slices that Ollama has not seen: an alarm, and no load or unload until the
    server was restarted."""
    scene = frail(config(CODER={"pin": True}, SMALL={"priority": 10}))
    scene.sidecar.start()
    scene.run(60)
    scene.sidecar.faults.driver = "reshaped"
    scene.sidecar.loop.configure(config(CODER={"pin": True}, CHAT={"pin": True}))
    scene.run(600)
    assert "gpus_changed" in scene.alarms()
    assert not scene.preloads(since=60)
    assert not scene.unloads()
    scene.sidecar.faults.driver = "well"
    scene.run(700)
    assert scene.resident() >= BOTH


def test_memory_read_long_ago_moves_nothing() -> None:
    """A driver that hangs shows old numbers: after ten seconds nothing is loaded or unloaded on
    them, and all goes on when it answers."""
    scene = frail(config(CODER={"pin": True}))
    scene.sidecar.start()
    scene.run(60)
    scene.sidecar.faults.driver = "hung"
    scene.run(60 + STALE_AFTER_SECONDS + 1)
    scene.sidecar.loop.configure(config(**TWO_PINS))
    scene.run(600)
    assert not scene.preloads(since=60)
    assert not scene.unloads()
    assert scene.resident() == {CODER}
    scene.sidecar.faults.driver = "well"
    scene.run(700)
    assert scene.resident() == BOTH


def test_a_clock_that_is_set_leaves_what_runners_remember() -> None:
    """What was free when a runner came decides what Ollama believes; no clock changes that."""
    scene = world(config(**TWO_PINS)).run(100)
    before = {key: m.free_low for key, m in scene.sidecar.loop.state.models.items()}
    assert any(before.values())
    scene.sidecar.clock_ahead += 7200.0
    scene.run(130)
    assert scene.findings("clock_stepped")
    assert {key: m.free_low for key, m in scene.sidecar.loop.state.models.items()} == before


def test_a_clock_that_is_set_leaves_what_a_dead_runner_remembers() -> None:
    """Its process is gone, Ollama lists it still and counts with what it found; it holds nothing,
    so what would be free without it is no more than what is."""
    scene = world(config(**TWO_PINS)).run(100)
    scene.host.kill_runner(scene.key(CODER))
    scene.run(120)
    assert "runner_gone" in scene.alarms()
    before = {key: m.free_low for key, m in scene.sidecar.loop.state.models.items()}
    scene.sidecar.clock_ahead += 7200.0
    scene.run(130)
    assert scene.findings("clock_stepped")
    assert {key: m.free_low for key, m in scene.sidecar.loop.state.models.items()} == before


# -- pings ----------------------------------------------------------------------------------------


def test_a_ping_that_moved_no_deadline_is_not_repeated() -> None:
    """The model serves somebody, whose end moves its deadline by the lease that the ping brought:
    until then it counts as busy, however low its deadline gets."""
    scene = world(config(CHAT={"pin": True}), sees_processes=False).run(500)
    scene.host.use(CHAT, 2500.0)
    scene.run(2990)
    assert scene.pings(since=500) == [CHAT]  # at half of its lease, as ever
    scene.run(3300)
    assert scene.pings(since=500) == [CHAT]
    assert scene.duration(CHAT) > scene.sidecar.loop.config.loop.lease_base
    assert scene.resident() == {CHAT}


@pytest.mark.parametrize("jump", [-4000.0, 30.0, 4000.0])
def test_a_clock_that_is_set_does_not_repeat_a_ping_either(jump: float) -> None:
    """Who serves somebody is known by a deadline that did not move; a new clock moves it only in
    our eyes."""
    scene = world(config(CHAT={"pin": True}), sees_processes=False).run(500)
    scene.host.use(CHAT, 2500.0)
    scene.run(1600)
    assert scene.pings(since=500) == [CHAT]
    scene.sidecar.clock_ahead += jump
    scene.run(2990)
    assert scene.findings("clock_stepped")
    assert scene.pings(since=500) == [CHAT]
    scene.run(3300)
    assert scene.resident() == {CHAT}


@pytest.mark.parametrize("sees_processes", [True, False])
def test_a_ping_without_effect_makes_a_model_busy_for_minutes_only(sees_processes: bool) -> None:
    """A deadline that did not move is taken for a request. A process that is calm says otherwise,
    and without sight of it nobody can tell."""
    said = config(CHAT={"preload": False}, CODER={"preload": False})
    scene = frail(said, sees_processes=sees_processes)
    scene.sidecar.start()
    scene.host.use(CHAT, 1.0, keep_alive=7200.0)
    scene.sidecar.faults.without_effect = 1
    scene.run(120)
    assert scene.findings("ping_met_request") == [CHAT]
    scene.sidecar.loop.configure(replace(said, yielding="a game"))
    scene.run(300)
    assert scene.unloads() == []
    scene.run(600)
    assert scene.unloads() == ([CHAT] if sees_processes else [])


def test_a_ping_whose_answer_is_lost_is_no_client() -> None:
    """Its deadline moves all the same; taken for a client's keep-alive it would raise the base at
    each loss, and with it the next ping."""
    scene = frail(config(CHAT={"pin": True}, CODER={"preload": False}))
    scene.sidecar.start()
    scene.run(60)
    scene.sidecar.faults.lost_replies = 5
    scene.run(7200)
    assert scene.findings("ping_failed")
    assert scene.sidecar.loop.state.base <= scene.sidecar.loop.config.loop.lease_base
    assert scene.findings("lease_overwritten") == []


# -- other weights under the same name ------------------------------------------------------------


def test_a_pin_that_is_pulled_anew_is_loaded_with_its_new_weights() -> None:
    """The name means other weights now: those are loaded once, and nothing is missed meanwhile."""
    scene = frail(config(CHAT={"pin": True}))
    scene.sidecar.start()
    scene.run(60)
    new = pull_anew(scene, CHAT)
    scene.run(600)
    assert [row.model.key for row in scene.host.residents() if row.model.key == new]
    assert scene.preloads() == [CHAT, CHAT]
    assert "pin_missing" not in scene.alarms()
    assert not scene.findings("model_left")  # the old weights are listed still
    assert not scene.findings("lever_failed")


def test_no_pin_is_loaded_beside_a_model_that_is_about_to_leave() -> None:
    """It would remember how little was free, and keep the other pin out for as long as it lives."""
    scene = frail(config(CODER={"pin": True}, CHAT={"pin": True}, MEDIUM={"pin": True}))
    scene.sidecar.start()
    scene.run(60)
    scene.at(61, lambda host: host.use(GIANT, 70.0, keep_alive=5.0))
    scene.run(400)
    assert scene.resident() == {CODER, CHAT, MEDIUM}


# -- what Ollama remembers ------------------------------------------------------------------------


def remembered(scene: World, name: str) -> tuple[int, int]:
    """What was free when a model came: the least that warmset holds possible, and what was."""
    known = scene.sidecar.loop.state.of(scene.key(name)).free_low
    runner = scene.host.scheduler.loaded[scene.key(name)]
    return known[CARD], runner.view.free_at_load[CARD]


def test_a_load_may_have_found_no_more_than_was_free_before_it() -> None:
    """A model came and left between two looks, and its memory was on its way back when the next
    one was loaded: that one remembers the little that the look between them showed."""
    scene = world(config(CODER={"pin": True})).run(60)
    scene.host.cards.release_lag_seconds = 6.0
    look = scene.sidecar.loop.wake_at - START
    scene.at(look + 0.5, lambda host: host.use(SMALL, 1.5, keep_alive=0.0))
    scene.at(look + 6.0, lambda host: host.use(MEDIUM, 60.0, keep_alive=600.0))
    scene.run(look + 30)
    assert not [r for r in scene.sidecar.log.findings if r[1].name == SMALL]  # never seen
    lowest, found = remembered(scene, MEDIUM)
    assert lowest // MIB <= found // MIB
    assert scene.sidecar.loop.state.of(scene.key(MEDIUM)).free_high[CARD] > found


def test_what_was_free_is_known_without_the_drivers_word_on_processes() -> None:
    """On one card Ollama's own count of a model stands in for the driver's; to take it for nothing
    would keep other pins out."""
    scene = world(config(**TWO_PINS), sees_processes=False).run(60)
    assert scene.resident() == BOTH
    for name in BOTH:
        lowest, found = remembered(scene, name)
        assert found - gib(0.5) < lowest <= found + MIB


def test_old_weights_keep_their_say_in_who_is_let_in() -> None:
    """A pin was loaded while little was free, and pulled anew: its old runner goes on counting
    with that. The new weights wait for its end; nobody is evicted for them."""
    scene = frail(config(**TWO_PINS))
    scene.host.use(MEDIUM, 60.0, keep_alive=30.0)
    scene.run(8)
    scene.sidecar.start()
    scene.run(200)
    assert scene.resident() == BOTH
    pull_anew(scene, CODER)
    scene.run(900)
    assert any("would evict" in text for text in scene.waits())
    assert not scene.preloads(since=200)
    assert CHAT not in scene.evicted(since=200)
    assert "pin_missing" in scene.alarms()
    scene.run(3600)
    assert scene.preloads(since=200) == [CODER]
    assert scene.resident() == BOTH


def test_old_weights_in_ram_have_their_say_too() -> None:
    """A model went to RAM while another program held the card, and is pulled anew: Ollama goes on
    asking its old runner what is free."""
    scene = frail(config(EMBED={"preload": False}))
    scene.sidecar.start()
    scene.run(40)
    taken = scene.host.cards.foreign(CARD)
    scene.host.cards.set_foreign(CARD, taken + scene.host.cards.free(CARD))
    scene.run(60)
    scene.host.use(SMALL, 1.0, keep_alive=600.0)
    scene.run(90)
    scene.host.cards.set_foreign(CARD, taken)
    pull_anew(scene, SMALL)
    scene.sidecar.loop.configure(config(CODER={"pin": True}))
    scene.run(600)
    assert scene.evicted() == []
    scene.run(1200)
    assert scene.resident() == {CODER}


def test_nothing_is_loaded_beside_old_weights_that_nothing_is_known_of() -> None:
    """A warmset that never saw them under their name cannot tell what Ollama remembers."""
    scene = frail(config(CODER={"pin": True}, CHAT={"pin": True}))
    scene.host.use(CODER, 1.0, keep_alive=300.0)
    scene.run(10)
    pull_anew(scene, CODER)
    scene.sidecar.start()
    scene.run(250)
    assert not scene.preloads()
    assert any(CODER in text and "not known" in text for text in scene.waits())
    scene.run(500)
    assert scene.resident() == BOTH


def test_nobody_goes_in_vain_for_what_another_remembers() -> None:
    """A pin is kept out by a model that nobody may unload; one that may go stays."""
    low = {"EMBED": {"priority": 10}}
    scene = world(config(SMALL={"preload": False})).run(30)
    taken = scene.host.cards.foreign(CARD)
    scene.host.cards.set_foreign(CARD, taken + gib(8))
    scene.host.use(MEDIUM, 1.0, keep_alive=86400.0)
    scene.at(120, lambda _: scene.sidecar.loop.configure(config(**low))).run(180)
    scene.host.cards.set_foreign(CARD, taken)
    scene.sidecar.loop.configure(config(CHAT={"pin": True}, **low))
    scene.run(1500)
    assert scene.resident() == {MEDIUM, EMBED}
    assert scene.unloads() == []
    assert "pin_missing" in scene.alarms()


def test_nobody_goes_for_room_that_is_of_no_use() -> None:
    """The room of low ranks is wanted for a model that Ollama would not let in all the same, since
    a pin remembers how little was free when it came. They stay, and another pin does not wait."""
    low = {"EMBED": {"priority": 10}, "SMALL": {"priority": 10}}
    said = config(CHAT={"pin": True}, **low)
    scene = world(said, starts=False)
    taken = scene.host.cards.foreign(CARD)
    scene.host.cards.set_foreign(CARD, taken + gib(6))
    scene.sidecar.start()
    scene.run(60)
    assert scene.resident() == {CHAT, EMBED, SMALL}
    scene.host.cards.set_foreign(CARD, taken)
    more = {"CODER": {"pin": True}, "MEDIUM": {"priority": 60}}
    scene.sidecar.loop.configure(config(CHAT={"pin": True}, **low, **more))
    scene.run(1500)
    assert scene.unloads() == []
    assert scene.resident() == {CHAT, EMBED, SMALL, CODER}


def test_a_model_that_left_for_somebody_else_is_not_paused() -> None:
    """A request of a user waits for a busy pin, and our preload of another behind it: that the pin
    has to go then is not our preload's doing, and it comes back as soon as there is room."""
    scene = world(config(CODER={"pin": True}, EMBED={"priority": 50})).run(60)
    assert scene.resident() == {CODER, EMBED}
    scene.host.use(CODER, 170.0)
    scene.host.use(GIANT, 20.0, keep_alive=10.0)  # EMBED goes at once, CODER when it is done
    scene.run(225)
    assert scene.sidecar.loop.state.orders.running.order.name == EMBED  # behind the giant
    scene.run(400)
    assert EMBED in scene.preloads(since=60)
    assert not scene.findings("preload_evicted")
    assert "paused" not in scene.alarms()
    assert scene.resident() == {CODER, EMBED}


def test_what_came_while_the_driver_was_silent_may_have_found_nothing() -> None:
    """Nobody knows how little was free then, so nothing is loaded beside it; it leaves in time."""
    scene = frail(config(CODER={"pin": True}))
    scene.sidecar.start()
    scene.run(60)
    scene.sidecar.faults.driver = "lost"
    scene.host.use(SMALL, 1.0, keep_alive=600.0)
    scene.run(80)
    scene.sidecar.faults.driver = "well"
    scene.sidecar.loop.configure(config(**TWO_PINS))
    scene.run(500)
    assert scene.resident() == {CODER, SMALL}
    assert any("it believes free" in text for text in scene.waits())
    scene.run(800)
    assert scene.resident() == BOTH
    assert scene.unloads() == []


# -- who comes first, and who goes for nothing ----------------------------------------------------

FULL = {**TWO_PINS, "MEDIUM": {"priority": 60}, "EMBED": {"priority": 59}}


def test_the_drivers_context_is_not_charged_twice_where_processes_are_hidden() -> None:
    """What fitted by the plan still fits once it is loaded: nobody is loaded and sent away again
    because Ollama's word of a model leaves out what its process holds beside it. As much fits as
    where it can be seen whose bytes are whose."""
    for sees_processes in (False, True):
        scene = world(config(**FULL), sees_processes=sees_processes).run(600)
        assert scene.unloads() == []
        assert scene.resident() == BOTH | {MEDIUM, EMBED}


@pytest.mark.parametrize("busy", [1.0, 200.0])
def test_no_lower_rank_comes_before_a_pin_while_somebody_is_to_leave(busy: float) -> None:
    """The large model would find so little free beside the one that leaves that it would keep the
    pin out, and have to go again."""
    scene = world(config(**FULL, SMALL={"priority": 20, "preload": False}), starts=False)
    scene.host.use(CHAT, 1.0)
    scene.host.use(SMALL, busy, keep_alive=7200.0)
    scene.run(30)
    scene.sidecar.start()
    scene.run(900)
    assert MEDIUM not in scene.unloads()
    assert [name for _, _, name in scene.loads()].count(MEDIUM) <= 1
    assert scene.resident() >= BOTH


def test_nobody_goes_for_a_pin_that_is_not_placed_anew() -> None:
    """Three pins fit in another order only. Those that are there stay, so a fourth model gives way
    to nobody."""
    small = {"priority": 20, "preload": False}
    scene = world(config(**TWO_PINS, SMALL=small))
    scene.at(60, lambda host: host.use(SMALL, 1.0, keep_alive=7200.0))
    more = config(**TWO_PINS, MEDIUM={"pin": True, "priority": 90}, SMALL=small)
    scene.at(100, lambda _: scene.sidecar.loop.configure(more))
    scene.run(900)
    assert scene.unloads() == []
    assert scene.resident() == BOTH | {SMALL}
    assert "pin_missing" in scene.alarms()


def test_a_ping_that_loaded_a_small_model_is_found_out_where_processes_are_hidden() -> None:
    """The model leaves between the list and the ping, and is back in little more than a second."""
    scene = world(config(LoopSettings(lease_base=120.0), EMBED={"pin": True}), sees_processes=False)
    sends = scene.sidecar._load

    def snatch_and_send(command) -> None:
        if isinstance(command, SendPing) and not scene.findings("ping_raced"):
            scene.host.unload(scene.host.library.find(EMBED))
        sends(command)

    scene.sidecar._load = snatch_and_send
    scene.run(3000)
    assert [name for _, _, name in scene.loads()] == [EMBED, EMBED]
    assert scene.findings("ping_raced") == [EMBED]


# -- what was free when a model was loaded anew ---------------------------------------------------


def test_who_is_loaded_anew_may_not_have_found_free_what_it_held_before() -> None:
    """A client asks for another context while memory is slow to come back: the new runner counts
    with little, and nothing is loaded that it would have to make room for."""
    loop = LoopSettings(tick=20.0)  # so that no look comes in between
    scene = world(config(loop, CHAT={"pin": True}), starts=False)
    scene.host.cards.release_lag_seconds = 15.0  # longer than Ollama waits
    scene.host.use(CHAT, 1.0)
    scene.host.use(MEDIUM, 200.0)
    scene.sidecar.start()
    scene.at(101, lambda host: host.use(CHAT, 1.0, options={"num_ctx": 2048}))
    scene.run(190)
    assert scene.findings("model_reloaded") == [CHAT]
    state = scene.sidecar.loop.state.of(scene.key(CHAT))
    runner = scene.host.scheduler.loaded[scene.key(CHAT)]
    assert runner.view.free_at_load
    for device, found in runner.view.free_at_load.items():
        assert state.free_low[device] <= found + MIB


def test_a_preload_that_found_its_model_there_was_somebody_elses_load() -> None:
    """A client loads the pin while the look that misses it is under way: then more loads may come,
    and what ours took is not taken for the time of a load."""
    scene = frail(config(**TWO_PINS))
    scene.host.use(CODER, 1.0)
    scene.sidecar.start()
    scene.run(120)
    learnt = scene.sidecar.loop.state.of(scene.key(CHAT)).load_seconds
    scene.host.unload(scene.host.library.find(CHAT))
    scene.run(125)
    scene.sidecar.faults.look_seconds = 10.0
    scene.at(177, lambda host: host.use(CHAT, 1.0))
    scene.run(300)
    assert scene.preloads(since=125) == [CHAT]
    assert scene.sidecar.loop.state.of(scene.key(CHAT)).load_seconds == learnt
    assert CHAT in scene.findings("model_came")


def test_a_slow_look_is_no_clock_that_was_set() -> None:
    """It is stamped when it ends, and what was seen before still counts."""
    scene = frail(config(**TWO_PINS))
    scene.sidecar.start()
    scene.run(60)
    scene.sidecar.faults.look_seconds = 10.0
    scene.at(100, lambda host: host.unload(host.library.find(CHAT)))
    scene.run(200)
    assert not scene.findings("clock_stepped")
    assert scene.findings("model_left") == [CHAT]


def test_a_moments_lack_of_memory_sends_nobody_away_for_somebody_else() -> None:
    """Another program takes memory for some seconds, again and again; meanwhile a lower rank would
    have room if the higher one went."""
    scene = world(config(**FULL), sees_processes=False, starts=False)
    was = scene.host.cards.foreign(CARD) + gib(0.6)
    scene.host.cards.set_foreign(CARD, was)
    scene.sidecar.start()
    scene.run(60)
    assert scene.resident() == BOTH | {MEDIUM}
    for begin in range(60, 300, 8):
        scene.at(begin, lambda host: host.cards.set_foreign(CARD, was + host.cards.free(CARD)))
        scene.at(begin + 4, lambda host: host.cards.set_foreign(CARD, was))
    scene.run(320)
    assert scene.unloads() == []


def test_a_moments_lack_of_memory_sends_nobody_away_for_another_choice() -> None:
    """Another program takes memory for a moment: no more is held than may be, and yet a client's
    model would have no place any more, and one that is wanted would get it."""
    loop = LoopSettings(may_evict_unconfigured=True)
    scene = world(config(loop, CODER={"pin": True}, MEDIUM={"priority": 60}))
    was = scene.host.cards.foreign(CARD)
    scene.at(36, lambda host: host.cards.set_foreign(CARD, was + gib(0.5)))
    scene.at(58, lambda host: host.use(EMBED, 3.0, keep_alive=300.0))
    scene.at(64, lambda host: host.use(CHAT, 3.0, options={"num_ctx": 16384}))
    scene.at(75, lambda host: host.use(EMBED, 12.0, keep_alive=300.0))
    scene.run(250)
    assert scene.resident() == {CODER, CHAT, EMBED}
    scene.at(251, lambda host: host.cards.set_foreign(CARD, was + gib(3.5)))
    scene.at(260, lambda host: host.cards.set_foreign(CARD, was + gib(0.5)))
    scene.run(280)
    assert scene.unloads() == []
    scene.at(281, lambda host: host.cards.set_foreign(CARD, was + gib(3.5)))
    scene.run(300)
    assert scene.unloads()[:1] == [CHAT]


def test_more_than_may_be_held_is_an_alarm() -> None:
    """A client's model and another program fill the card, and nobody's model may be unloaded: the
    operator hears of it, until it has left."""
    scene = world(config(CODER={"pin": True}))
    scene.at(60, lambda host: host.use(MEDIUM, 5.0, keep_alive=900.0, options={"num_ctx": 32768}))
    scene.at(120, lambda host: host.cards.set_foreign(CARD, gib(6)))
    scene.run(400)
    assert "over_budget" in scene.sidecar.loop.state.raised
    assert scene.unloads() == []
    scene.run(1500)
    assert "over_budget" not in scene.sidecar.loop.state.raised
    assert scene.alarms().count("over_budget") == 1


def test_who_only_looks_on_hears_of_more_than_may_be_held() -> None:
    """Somebody is to go, and nobody sends it away: that it is about to go is no answer for ever."""
    said = config(LoopSettings(may_evict_unconfigured=True), CHAT={"pin": True})
    scene = world(said, loop=Loop(said, is_read_only=True))
    scene.at(10, lambda host: host.use(CHAT, 1.0, keep_alive=7200.0))
    scene.at(20, lambda host: host.use(MEDIUM, 1.0, keep_alive=7200.0))
    scene.at(100, lambda host: host.cards.set_foreign(CARD, gib(9)))
    scene.run(300)
    assert scene.resident() == {CHAT, MEDIUM}
    assert "qwen2.5:14b is to go" in scene.texts("over_budget")[0]
    assert scene.alarms().count("over_budget") == 1
    assert "over_budget" in scene.sidecar.loop.state.raised


def test_a_ping_that_waits_in_a_queue_is_called_off() -> None:
    """The model leaves before the ping, which then waits behind somebody's load for a long request:
    it is hung up, told, and everything goes on."""
    scene = world(config(EMBED={"pin": True}))
    sends = scene.sidecar._load

    def snatch_and_send(command) -> None:
        if isinstance(command, SendPing) and not scene.findings("ping_raced"):
            scene.host.use(MEDIUM, 3000.0)
            scene.host.use(GIANT, 1.0)
            scene.host.unload(scene.host.library.find(EMBED))
        sends(command)

    scene.sidecar._load = snatch_and_send
    scene.run(2000)
    assert scene.findings("ping_raced") == [EMBED]
    assert scene.sidecar.log.cancels
    running = scene.sidecar.loop.state.orders.running
    assert running is None or scene.host.timeline.now - running.since < 200.0


def test_nobody_goes_for_one_whose_turn_does_not_come() -> None:
    """What a low rank remembers keeps out another. That one waits all the same for a higher rank,
    which a pin keeps out and whose room it would take: so the low rank may stay."""
    low = {"SMALL": {"priority": 10, "preload": False}, "CHAT": {"pin": True}}
    scene = frail(config(**low))
    taken = scene.host.cards.foreign(CARD)
    scene.host.cards.set_foreign(CARD, taken + gib(6))
    scene.sidecar.start()
    scene.run(60)
    scene.sidecar.faults.driver = "lost"
    scene.host.use(SMALL, 1.0, keep_alive=7200.0)
    scene.run(80)
    scene.sidecar.faults.driver = "well"
    scene.host.cards.set_foreign(CARD, taken + gib(4.5))
    more = {"MEDIUM": {"priority": 60}, "EMBED": {"priority": 50}}
    scene.sidecar.loop.configure(config(**low, **more))
    scene.run(900)
    assert any("0 B it believes free" in text for text in scene.waits())
    assert scene.unloads() == []
    assert scene.resident() == {CHAT, SMALL}


def test_what_residents_hold_of_ram_is_not_asked_for_twice() -> None:
    """RAM gets short, and there is some left: all that residents need of it they have."""
    scene = world(config(CODER={"pin": True}, EMBED={"priority": 50})).run(60)
    assert scene.resident() == {CODER, EMBED}
    total = scene.host.spec.system_total_bytes
    scene.host.spec = replace(scene.host.spec, system_used_bytes=total - gib(1.2))
    scene.run(900)
    assert scene.unloads() == []


def test_a_pin_that_is_away_for_long_is_told_of_during_a_load_too() -> None:
    """While a slow disk loads another model for half an hour, nothing is decided."""
    scene = frail(config(CODER={"pin": True}, MEDIUM={"priority": 60}), slowness=1.0)
    scene.sidecar.start()
    scene.run(60)
    scene.host.unload(scene.host.library.find(MEDIUM))
    scene.run(70)
    scene.host._physics.slowness = 300.0
    while MEDIUM not in scene.preloads(since=100):
        scene.run(scene.now + 5)
    scene.host.unload(scene.host.library.find(CODER))
    scene.run(scene.now + 400)
    assert scene.resident() == set()
    (text,) = scene.texts("pin_missing")
    assert "preload of qwen2.5:14b is under way" in text
