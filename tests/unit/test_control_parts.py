"""The loop's parts in plain numbers."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from loop_hosts import CODER, START, config, world

from warmset.core.control.actions import Decision, Preload, Renew
from warmset.core.control.config import Config
from warmset.core.control.departures import confirm_departures
from warmset.core.control.durations import Bounds, bounds_of_move, raise_base
from warmset.core.control.executor import begin, hear, stop
from warmset.core.control.idle import why_not_idle
from warmset.core.control.lasting import note_others
from warmset.core.control.orders import (
    Aborted,
    Cancel,
    Done,
    Failed,
    ReadResidents,
    SendPing,
    SendPreload,
    Started,
    TimedOut,
)
from warmset.core.control.plain import PlainError, from_plain, to_plain
from warmset.core.control.restarts import forget_runners
from warmset.core.control.restraint import forget_old
from warmset.core.control.state import (
    Leaving,
    Looked,
    Orders,
    State,
    state_from_plain,
    state_to_plain,
)
from warmset.core.control.step import step
from warmset.core.control.stuck import why_call_off
from warmset.core.control.vanished import early_leavers
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import (
    FOREVER,
    Device,
    DeviceId,
    HostMemory,
    ModelKey,
    Observation,
    Reading,
    Resident,
    unknown,
)
from warmset.core.twin.sidecar_view import observe_twin
from warmset.errors import TraceError

A, B = ModelKey("sha256:a"), ModelKey("sha256:b")
CARD = DeviceId("CUDA:0")
CONFIG = Config()
NOW = 1000.0


def row(key: ModelKey = A, expires: float | None = 5000.0, **fields) -> Resident:
    return Resident(
        name=f"{key[-1]}:latest",
        manifest_digest=key[-1],
        key=key,
        size_bytes=1,
        size_vram_bytes=1,
        context=4096,
        expires_at=expires,
        **fields,
    )


RENEW = Renew(key=A, name="a:latest", keep_alive=2280.0, reason="due")
PRELOAD = Preload(key=B, name="b:latest", keep_alive=2280.0, num_ctx=None, reason="wanted")


def looked(*rows: Resident) -> State:
    return State(at=NOW, looked=Looked(at=NOW, wall_at=NOW, residents=rows))


def read(number: int, *rows: Resident, asked: float = NOW, at: float = NOW) -> Done:
    return Done(number=number, at=at, asked_at=asked, wall_at=at, residents=rows)


# -- executor -------------------------------------------------------------------------------


def test_a_ping_is_read_before_sent_and_read_after() -> None:
    """Two reads of the list frame each ping; the lease counts only then."""
    turn = begin(looked(row()), Decision(at=NOW, actions=(RENEW,)), NOW)
    (first,) = turn.commands
    assert isinstance(first, ReadResidents)
    turn = hear(turn.state, read(first.number, row()), CONFIG, NOW)
    (ping,) = turn.commands
    assert isinstance(ping, SendPing)
    assert ping.resident == row()
    turn = hear(turn.state, Done(number=ping.number, at=NOW), CONFIG, NOW)
    (check,) = turn.commands
    assert isinstance(check, ReadResidents)
    assert turn.state.of(A).lease is None
    turn = hear(turn.state, read(check.number, row(expires=NOW + 2280)), CONFIG, NOW)
    assert not turn.commands
    assert turn.state.of(A).lease == 2280.0


@pytest.mark.parametrize(
    ("rows", "asked", "why"),
    [
        ((), NOW, "left early"),
        ((row(), row(B)), NOW, "was loaded since"),
        ((row(),), NOW - 1.0, "old"),
        ((row(expires=5100.0),), NOW, "in use"),
        ((row(A, NOW + 5.0),), NOW, "in use"),
    ],
)
def test_a_ping_is_left_out_when_the_list_speaks_against_it(rows, asked, why) -> None:
    """Early leavers, newcomers, an old list, a use since the look: nothing is sent."""
    turn = begin(looked(row()), Decision(at=NOW, actions=(RENEW,)), NOW)
    turn = hear(turn.state, read(turn.commands[0].number, *rows, asked=asked), CONFIG, NOW)
    assert not turn.commands
    (left,) = turn.findings
    assert left.kind == "ping_left_out"
    assert why in left.text


def test_a_look_before_the_list_is_there_decides_anew() -> None:
    """It has seen that somebody left, so that the list shows nothing new."""
    turn = begin(looked(row(), row(B)), Decision(at=NOW, actions=(RENEW,)), NOW)
    seen = Looked(at=NOW + 0.2, wall_at=NOW + 0.2, residents=(row(),))
    turn = begin(replace(turn.state, looked=seen), Decision(at=NOW + 0.2), NOW + 0.2)
    turn = hear(turn.state, read(1, row(), at=NOW + 0.4), CONFIG, NOW + 0.4)
    assert not turn.commands
    (left,) = turn.findings
    assert (left.kind, left.text) == (
        "ping_left_out",
        "another look was taken since it was decided",
    )


def test_no_ping_close_to_a_deadline() -> None:
    """An expiry that is under way is not called off by a ping."""
    near = row(A, NOW + 9.0)
    turn = begin(looked(near), Decision(at=NOW, actions=(RENEW,)), NOW)
    turn = hear(turn.state, read(turn.commands[0].number, near), CONFIG, NOW)
    assert not turn.commands


def test_a_slow_ping_is_an_accident_and_the_second_one_stops_pings() -> None:
    """A ping of two seconds loaded something: it is reported, and pings pause after two."""
    state = looked(row())
    for turn_number in (1, 2):
        turn = begin(state, Decision(at=NOW, actions=(RENEW,)), NOW)
        turn = hear(turn.state, read(turn.commands[0].number, row()), CONFIG, NOW)
        turn = hear(turn.state, Done(number=turn.commands[0].number, at=NOW), CONFIG, NOW + 3)
        turn = hear(turn.state, read(turn.commands[0].number, row()), CONFIG, NOW + 3)
        assert [found.kind for found in turn.findings] == ["ping_raced"]
        state = turn.state
        assert (state.pings_quiet_until is not None) is (turn_number == 2)


@pytest.mark.parametrize(
    ("rows", "kinds"),
    [
        ((row(),), ["renewed", "ping_met_request"]),
        ((row(expires=NOW + 0.5),), ["ping_raced"]),
        (None, ["ping_unchecked"]),
    ],
)
def test_a_ping_that_may_have_kept_a_victim_is_told(rows, kinds) -> None:
    """It met a request, or somebody let the model go meanwhile, or nobody knows: no second one."""
    turn = begin(looked(row()), Decision(at=NOW, actions=(RENEW,)), NOW)
    turn = hear(turn.state, read(turn.commands[0].number, row()), CONFIG, NOW)
    turn = hear(turn.state, Done(number=turn.commands[0].number, at=NOW), CONFIG, NOW)
    number = turn.commands[0].number
    no_answer = Failed(number=number, at=NOW, error="connection refused")
    turn = hear(turn.state, no_answer if rows is None else read(number, *rows), CONFIG, NOW)
    assert [found.kind for found in turn.findings if found.kind in kinds] == kinds
    assert turn.state.of(A).lease == 2280.0
    assert (turn.state.of(A).unmoved is None) is (kinds == ["ping_raced"])


def test_one_command_is_open_at_a_time_and_late_events_change_nothing() -> None:
    """A decision during a load begins nothing; unknown and doubled events are ignored."""
    turn = begin(looked(row()), Decision(at=NOW, actions=(PRELOAD,)), NOW)
    (load,) = turn.commands
    assert isinstance(load, SendPreload)
    during = begin(turn.state, Decision(at=NOW, actions=(RENEW,)), NOW + 1)
    assert not during.commands
    for stray in (Started(number=load.number, at=NOW), Done(number=99, at=NOW)):
        assert hear(turn.state, stray, CONFIG, NOW).state == turn.state
    ended = hear(turn.state, Done(number=load.number, at=NOW), CONFIG, NOW + 4)
    again = hear(ended.state, Done(number=load.number, at=NOW), CONFIG, NOW + 5)
    assert again.state == ended.state
    assert ended.state.of(B).load_seconds == 4.0
    assert ended.look_at == NOW + 4


def test_stopping_calls_off_what_is_open_once() -> None:
    """A second signal cancels nothing twice, and nothing begins afterwards."""
    turn = begin(looked(), Decision(at=NOW, actions=(PRELOAD,)), NOW)
    stopped = stop(turn.state)
    assert stopped.commands == (Cancel(number=turn.commands[0].number),)
    assert not stop(stopped.state).commands
    ended = hear(stopped.state, Aborted(number=turn.commands[0].number, at=NOW), CONFIG, NOW)
    assert [found.kind for found in ended.findings] == ["load_aborted"]
    assert not begin(ended.state, Decision(at=NOW, actions=(PRELOAD,)), NOW).commands


def test_a_load_that_is_there_is_answered_within_a_look() -> None:
    """Its answer may still be on its way when a look lists it. A look later it waits to be loaded
    anew, since somebody had it loaded otherwise."""
    state = begin(looked(), Decision(at=NOW, actions=(PRELOAD,)), NOW).state
    state = state.note(B, "b:latest", resident_since=NOW + 9)
    tick = LoopSettings().tick
    assert why_call_off(seen(row(B)), state, (), LoopSettings(), NOW + 9) is None
    called_off = why_call_off(seen(row(B)), state, (), LoopSettings(), NOW + 9 + tick)
    assert called_off is not None
    assert called_off.kind == "overtaken"


def test_failures_pause_a_model_ever_longer() -> None:
    """Each failed load doubles the pause, up to an hour."""
    state, pauses = looked(), []
    for _ in range(7):
        turn = begin(state, Decision(at=NOW, actions=(PRELOAD,)), NOW)
        failed = Failed(number=turn.commands[0].number, at=NOW, error="stalled", status=500)
        state = hear(turn.state, failed, CONFIG, NOW).state
        pauses.append(state.of(B).quiet_until - NOW)
    assert pauses == [120.0, 240.0, 480.0, 960.0, 1920.0, 3600.0, 3600.0]


@pytest.mark.parametrize(
    ("event", "forgets", "pauses"),
    [
        (Failed(number=1, at=NOW, error="CUDA error: out of memory", status=500), True, True),
        (Failed(number=1, at=NOW, error="queue", status=503), False, False),
        (Failed(number=1, at=NOW, error="connection reset"), False, False),
        (Failed(number=1, at=NOW, error="not found", status=404, is_final=True), False, True),
        (TimedOut(number=1, at=NOW), True, True),
    ],
)
def test_what_a_failure_means(event, forgets, pauses) -> None:
    """Lack of memory takes every lease; a lost connection is no fault of the model."""
    state = looked(row()).note(A, "a:latest", lease=2280.0)
    turn = begin(state, Decision(at=NOW, actions=(PRELOAD,)), NOW)
    after = hear(turn.state, event, CONFIG, NOW + 2).state
    assert (after.of(A).lease is None) is forgets
    assert (after.of(B).quiet_until is not None) is pauses


# -- what deadlines tell --------------------------------------------------------------------


def test_a_moved_deadline_bounds_the_duration() -> None:
    """The request ended somewhere between two looks."""
    bounds = bounds_of_move(row(A, 400.0), row(A, 1300.0), wall_before=995.0, wall_at=1000.0)
    assert bounds == Bounds(low=300.0, high=305.0)
    assert bounds.allows(303.0)
    assert not bounds.allows(320.0)
    assert bounds.allows(320.0, late=20.0)  # by a list that was old when it came
    assert not bounds.allows(2280.0)


@pytest.mark.parametrize("expires", [None, 400.0, 999.0])
def test_a_deadline_that_stands_or_has_passed_tells_nothing(expires) -> None:
    """Unknown, unmoved, or an old one of a busy model."""
    assert bounds_of_move(row(A, 400.0), row(A, expires), wall_before=995, wall_at=1000) is None


def test_for_ever_is_for_ever() -> None:
    """An endless keep-alive has endless bounds, and never raises the base."""
    bounds = bounds_of_move(None, row(A, FOREVER), wall_before=0, wall_at=1)
    assert bounds == Bounds(low=FOREVER, high=FOREVER)
    assert raise_base(1800.0, (FOREVER, None), limit=86400.0) == 1800.0


def test_the_base_rises_in_steps_to_a_limit_and_never_falls() -> None:
    """Ten minutes at a time, above the longest finite value, below the limit."""
    assert raise_base(1800.0, (300.0,), limit=86400.0) == 1800.0
    assert raise_base(1800.0, (1800.0,), limit=86400.0) == 2400.0
    assert raise_base(1800.0, (1e6,), limit=86400.0) == 86400.0
    assert raise_base(7200.0, (300.0,), limit=86400.0) == 7200.0


def test_who_left_early_and_who_did_not() -> None:
    """Ours, the expired and those still there are no sign of anybody's load."""
    before = (row(A, 5000.0), row(B, 900.0))
    assert [r.key for r in early_leavers(before, (), wall_at=1000.0)] == [A]
    assert not early_leavers(before, (row(A, 6000.0),), wall_at=1000.0)
    assert not early_leavers(before, (), wall_at=1000.0, ours=frozenset({A}))


# -- plain values ---------------------------------------------------------------------------


def test_plain_values_go_through_json_and_back() -> None:
    """Infinity, unions and nothing at all survive."""
    state = replace(
        looked(row(A, FOREVER)),
        orders=Orders(queue=(RENEW, PRELOAD), number=7),
        raised={"x": 1.0},
        models=looked().note(A, "a", foreign=math.inf, restores=(1.0, 2.0)).models,
    )
    assert from_plain(State, json.loads(json.dumps(to_plain(state)))) == state


@pytest.mark.parametrize(
    "spoiled",
    [
        None,
        {},
        {"version": 99},
        {"version": 1, "at": "yesterday"},
        {"version": 1, "never_heard_of": 1},
        {"version": 1, "models": []},
        {"version": 1, "models": {"a": {"slot": 1}}},
        {"version": 1, "orders": {"queue": [{"type": "Renew"}]}},
        {"version": 1, "at": True},
    ],
)
def test_a_spoiled_state_is_refused_by_name(spoiled) -> None:
    """An old, foreign or damaged file never becomes half a state."""
    with pytest.raises(TraceError):
        state_from_plain(spoiled)


def test_a_plain_value_of_the_wrong_kind_names_its_place() -> None:
    """The message says where, so that a person can mend it."""
    with pytest.raises(PlainError, match="LoopSettings.tick"):
        from_plain(LoopSettings, {"tick": "often"})


def test_a_saved_state_has_nothing_open() -> None:
    """What was in flight died with the process."""
    turn = begin(looked(), Decision(at=NOW, actions=(PRELOAD,)), NOW)
    revived = state_from_plain(json.loads(json.dumps(state_to_plain(turn.state))))
    assert revived.orders.running is None
    assert revived.orders.number == turn.state.orders.number


# -- breaks ---------------------------------------------------------------------------------


def test_a_state_from_the_future_keeps_only_what_cannot_hurt() -> None:
    """After the clock was set back over a restart, no pause lasts for years."""
    scene = world(config(CODER={"pin": True})).run(60)
    state = scene.sidecar.loop.state.note(scene.key(CODER), quiet_until=START + 9e9)
    observation = observe_twin(scene.host)
    after, decision, _ = step(observation, scene.sidecar.loop.config, state, START - 1e6)
    assert "state_from_future" in [found.kind for found in decision.findings]
    assert after.of(scene.key(CODER)).quiet_until is None


def test_a_long_gap_makes_nothing_of_the_difference() -> None:
    """After a suspended night nobody is said to have been pushed out."""
    scene = world(config(CODER={"pin": True})).run(60)
    state = scene.sidecar.loop.state
    scene.sidecar.kill()
    scene.run(9 * 3600)
    assert not scene.resident()
    now = scene.host.timeline.now
    _, decision, _ = step(observe_twin(scene.host), scene.sidecar.loop.config, state, now)
    kinds = [found.kind for found in decision.findings]
    assert kinds == ["look_gap"]
    assert [order.name for order in decision.sends] == [CODER]


# -- departures -----------------------------------------------------------------------------


def leaving(since: float, **fields) -> State:
    one = Leaving(key=A, name="a", held={CARD: 10}, free_before={CARD: 5}, since=since, **fields)
    return State(at=NOW, leaving=(one,))


def seen(*rows: Resident, free: int | None = 5) -> Observation:
    reading = unknown("driver", "lost") if free is None else Reading(value=free, source="driver")
    device = Device(
        id=CARD,
        name="card",
        library="CUDA",
        total_bytes=Reading(value=100, source="driver"),
        free_bytes=reading,
    )
    none = unknown("ram", "not asked")
    return Observation(
        at=NOW,
        server_url="",
        is_local=True,
        version=None,
        entries=(),
        residents=rows,
        devices=(device,),
        memory=HostMemory(total_bytes=none, available_bytes=none),
    )


@pytest.mark.parametrize(
    ("free", "expected"),
    [
        ([60] * 4, [0, 0, 40, 40]),  # what was there at first may have come just then
        ([60, 60, 60, 20, 20, 60], [0, 0, 40, 40, 40, 40]),
        ([60, 60, 60, 20, 30, 20, 20, 20], [0, 0, 40, 40, 40, 70, 70, 80]),
        ([60, 60, 60, 90, 60, 60], [0, 0, 40, 10, 10, 10]),
        ([60, None, 60, None], [0, 0, 40, 40]),
    ],
)
def test_what_other_programs_hold_lasts_once_it_was_held_for_so_long(
    free: list[int | None], expected: list[int]
) -> None:
    """Looks every five seconds, and ten seconds make it last; less is believed at once."""
    state, lasting = State(), []
    for number, count in enumerate(free):
        state = note_others(seen(free=count), state, LoopSettings(), NOW + 5 * number)
        lasting.append(state.others[CARD].lasting)
    assert lasting == expected


def test_who_shall_not_wait_does_not() -> None:
    """With a pressure of 0 all that others hold lasts."""
    state = note_others(seen(free=60), State(), LoopSettings(pressure=0.0), NOW)
    assert state.others[CARD].lasting == 40


@pytest.mark.parametrize(
    ("observation", "since", "kinds", "waits"),
    [
        (seen(row()), NOW - 10, [], True),
        (seen(row()), NOW - 121, ["unload_without_effect"], False),
        (seen(free=13), NOW - 1, ["unloaded"], False),
        (seen(free=12), NOW - 1, [], True),
        (seen(free=None), NOW - 1, [], True),
    ],
)
def test_a_departure_is_confirmed_by_the_list_and_by_the_driver(
    observation, since, kinds, waits
) -> None:
    """Listed: wait, up to a limit. Gone: wait for three quarters of its bytes."""
    state, found = confirm_departures(observation, leaving(since), NOW)
    assert [one.kind for one in found] == kinds
    assert bool(state.leaving) is waits


def test_memory_that_never_returns_is_not_waited_for_for_ever() -> None:
    """Five seconds after the model is gone its bytes are nobody's business any more."""
    state, found = confirm_departures(seen(), leaving(NOW - 9, gone_at=NOW - 5), NOW)
    assert not state.leaving
    assert "not back" in found[0].text


def test_who_is_in_use_is_never_idle():
    """Whatever the operator calls idle: a sign of use at this very look comes first."""
    loop = LoopSettings(idle_after=0.0)
    state = State().note(A, "a", resident_since=NOW - 60, used_at=NOW, busy_at=NOW)
    assert why_not_idle(A, state, loop, NOW) == "in use"
    assert why_not_idle(A, state, loop, NOW + 1) == ""


def test_who_fails_again_and_again_is_not_forgiven_for_being_there_for_long() -> None:
    """Pings of a model that stays resident get no answer: each pause is longer than the last."""
    key, loop = ModelKey("m"), LoopSettings()
    state = State().note(key, "m", resident_since=1.0, failures=2, pause=240.0, quiet_until=5000.0)
    soon, late = (5000.0 + loop.fight_window + more for more in (-1.0, 1.0))
    assert forget_old(state, loop, soon).of(key).pause == 240.0
    assert forget_old(state, loop, late).of(key).pause == 0.0
    still = state.note(key, resident_since=None)
    assert forget_old(still, loop, late).of(key).pause == 240.0


def test_races_of_pings_are_counted_beyond_a_server() -> None:
    """Whom clients ask for in the moment of a ping does not change with Ollama's start."""
    known = State(races=(100.0,), pings_quiet_until=900.0)
    after = forget_runners(known, 120.0)
    assert after.races == (100.0,)
    assert after.pings_quiet_until == 900.0
