"""The loop beside a pretended Ollama, with nothing but what polling shows."""

from __future__ import annotations

import json
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
    config,
    gib,
    with_env,
    words,
    world,
)

from warmset.core.control.actions import Alarm, Preload, Wait
from warmset.core.control.leases import lease_seconds
from warmset.core.control.loop import Loop
from warmset.core.control.orders import Cancel, SendPing, SendPreload
from warmset.core.control.state import state_from_plain, state_to_plain
from warmset.core.control.step import step
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import FOREVER, Quality
from warmset.core.twin.sidecar import Sidecar
from warmset.core.twin.sidecar_view import observe_twin

TWO_PINS = {"CODER": {"pin": True, "priority": 90}, "CHAT": {"pin": True, "priority": 80}}
BOTH = {CODER, CHAT}


# -- start and convergence ------------------------------------------------------------------


def test_the_first_preload_is_sent_at_the_first_look() -> None:
    """A fresh start on an idle host loses no tick."""
    scene = world(config(**TWO_PINS)).run(0.1)
    assert scene.preloads() == [CHAT]


def test_all_pins_are_resident_within_their_loads_and_a_tick_each() -> None:
    """Nothing but loading takes time: the next preload follows the end of the last at once."""
    scene = world(config(**TWO_PINS, EMBED={"pin": True})).run(120)
    ends = [end for _, end, _ in scene.loads()]
    seconds = sum(end - begun for begun, end, _ in scene.loads())
    assert scene.resident() == {*BOTH, EMBED}
    assert max(ends) <= seconds + 5.0 * len(ends)


def test_a_host_that_is_as_wanted_is_left_alone() -> None:
    """Once converged, a quarter of an hour passes without a single write."""
    scene = world(config(**TWO_PINS)).run(900)
    assert scene.preloads() == [CHAT, CODER]
    assert not scene.pings(since=30)
    assert scene.sidecar.loop.decision.is_converged


def test_a_second_look_after_applying_finds_no_change() -> None:
    """Apply, then plan with nothing remembered: no difference is left."""
    scene = world(config(**TWO_PINS, EMBED={"priority": 60}, MEDIUM={"priority": 1})).run(300)
    fresh = Loop(scene.sidecar.loop.config)
    fresh.look(observe_twin(scene.host), scene.host.timeline.now)
    assert not fresh.decision.changes


def test_the_same_look_gives_the_same_decision_whoever_asks() -> None:
    """Plan, apply, serve and replay call one pure function of plain values."""
    scene = world(config(**TWO_PINS, MEDIUM={"priority": 1})).run(60.0)
    observation, now = observe_twin(scene.host), scene.host.timeline.now
    said, state = scene.sidecar.loop.config, scene.sidecar.loop.state
    saved = json.loads(json.dumps(state_to_plain(state)))
    first, again = step(observation, said, state, now), step(observation, said, state, now)
    assert first == again
    replayed = step(observation, said, state_from_plain(saved), now)[1]
    assert replayed.changes == first[1].changes
    assert replayed.members == first[1].members


def test_under_memory_pressure_nothing_is_loaded_until_it_has_passed() -> None:
    """What would be loaded waits with the reason, whatever is available, and comes afterwards."""
    scene = world(config(**TWO_PINS), starts=False)
    seen, now, said = observe_twin(scene.host), scene.host.timeline.now, scene.sidecar.loop.config
    pressed = replace(seen, memory=replace(seen.memory, pressure="tasks are waiting for memory"))
    state, decision, _ = step(pressed, said, scene.sidecar.loop.state, now)
    waits = [a for a in decision.actions if isinstance(a, Wait)]
    assert len(decision.actions) == len(waits)
    assert {w.name for w in waits if w.reason == pressed.memory.pressure} == BOTH
    later = step(seen, said, state, now + 5)[1].actions
    assert [a.name for a in later if isinstance(a, Preload)] == [CHAT]


@pytest.mark.parametrize(("age", "is_held"), [(0.5, True), (9.0, True), (30.0, False)])
def test_nothing_is_loaded_on_the_strength_of_an_old_number(age: float, is_held: bool) -> None:
    """A driver that hangs for a moment holds loads back; for long, its GPU counts as unknown. In
    neither case is anything unloaded for it, and afterwards all goes on."""
    scene = world(config(**TWO_PINS), starts=False)
    seen, now, said = observe_twin(scene.host), scene.host.timeline.now, scene.sidecar.loop.config
    card = seen.devices[0]
    old = replace(card.free_bytes, quality=Quality.STALE, age_seconds=age, reason="it hangs")
    hung = replace(seen, devices=(replace(card, free_bytes=old), *seen.devices[1:]))
    state, decision, _ = step(hung, said, scene.sidecar.loop.state, now)
    assert {type(action) for action in decision.actions} <= {Wait, Alarm}
    reason = f"the free memory of {card.name} could not be read just now"
    held = {a.name for a in decision.actions if isinstance(a, Wait) and a.reason == reason}
    assert held == (BOTH if is_held else set())
    later = step(seen, said, state, now + 5)[1].actions
    assert [a.name for a in later if isinstance(a, Preload)] == [CHAT]


def test_observing_writes_nothing() -> None:
    """A read-only loop decides and says, and the server never hears of it."""
    scene = world(config(**TWO_PINS), starts=False)
    scene.sidecar.loop.is_read_only = True
    scene.sidecar.start()
    scene.run(300)
    assert not scene.sidecar.log.sent
    assert [a.name for a in scene.sidecar.loop.decision.sends] == [CHAT]


# -- the four scenes ------------------------------------------------------------------------


def test_a_model_too_large_for_the_host_costs_the_pins_nothing_for_good() -> None:
    """We evict nothing for it, wait until it is gone, bring the pins back, and can say why."""
    scene = world(config(**TWO_PINS)).at(60, lambda host: host.use(GIANT, 20.0)).run(200)
    assert scene.resident() == {GIANT}
    assert not scene.unloads()
    assert any("no room for it now" in reason and GIANT in reason for reason in scene.waits())
    scene.run(600)
    assert scene.resident() == BOTH
    assert scene.findings("model_left").count(GIANT) == 1
    told = [f for _, f in scene.sidecar.log.findings if f.kind in ("model_left", "pushed_out")]
    assert {f.name for f in told if GIANT in f.text} >= BOTH
    assert not scene.findings("preload_evicted")


def test_pins_that_never_fit_give_one_error_and_no_loads() -> None:
    """The numbers are named once; nothing is moved, a minute or an hour later."""
    said = config(CODER={"pin": True}, MEDIUM={"pin": True}, GIANT={"pin": True})
    scene = world(said).run(3600)
    assert scene.alarms() == ["pins_conflict"]
    (text,) = scene.texts("pins_conflict")
    assert GIANT in text
    assert "GiB" in text
    assert not scene.sidecar.log.sent


def test_a_stop_in_the_middle_of_a_load_calls_it_off() -> None:
    """Within two seconds nothing is open, the half-loaded model is gone, residents stay."""
    scene = world(config(**TWO_PINS)).run(4.0)
    assert scene.host.scheduler.loading is not None
    scene.sidecar.stop()
    scene.run(6.0)
    assert scene.sidecar.loop.is_idle
    assert scene.host.scheduler.loading is None
    assert scene.resident() == {CHAT}
    assert scene.findings("load_aborted") == [CODER]
    scene.run(600)
    assert scene.preloads() == [CHAT, CODER]


def test_a_successor_takes_over_without_a_fight() -> None:
    """A new process with the old one's state goes on where it was, and reloads nothing."""
    scene = world(config(**TWO_PINS)).run(4.0)
    scene.sidecar.stop()
    saved = json.loads(json.dumps(state_to_plain(scene.sidecar.loop.state)))
    next_one = Sidecar(scene.host, Loop(scene.sidecar.loop.config, state_from_plain(saved)))
    next_one.start()
    scene.run(600)
    assert scene.resident() == BOTH
    assert [c.name for _, c in next_one.log.sent if isinstance(c, SendPreload)] == [CODER]


def test_a_successor_without_a_state_changes_nothing_that_is_right() -> None:
    """A lost state costs one ping per model, and no load."""
    scene = world(config(**TWO_PINS)).run(60)
    scene.sidecar.kill()
    next_one = Sidecar(scene.host, Loop(scene.sidecar.loop.config))
    next_one.start()
    scene.run(900)
    assert scene.resident() == BOTH
    assert sorted(c.name for _, c in next_one.log.sent) == sorted(BOTH)
    assert next_one.log.count(SendPing) == 2


# -- leases ---------------------------------------------------------------------------------


def test_leases_follow_the_ranks() -> None:
    """What ranks higher has the longer keep-alive, and all are above Ollama's default."""
    scene = world(config(**TWO_PINS, EMBED={"priority": 60})).run(60)
    durations = [scene.duration(name) for name in (EMBED, CHAT, CODER)]
    assert durations == sorted(durations)
    assert len(set(durations)) == 3
    assert durations[0] > 1800.0


def test_a_model_that_a_client_loaded_gets_its_rank() -> None:
    """A managed model loaded by somebody else is pinged once, when no load is pending."""
    said = config(CODER={"preload": False, "priority": 70})
    scene = world(said).at(30, lambda host: host.use(CODER, 3.0)).run(300)
    assert scene.pings() == [CODER]
    assert scene.duration(CODER) == lease_seconds(7)


def test_a_lease_is_renewed_before_it_ends_and_not_much_oftener() -> None:
    """Over six idle hours each model is pinged about once in half its lease."""
    scene = world(config(**TWO_PINS)).run(6 * 3600)
    assert scene.resident() == BOTH
    assert scene.preloads() == [CHAT, CODER]
    assert 20 <= len(scene.pings()) <= 45


def test_a_clients_value_is_taken_back_from_a_pin_a_bounded_number_of_times() -> None:
    """A dozen pings in ten minutes, then an alarm; the pin is still never lost."""
    scene = world(config(**TWO_PINS))
    for turn in range(200):
        scene.at(60 + turn * 20, lambda host: host.use(CODER, 2.0, keep_alive=300.0))
    scene.run(660)
    assert len(scene.pings()) == 12
    assert scene.alarms() == ["overwritten"]
    scene.run(5400)
    assert CODER in scene.resident()
    assert scene.preloads() == [CHAT, CODER]
    assert len(scene.pings()) < 100


def test_a_clients_value_stands_where_nothing_is_pinned() -> None:
    """Somebody who sends a keep-alive for an ordinary model means it."""
    scene = world(config(CODER={"priority": 70}))
    scene.at(60, lambda host: host.use(CODER, 2.0, keep_alive=400.0)).run(300)
    assert scene.duration(CODER) == 400.0
    assert not scene.pings()


def test_an_endless_keep_alive_is_reported_and_left() -> None:
    """For ever is a client's decision unless the operator allows to overrule it."""
    scene = world(config(CODER={"pin": True}))
    scene.at(60, lambda host: host.use(CODER, 2.0, keep_alive=FOREVER)).run(300)
    assert scene.duration(CODER) == FOREVER
    assert "infinite_keep_alive" in scene.alarms()
    allowed = config(LoopSettings(may_overwrite_infinite=True), CODER={"pin": True})
    scene = world(allowed)
    scene.at(60, lambda host: host.use(CODER, 2.0, keep_alive=FOREVER)).run(300)
    assert scene.duration(CODER) == lease_seconds(7)


def test_the_base_rises_above_what_clients_use() -> None:
    """A client that keeps its own model for an hour does not outrank what warmset manages."""
    scene = world(config(CODER={"pin": True}))
    scene.at(60, lambda host: host.use(SMALL, 2.0, keep_alive=3600.0)).run(300)
    assert scene.duration(CODER) > 3600.0
    assert "base_raised" in scene.alarms()


def test_our_own_pings_are_no_demand() -> None:
    """A model that only warmset touches is never seen as used."""
    scene = world(config(CODER={"pin": True})).run(4 * 3600)
    assert len(scene.pings()) > 3
    assert scene.sidecar.loop.state.of(scene.key(CODER)).used_at is None


# -- fights ---------------------------------------------------------------------------------


def test_a_pin_is_restored_a_bounded_number_of_times() -> None:
    """Pushed out every two minutes, it comes back three times, then ever more rarely."""
    scene = world(config(**TWO_PINS))
    for turn in range(60):
        scene.at(60 + turn * 120, lambda host: host.use(GIANT, 5.0, keep_alive=30.0))
    scene.run(7200)
    assert 6 <= scene.preloads().count(CODER) <= 16
    assert any("qwen2.5:32b" in text for text in scene.texts("paused"))
    late = len(scene.preloads(since=3600))
    assert late < len(scene.preloads()) - late


# -- the host changes -----------------------------------------------------------------------


def test_the_lowest_ranks_give_way_to_other_programs_and_come_back() -> None:
    """A game takes ten gigabytes: the pin stays, the others yield, and return after it."""
    said = config(CODER={"pin": True}, CHAT={"priority": 80}, SMALL={"priority": 20})
    scene = world(said).at(100, lambda host: host.cards.set_foreign(CARD, gib(10))).run(600)
    assert CODER in scene.resident()
    assert SMALL not in scene.resident() or CHAT not in scene.resident()
    assert scene.host.cards.free(CARD) > gib(0.9)
    scene.at(700, lambda host: host.cards.set_foreign(CARD, gib(0.6))).run(2400)
    assert scene.resident() == {CODER, CHAT, SMALL}
    assert scene.findings("model_left").count(CODER) == 0


def test_a_short_spike_of_other_programs_moves_nothing() -> None:
    """What is over before the pressure has lasted costs no model."""
    said = config(CODER={"pin": True}, CHAT={"priority": 80}, SMALL={"priority": 20})
    scene = world(said).at(102, lambda host: host.cards.set_foreign(CARD, gib(10)))
    scene.at(107, lambda host: host.cards.set_foreign(CARD, gib(0.6))).run(600)
    assert not scene.unloads()


def test_a_restarted_server_is_filled_again_at_once() -> None:
    """All gone and another process: no calm is kept for loads that died with the server."""
    scene = world(config(**TWO_PINS)).at(100, lambda host: host.restart(4.0)).run(140)
    assert scene.resident() == BOTH
    assert scene.findings("server_restarted")


def test_a_restart_between_two_looks_is_seen() -> None:
    """Down for less than a tick: the process's start tells it, and nothing is called a fight."""
    scene = world(config(**TWO_PINS)).at(101.5, lambda host: host.restart(0.5)).run(140)
    assert scene.resident() == BOTH
    assert not scene.sidecar.loop.state.of(scene.key(CODER)).restores


def test_an_unreachable_server_is_not_an_empty_one() -> None:
    """While nothing answers nothing is sent, and afterwards nothing is loaded twice."""
    scene = world(config(**TWO_PINS)).run(60)
    scene.sidecar.answers_ps = False
    scene.run(400)
    assert not scene.sent(since=60)
    assert scene.sidecar.loop.decision.trouble
    scene.sidecar.answers_ps = True
    scene.run(700)
    assert not scene.preloads(since=60)


def test_a_set_clock_costs_a_ping_each_and_no_load() -> None:
    """Two hours forward, then back: deadlines are learnt anew, models stay."""
    scene = world(config(**TWO_PINS))

    def jump(seconds: float) -> None:
        scene.sidecar.clock_ahead += seconds

    scene.at(100, lambda _: jump(7200.0)).at(300, lambda _: jump(-9000.0)).run(600)
    assert scene.resident() == BOTH
    assert scene.preloads() == [CHAT, CODER]
    assert len(scene.pings()) == 4


def test_a_deleted_pin_is_named_and_nothing_is_fetched() -> None:
    """What is not installed cannot be kept; the operator hears of it once."""
    scene = world(config(**TWO_PINS)).at(60, lambda host: host.library.delete(CODER)).run(300)
    assert scene.alarms() == ["pin_absent"]
    assert scene.preloads() == [CHAT, CODER]


def test_edited_words_count_from_the_next_look() -> None:
    """A pin that is added is loaded at once; what it displaces is unloaded, not left to expire."""
    scene = world(config(CODER={"priority": 60}, CHAT={"priority": 50}, SMALL={"priority": 10}))
    scene.run(120)
    assert scene.resident() == {CODER, CHAT, SMALL}
    edited = config(
        MEDIUM={"pin": True},
        CODER={"priority": 60},
        CHAT={"priority": 50},
        SMALL={"priority": 10},
    )
    scene.sidecar.loop.configure(edited)
    scene.run(300)
    assert MEDIUM in scene.resident()
    assert scene.unloads()
    assert CODER in scene.resident()


def test_a_busy_model_is_not_unloaded_however_much_its_room_is_wanted() -> None:
    """A long request keeps its runner, and the pin waits for its end."""
    said = config(CHAT={"preload": False, "priority": 10}, CODER={"pin": True})
    scene = world(said, with_env("workstation", max_loaded_models=1), starts=False)
    scene.host.use(CHAT, 500.0)
    scene.run(30)
    scene.sidecar.start()
    scene.run(480)
    assert scene.resident() == {CHAT}
    assert not scene.sidecar.log.sent
    scene.run(600)
    assert scene.unloads() == [CHAT]
    assert scene.resident() == {CODER}


def test_a_pin_that_another_pins_memory_keeps_out_is_an_alarm_and_no_fight() -> None:
    """A runner counts with what was free when it came; pins are not unloaded to refresh that."""
    low = {"preload": False, "priority": 10}
    scene = world(config(MEDIUM={"pin": True}, CHAT=low, CODER={"pin": True}), starts=False)
    scene.host.use(CHAT, 500.0)
    scene.host.use(SMALL, 1.0, keep_alive=FOREVER)
    scene.run(30)
    scene.sidecar.start()
    scene.run(1800)
    assert "pin_blocked" in scene.alarms()
    assert scene.preloads() == [MEDIUM]
    assert not scene.findings("preload_evicted")


def test_what_nobody_configured_is_unloaded_only_if_allowed() -> None:
    """The default is to wait; an explicit word lets an idle stranger go for a pin."""
    for may, expected in ((False, []), (True, [MEDIUM])):
        said = config(LoopSettings(may_evict_unconfigured=may), CODER={"pin": True})
        spec = with_env("workstation", max_loaded_models=1)
        scene = world(said, spec, starts=False)
        scene.host.use(MEDIUM, 1.0, keep_alive=FOREVER)
        scene.run(30)
        scene.sidecar.start()
        scene.run(300)
        assert scene.unloads() == expected
        assert (CODER in scene.resident()) is may


# -- pings and loads ------------------------------------------------------------------------


def test_no_ping_is_sent_while_a_users_load_is_seen() -> None:
    """Every ping of a busy afternoon falls outside every load."""
    scene = world(config(**TWO_PINS, EMBED={"priority": 60}))
    for turn in range(30):
        name = (SMALL, MEDIUM, CODER)[turn % 3]
        scene.at(97 + turn * 131, lambda host, name=name: host.use(name, 9.0, keep_alive=200.0))
    scene.run(4500)
    pings = [at for at, c in scene.sidecar.log.sent if isinstance(c, SendPing)]
    start = scene.host.timeline.now - scene.now
    for begun, end, _ in scene.loads():
        assert not [at for at in pings if begun <= at - start < end]
    assert pings


def test_a_slow_list_of_residents_is_too_old_for_a_ping() -> None:
    """What was read a second ago or more is no ground for a ping."""
    said = config(CODER={"preload": False, "priority": 70})
    scene = world(said)
    scene.sidecar.ps_seconds = 1.5
    scene.at(30, lambda host: host.use(CODER, 3.0)).run(300)
    assert not scene.pings()
    assert scene.findings("ping_left_out")


def test_a_preload_never_evicts_whatever_the_first_runner_says() -> None:
    """The memory of a giant that is loaded late looks free, and Ollama would evict it."""
    scene = world(config(**TWO_PINS)).at(30, lambda host: host.use(GIANT, 5.0, keep_alive=900.0))
    scene.run(800)
    assert GIANT in scene.resident()
    assert not scene.preloads(since=30)


@pytest.mark.parametrize("sees_processes", [True, False])
def test_the_pins_arrive_with_and_without_a_process_table(sees_processes: bool) -> None:
    """A server on another machine shows less; what can be done safely is done all the same."""
    scene = world(config(**TWO_PINS), sees_processes=sees_processes).run(300)
    assert scene.resident() == BOTH


def test_a_load_that_takes_too_long_is_given_up() -> None:
    """Half an hour is the end of patience: the load is called off and paused, not repeated."""
    said = config(LoopSettings(tick=1.0, load_limit=1.5), CODER={"pin": True})
    scene = world(said).run(60)
    assert scene.findings("load_aborted") == [CODER]
    assert scene.preloads() == [CODER]
    assert any(isinstance(c, Cancel) for c in scene.sidecar.log.cancels)


def test_a_dead_runner_is_not_pinged_and_is_named() -> None:
    """Ollama lists a killed runner until somebody asks for it; a ping would load it anew."""
    scene = world(config(**TWO_PINS)).run(60)
    scene.host.kill_runner(scene.key(CODER))
    scene.run(2000)
    assert "runner_gone" in scene.alarms()
    assert CODER not in scene.pings()
    assert len(scene.loads()) == 2


def test_a_held_model_is_as_good_as_pinned_until_its_time_is_up() -> None:
    """A hold outranks priorities while it lasts; afterwards the old order returns."""
    low = {"priority": 10, "preload": False}
    said = config(CODER={"priority": 90}, CHAT=low)
    spec = with_env("workstation", max_loaded_models=1)
    scene = world(replace(said, holds={CHAT: START + 600.0}), spec).run(590)
    assert scene.resident() == {CHAT}
    scene.run(1200)
    assert scene.resident() == {CODER}


def test_a_context_is_sent_only_where_clients_send_it_too() -> None:
    """An explicit context makes every automatic request reload, so the default is silence."""
    silent = world(config(CODER={"pin": True, "context": 4096})).run(30)
    spoken = {"pin": True, "context": 4096, "clients_send_context": True}
    loud = world(config(CODER=spoken)).run(30)
    contexts = [
        [c.num_ctx for _, c in scene.sidecar.log.sent if isinstance(c, SendPreload)]
        for scene in (silent, loud)
    ]
    assert contexts == [[None], [4096]]


def test_pins_on_two_cards_and_in_ram_arrive_too() -> None:
    """Placement by Ollama's rule on two GPUs, and a host without any."""
    for host, names in (("2x24", ["qwen2.5-coder:14b", CHAT, EMBED]), ("cpu", [SMALL, EMBED])):
        scene = world(words({name: {"pin": True} for name in names}), host).run(300)
        assert scene.resident() == set(names)
        assert len(scene.preloads()) == len(names)


def test_a_failed_load_is_tried_again_later_and_named() -> None:
    """A damaged file costs one try, a pause, and an alarm with Ollama's words."""
    scene = world(config(**TWO_PINS), starts=False)
    scene.host.library.change_weights(scene.key(CODER), broken="unexpected EOF")
    scene.sidecar.start()
    scene.run(100)
    assert scene.preloads().count(CODER) == 1
    assert scene.resident() == {CHAT}
    assert any("unexpected EOF" in text for text in scene.texts("paused"))
    scene.host.library.change_weights(scene.key(CODER), broken="")
    scene.run(300)
    assert scene.resident() == BOTH


def test_a_client_that_reloads_a_pin_is_seen_and_the_rank_given_back() -> None:
    """Another context means another runner: its lease is gone, and asserted once all is quiet."""
    scene = world(config(**TWO_PINS))
    scene.at(60, lambda host: host.use(CODER, 2.0, options={"num_ctx": 2048})).run(300)
    assert scene.pings() == [CODER]
    assert not scene.preloads(since=60)
    assert scene.duration(CODER) > scene.duration(CHAT) > 1800.0


def test_a_reload_between_two_looks_is_told_by_the_process() -> None:
    """The same row, another PID: a small model was loaded anew while nobody looked."""
    scene = world(config(LoopSettings(tick=10.0), SMALL={"pin": True})).run(60)
    ticks = scene.sidecar.log.decisions[-1].at - START
    scene.at(ticks + 10.5, lambda host: host.use(SMALL, 0.1, options={"num_ctx": 2048})).run(200)
    assert scene.findings("model_reloaded") == [SMALL]
    assert scene.pings() == [SMALL]


def test_a_server_of_another_version_is_learnt_anew() -> None:
    """An upgrade seen only by its version forgets what was believed of runners, not of fights."""
    scene = world(config(**TWO_PINS), sees_processes=False).run(60)
    scene.host.spec = replace(scene.host.spec, version="0.34.0")
    scene.run(300)
    assert scene.findings("server_changed") == [""]
    assert scene.resident() == BOTH
    assert sorted(scene.pings()) == sorted(BOTH)


def test_lack_of_memory_at_run_time_zeroes_every_lease_and_pins_come_back() -> None:
    """Ollama lets every model go; after the calm that a vanished model asks for, all return."""
    scene = world(config(**TWO_PINS))
    scene.at(100, lambda host: host.scheduler.runtime_oom()).run(300)
    assert scene.resident() == BOTH
    assert scene.preloads(since=60) == [CHAT, CODER]
