"""Models that came, left or lost their name without a look that could tell, and pins that a plan
would rather see elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
from loop_hosts import (
    CHAT,
    CODER,
    EMBED,
    GIANT,
    MEDIUM,
    SMALL,
    START,
    World,
    config,
    world,
)
from test_fault_scenes import frail, freeze, pull_anew

from warmset.core.control.config import Config
from warmset.core.control.departures import confirm_departures
from warmset.core.control.loop import Loop
from warmset.core.control.orders import SendPing
from warmset.core.control.outcomes import note_race
from warmset.core.control.state import Leaving, State, state_from_plain, state_to_plain
from warmset.core.loop_settings import LoopSettings
from warmset.core.twin.sidecar import Sidecar

TWO_PINS = {"CODER": {"pin": True, "priority": 90}, "CHAT": {"pin": True, "priority": 80}}


def come_back(scene: World, said: Config, plain: object, *, sees_processes: bool = True) -> None:
    """Another process of warmset begins, with what an earlier one had written down."""
    scene.sidecar = Sidecar(scene.host, Loop(said, state_from_plain(plain)))
    scene.sidecar.sees_processes = sees_processes
    scene.sidecar.start()


def test_what_a_client_said_of_a_runner_ends_with_it_seen_or_not() -> None:
    """A client keeps a model by its own word, and it goes while no warmset runs. The next one is
    another runner, and has its lease."""
    said = config(EMBED={"priority": 50})
    scene = world(said).run(60)
    scene.host.use(EMBED, 1.0, keep_alive=400.0)
    scene.run(120)
    key = scene.key(EMBED)
    assert scene.sidecar.loop.state.of(key).is_overruled
    plain = state_to_plain(scene.sidecar.loop.state)
    scene.sidecar.stop()
    scene.host.unload(scene.host.library.find(EMBED))
    scene.run(130)
    come_back(scene, said, plain)
    scene.run(135)
    known = scene.sidecar.loop.state.of(key)
    assert known.resident_since is None
    assert START + 60 < known.lost_at < START + 130
    scene.host.use(EMBED, 1.0, keep_alive=400.0)
    scene.run(900)
    assert scene.pings(since=135) == [EMBED]
    assert scene.evicted(since=135) == []


def test_who_was_loaded_anew_while_no_warmset_ran_is_not_the_one_that_we_preloaded() -> None:
    """Warmset ends right after its preload. When it is back, another process has those weights: a
    client had them loaded, and since when they are there nobody knows."""
    said = config(EMBED={"priority": 50})
    scene = world(said).run(2)
    plain = state_to_plain(scene.sidecar.loop.state)
    scene.sidecar.stop()
    scene.host.unload(scene.host.library.find(EMBED))
    scene.run(25)
    scene.host.use(EMBED, 1.0, keep_alive=1200.0)
    scene.run(600)
    come_back(scene, said, plain)
    scene.run(610)
    assert scene.findings("preload_verified") == []
    assert scene.sidecar.loop.state.of(scene.key(EMBED)).resident_since >= START + 600


def test_a_pin_that_a_plan_would_load_anew_keeps_its_lease() -> None:
    """Three pins fit in another order only, and nobody sends a pin away for that. Nor does it leave
    because a client gave it a short keep-alive."""
    scene = world(config(**TWO_PINS)).run(60)
    more = config(**TWO_PINS, MEDIUM={"pin": True, "priority": 95})
    scene.sidecar.loop.configure(more)
    scene.at(100, lambda host: host.use(CODER, 1.0, keep_alive=100.0))
    scene.run(900)
    assert scene.evicted() == []
    assert scene.resident() == {CODER, CHAT}
    assert MEDIUM not in scene.preloads()


def test_who_waits_to_be_loaded_anew_keeps_its_lease() -> None:
    """A second pin would fit if a small model came after it; the first pin, which came last, keeps
    it out as long as it stays. Meanwhile the small one leaves for nobody."""
    wanted = {"MEDIUM": {"priority": 60}, "EMBED": {"priority": 59}}
    scene = world(config(**wanted)).run(60)
    scene.sidecar.loop.configure(config(CODER={"pin": True}, **wanted))
    scene.run(120)
    scene.sidecar.loop.configure(config(**TWO_PINS, **wanted))
    scene.run(200)
    assert any("loaded again where" in reason for reason in scene.waits())
    scene.run(2 * 3600)
    assert scene.evicted() == []
    assert scene.resident() == {CODER, MEDIUM, EMBED}


def test_a_name_that_is_pulled_anew_moves_nothing() -> None:
    """All loading has stopped. That a row of `/api/ps` has lost its name is no load."""
    scene = freeze(frail(config(CODER={"pin": True}, SMALL={"priority": 10})))
    scene.sidecar.start()
    scene.run(400)
    assert "loads_stuck" in scene.alarms()
    assert SMALL in scene.resident()
    pull_anew(scene, SMALL)
    scene.run(420)
    assert not scene.findings("loads_resumed")
    assert not scene.findings("model_left")


def test_a_load_for_somebody_whose_model_was_deleted_goes_before_ours_too() -> None:
    """A giant and another wait for a busy pin, and our preload behind them. The giant's name is
    deleted before it is there: its room is gone all the same, so ours is called off."""
    scene = world(config(CODER={"pin": True}, EMBED={"priority": 50})).run(60)
    scene.host.use(CODER, 170.0)
    scene.host.use(GIANT, 60.0)
    scene.host.use(MEDIUM, 1.0)
    scene.run(225)
    assert scene.sidecar.loop.state.orders.running.order.name == EMBED
    scene.host.library.delete(GIANT)
    scene.run(260)
    assert scene.findings("load_aborted") == [EMBED]
    assert GIANT in scene.findings("model_came")


def test_a_lower_rank_waits_for_a_higher_one_that_comes_in_a_moment() -> None:
    """The large model left a while ago and is to come back after its pause. A small one of lower
    rank would keep it out for having come first, and would have to go again."""
    said = config(**TWO_PINS, MEDIUM={"priority": 60})
    scene = world(said, sees_processes=False).run(60)
    scene.host.use(GIANT, 1.0, keep_alive=0.0)
    scene.host.use(CHAT, 1.0, options={"num_ctx": 2048})  # leaves room for all four
    scene.run(63)
    more = {"MEDIUM": {"priority": 60}, "EMBED": {"priority": 59}}
    scene.sidecar.loop.configure(config(**TWO_PINS, **more))
    scene.run(900)
    assert scene.unloads() == []
    assert scene.preloads(since=61) == [CODER, MEDIUM, EMBED]


def test_a_hidden_server_keeps_its_gpus_as_long_as_somebody_stays() -> None:
    """The card is cut in two while Ollama runs: it goes on with the whole card, so nobody is sent
    away for want of room on a half."""
    scene = frail(config(CODER={"pin": True}, MEDIUM={"priority": 60}))
    scene.sidecar.sees_processes = False
    scene.sidecar.start()
    scene.run(120)
    assert scene.resident() == {CODER, MEDIUM}
    scene.sidecar.faults.driver = "reshaped"
    scene.run(400)
    assert scene.unloads() == []
    assert "gpus_changed" in scene.alarms()


def test_a_driver_that_was_silent_at_first_tells_nothing_of_a_hidden_server() -> None:
    """Its process is not seen, and the GPU is found only later: the server may have had it all the
    time, so this is no change, and the rest goes on."""
    scene = frail(config(CODER={"pin": True}, MEDIUM={"priority": 60}))
    scene.sidecar.sees_processes = False
    scene.host.use(CODER, 1.0)
    observe = scene.sidecar.observe
    scene.sidecar.observe = lambda: replace(observe(), devices=())
    scene.sidecar.start()
    scene.run(30)
    scene.sidecar.observe = observe
    scene.run(400)
    assert "gpus_changed" not in scene.alarms()
    assert scene.resident() == {CODER, MEDIUM}


def snatch_next(scene: World, *more: str) -> None:
    """All leases are given anew, and somebody unloads the first model just before its ping, and
    asks for more."""
    carry_out = scene.sidecar._carry_out

    def snatch(commands) -> None:
        for command in commands:
            if isinstance(command, SendPing) and command.key in scene.host.scheduler.loaded:
                scene.sidecar._carry_out = carry_out
                scene.host.unload(scene.host.library.find(command.name))
                for name in more:
                    scene.host.use(name, 1.0)
        carry_out(commands)

    scene.sidecar._carry_out = snatch
    scene.sidecar.clock_ahead += 100.0


def test_after_a_ping_that_met_an_unload_the_others_of_its_round_are_left_out() -> None:
    """They are left for later, and one accident is counted once; who met it has its lease."""
    scene = world(config(**TWO_PINS, EMBED={"priority": 50})).run(60)
    snatch_next(scene)
    scene.run(70)
    raced = scene.findings("ping_raced")
    assert len(raced) == 1
    assert len(scene.pings(since=60)) == 1
    scene.run(200)
    assert set(scene.pings(since=70)) == {CODER, CHAT, EMBED} - set(raced)


def test_a_ping_that_waits_for_a_load_is_hung_up_on() -> None:
    """The model was unloaded just before its ping, and behind a giant that waits for a busy model
    the ping would wait as long as that one is busy, and warmset with it."""
    scene = world(config(CODER={"pin": True}, MEDIUM={"preload": False})).run(30)
    scene.host.use(MEDIUM, 3000.0, keep_alive=7200.0)
    scene.run(60)
    snatch_next(scene, GIANT)
    scene.run(100)
    assert scene.findings("ping_raced") == [CODER]
    assert len(scene.sidecar.log.cancels) == 1
    assert scene.sidecar.loop.state.orders.running is None


def test_a_ping_whose_load_failed_is_an_accident_too() -> None:
    """It is told as one, not only as a ping that failed."""
    scene = frail(config(CODER={"pin": True}))
    scene.sidecar.start()
    scene.run(60)
    physics = scene.sidecar.host._physics
    physics.failing, physics.error = 1, "llama runner process has terminated"
    snatch_next(scene)
    scene.run(75)
    assert scene.findings("ping_raced") == [CODER]
    assert len(scene.sidecar.loop.state.races) == 1


def test_a_ping_that_loaded_its_model_is_found_out_though_a_clock_was_set_meanwhile() -> None:
    """Its answer is lost, and the look that could compare has nothing to compare with."""
    scene = frail(config(CODER={"pin": True}))
    scene.sidecar.start()
    scene.run(60)
    scene.sidecar.faults.lost_replies = 1
    snatch_next(scene)
    while CODER not in scene.pings(since=60):
        scene.run(scene.now + 0.5)
    scene.sidecar.clock_ahead -= 30.0
    scene.run(scene.now + 60)
    assert len(scene.findings("clock_stepped")) == 2
    assert scene.findings("ping_reloaded") == [CODER]
    assert len(scene.sidecar.loop.state.races) == 1


def test_after_two_accidents_of_pings_there_is_no_third_for_a_while() -> None:
    """Neither when the pause is over: two in ten minutes are as many as there may be."""
    loop = LoopSettings()
    state = note_race(note_race(State(), loop, 1000.0), loop, 1100.0)
    assert state.pings_quiet_until == 1000.0 + loop.fight_window


def test_the_lease_of_a_ping_that_loaded_its_model_stands() -> None:
    """So who replaces it overrules warmset, and a model without a pin keeps what it was given."""
    scene = world(config(CODER={"pin": True}, EMBED={"priority": 50})).run(60)
    snatch_next(scene)
    scene.run(200)
    assert scene.findings("ping_reloaded") == [EMBED]
    scene.host.use(EMBED, 1.0, keep_alive=7200.0)
    scene.run(2000)
    assert EMBED not in scene.pings(since=70)


def test_who_was_loaded_by_a_ping_has_come_just_now() -> None:
    """Where processes are hidden, too: it stays for as long as anybody who came."""
    said = config(CODER={"pin": True}, EMBED={"priority": 50})
    scene = world(said, sees_processes=False).run(60)
    snatch_next(scene)
    scene.run(100)
    assert scene.findings("ping_raced") == [EMBED]
    since = scene.sidecar.loop.state.of(scene.key(EMBED)).resident_since
    assert since is not None
    assert since > START + 60


def test_another_context_right_after_a_ping_is_a_clients() -> None:
    """A ping asks for the context that is there, so it is no accident of ours, and a load of
    somebody's."""
    scene = world(config(CODER={"pin": True})).run(60)
    scene.sidecar.clock_ahead += 100.0  # the lease is given anew at the next look
    look = scene.sidecar.loop.wake_at - START
    scene.at(look + 0.1, lambda host: host.use(CODER, 1.0, options={"num_ctx": 16384}))
    scene.run(look + 10)
    assert scene.pings(since=60)[:1] == [CODER]
    assert scene.findings("model_reloaded") == [CODER]
    assert not scene.findings("ping_reloaded")


def test_who_is_loaded_with_another_context_made_room_for_nobody() -> None:
    """A look meets the load: the model has left, and is not its own rival."""
    scene = world(config(CODER={"pin": True})).run(60)
    look = scene.sidecar.loop.wake_at - START
    scene.at(look - 1.0, lambda host: host.use(CODER, 1.0, options={"num_ctx": 16384}))
    scene.run(look + 30)
    (left,) = (f for _, f in scene.sidecar.log.findings if f.kind == "model_left")
    assert left.text == "pushed out, or unloaded by somebody"
    assert not scene.findings("pushed_out")
    assert scene.sidecar.loop.state.of(scene.host.library.find(CODER).key).lost_to == ""


def test_a_preload_that_was_pushed_out_before_a_look_had_its_effect() -> None:
    """The server is deaf for a while after it; then the lever is not to blame, and somebody's load
    may be under way."""
    scene = world(config(CODER={"pin": True}), starts=False)
    scene.sidecar.start()
    scene.run(1)
    scene.sidecar.answers_ps = False
    scene.run(8)
    scene.host.unload(scene.host.library.find(CODER))
    scene.run(30)
    scene.sidecar.answers_ps = True
    scene.run(50)
    assert not scene.findings("preload_without_effect")
    assert scene.findings("model_left") == [CODER]
    assert len(scene.preloads()) == 1  # the next one waits until users' loads are over
    scene.run(200)
    assert scene.resident() == {CODER}


def test_a_dead_runner_that_is_loaded_anew_is_a_clients_load() -> None:
    """Seen dead for some looks, it comes back by a client's request: nothing of ours follows in
    the burst that such a load may begin."""
    scene = world(config(SMALL={"preload": False})).run(30)
    scene.host.use(SMALL, 1.0)
    scene.run(60)
    scene.host.kill_runner(scene.key(SMALL))
    scene.run(66)
    scene.host.use(SMALL, 1.0)
    scene.run(72)
    assert scene.findings("model_reloaded") == [SMALL]
    scene.sidecar.loop.configure(config(CODER={"pin": True}))
    scene.run(600)
    first = next(began for began, _, name in scene.loads() if name == CODER)
    assert first >= 66 + LoopSettings().calm


def test_a_runner_that_came_and_died_while_the_server_was_deaf_is_not_pinged() -> None:
    """Its process was there while nobody said what is resident, and is gone when it is listed: a
    ping would load it anew."""
    scene = world(config(SMALL={"preload": False})).run(30)
    scene.sidecar.answers_ps = False
    scene.host.use(SMALL, 1.0, keep_alive=1000.0)
    scene.run(90)
    scene.host.kill_runner(scene.key(SMALL))
    scene.sidecar.answers_ps = True
    scene.run(300)
    assert "runner_gone" in scene.alarms()
    assert scene.pings() == []


def test_a_preload_is_called_off_whose_model_is_there_and_serves_somebody() -> None:
    """A client had it loaded with another context a moment before ours, which would wait until it
    is idle, and warmset with it."""
    scene = world(config(CHAT={"pin": True}), starts=False, sees_processes=False)
    scene.host.use(EMBED, 1.0)
    scene.host.use(CHAT, 300.0, keep_alive=7200.0, options={"num_ctx": 2048})
    scene.sidecar.start()
    scene.run(60)
    assert scene.preloads() == [CHAT]
    assert scene.findings("load_aborted") == [CHAT]
    assert scene.resident() == {EMBED, CHAT}
    scene.run(900)
    assert scene.preloads() == [CHAT, CHAT]
    assert scene.resident() == {CHAT}


def test_who_may_have_come_while_nobody_looked_has_come_just_now() -> None:
    """A client's model is in the way of a pin. While warmset stands still it goes and is loaded
    again, and processes are hidden: neither its stay nor its idleness is as long as the pause."""
    said = config(LoopSettings(may_evict_unconfigured=True), MEDIUM={"pin": True})
    scene = world(said, sees_processes=False, starts=False)
    scene.host.use(GIANT, 1.0, keep_alive=600.0)
    scene.run(20)
    scene.sidecar.start()
    scene.run(60)
    assert GIANT in scene.resident()
    plain = state_to_plain(scene.sidecar.loop.state)
    scene.sidecar.stop()
    scene.host.unload(scene.host.library.find(GIANT))
    scene.run(190)
    scene.host.use(GIANT, 1.0, keep_alive=600.0)
    scene.run(200)
    come_back(scene, said, plain, sees_processes=False)
    scene.run(200 + LoopSettings().min_residency - 1)
    assert GIANT in scene.resident()
    scene.run(600)
    assert scene.resident() == {MEDIUM}


def test_a_deleted_model_that_is_loaded_with_another_context_is_a_clients_load() -> None:
    """Nobody knows whose weights its row shows, and processes are hidden: the context tells it."""
    scene = world(config(SMALL={"preload": False}), sees_processes=False).run(30)
    scene.host.use(SMALL, 40.0, keep_alive=900.0)
    scene.run(40)
    scene.host.use(SMALL, 1.0, keep_alive=900.0, options={"num_ctx": 16384})
    scene.host.library.delete(SMALL)
    scene.run(80)
    assert scene.findings("model_reloaded") == [SMALL]
    scene.sidecar.loop.configure(config(CODER={"pin": True}))
    scene.run(600)
    first = next(began for began, _, name in scene.loads() if name == CODER)
    assert first >= 70 + LoopSettings().calm


def test_what_is_there_right_after_a_restart_somebody_has_just_loaded() -> None:
    """More loads may follow: ours wait as after any load of a client's."""
    scene = world(config(CODER={"pin": True})).run(102)
    scene.host.restart(0.5)
    scene.run(103)
    scene.host.use(SMALL, 1.0)
    scene.run(300)
    assert scene.findings("server_restarted")
    began = next(began for began, _, name in scene.loads() if name == CODER and began > 100)
    assert began >= 105 + LoopSettings().calm
    assert scene.resident() == {CODER, SMALL}


def test_who_was_loaded_again_while_its_memory_came_back_has_come_anew() -> None:
    """It was unloaded by warmset, and a client has it again at once. When it leaves then, that is
    no late effect of the unload."""
    loop = LoopSettings(min_residency=0.0)
    scene = world(config(loop, EMBED={"priority": 50})).run(60)
    scene.host.cards.release_lag_seconds = 4.0
    scene.sidecar.loop.configure(config(loop, EMBED={"keep_alive": 30.0}))
    while not scene.unloads():
        scene.run(scene.now + 1)
    scene.run(scene.now + 2)
    assert EMBED not in scene.resident()
    scene.host.use(EMBED, 1.0, keep_alive=20.0)
    scene.run(scene.now + 60)
    assert scene.findings("model_came") == [EMBED]
    assert scene.findings("model_left") == [EMBED]


def test_a_deleted_model_that_is_loaded_otherwise_goes_before_ours_too() -> None:
    """Our preload waits behind that request, and would be next: more may have come meanwhile."""
    scene = world(config(SMALL={"preload": False}), sees_processes=False).run(30)
    scene.host.use(SMALL, 200.0, keep_alive=900.0)
    scene.run(60)
    scene.host.use(SMALL, 100.0, keep_alive=900.0, options={"num_ctx": 16384})
    scene.host.library.delete(SMALL)
    scene.sidecar.loop.configure(config(CHAT={"pin": True}))
    scene.host.use(GIANT, 60.0)
    scene.run(260)
    assert scene.preloads() == [CHAT]
    assert scene.findings("load_aborted") == [CHAT]


def test_what_a_load_found_whose_name_was_gone_before_it_was_there_is_not_an_earlier_ones() -> None:
    """The large model is loaded with another context while its own memory is on its way back, and
    deleted meanwhile: it found too little, spilled, and keeps the second pin out as long as it
    stays. The runner before it had found much more."""
    scene = world(config(CHAT={"pin": True}, CODER={"preload": False})).run(30)
    scene.host.cards.release_lag_seconds = 4.0
    scene.host.use(MEDIUM, 30.0)
    scene.run(45)
    scene.host.use(MEDIUM, 1.0, keep_alive=600.0, options={"num_ctx": 16384})
    while MEDIUM in scene.resident():
        scene.run(scene.now + 0.5)
    left_at = scene.now
    scene.run(left_at + 3)
    scene.host.library.delete(MEDIUM)
    scene.sidecar.loop.configure(config(**TWO_PINS))
    scene.run(left_at + 300)
    assert scene.resident() == {CHAT, MEDIUM}
    assert scene.evicted(since=left_at) == []
    assert "pin_blocked" in scene.alarms()
    scene.run(left_at + 900)
    assert scene.resident() == {CHAT, CODER}


def test_a_name_that_comes_back_leaves_the_lease_as_it_was() -> None:
    """A model is deleted and installed again while its runner stays: nobody asked for it, and what
    is left of its lease is no keep-alive of a client's."""
    scene = world(config(CODER={"pin": True}, EMBED={"priority": 50})).run(60)
    model = scene.host.library.find(EMBED)
    scene.host.library.delete(EMBED)
    scene.run(600)
    scene.host.library.install(model)
    scene.run(4000)
    assert not scene.findings("lease_overwritten")
    assert scene.resident() == {CODER, EMBED}
    assert scene.evicted() == []


@pytest.mark.parametrize("sees_processes", [True, False])
def test_a_runner_whose_name_is_deleted_is_no_program_that_may_grow(sees_processes: bool) -> None:
    """A client's model lies beside ours, and its name is deleted. It holds what it held before:
    nobody goes so that it may grow."""
    said = config(CODER={"pin": True}, MEDIUM={"priority": 60}, EMBED={"priority": 59})
    scene = world(said, sees_processes=sees_processes).run(60)
    scene.host.use(CHAT, 1.0, keep_alive=7200.0)
    scene.run(150)
    assert scene.resident() == {CODER, MEDIUM, EMBED, CHAT}
    scene.host.library.delete(CHAT)
    scene.run(900)
    assert scene.unloads() == []


def test_who_is_to_leave_is_waited_for_though_its_name_is_deleted() -> None:
    """It serves somebody, so it leaves late; its name is deleted meanwhile. Its row is there still,
    and it is not gone before that is."""
    scene = world(config(CODER={"pin": True})).run(60)
    seen, state, now = scene.sidecar.observe(), scene.sidecar.loop.state, START + 60
    (row,) = seen.residents or ()
    leaving = Leaving(key=scene.key(CODER), name=CODER, held={}, free_before={}, since=now - 5)
    state = replace(state, leaving=(leaving,))
    nameless = replace(seen, residents=(replace(row, key=None),))
    state, found = confirm_departures(nameless, state, now)
    assert [(one.key, one.gone_at) for one in state.leaving] == [(leaving.key, None)]
    assert found == ()
    gone, _ = confirm_departures(replace(seen, residents=()), state, now)
    assert gone.leaving[0].gone_at == now
