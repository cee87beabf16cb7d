"""Timers found and followed request by request."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.core.demand import Timers, find_period


def fed(times):
    timers = Timers()
    for at in times:
        timers.requested(at, "m")
    return timers


def beats(period, count=30, jitter=1.5, start=100.0, seed=1):
    rng = random.Random(seed)
    return [start + k * period + rng.gauss(0, jitter) for k in range(count)]


@pytest.mark.parametrize("period", [300.0, 900.0, 7200.0])
def test_a_timer_is_known_after_a_few_beats(period):
    """Period and next beat are right within seconds once eight beats were seen."""
    timer = fed(beats(period, 8)).of("m")
    assert timer.period_seconds == pytest.approx(period, rel=0.02)
    now = 100.0 + 7 * period + period / 2
    assert timer.due(now) == pytest.approx(100.0 + 8 * period, abs=8)
    assert timer.share > 0.9


def test_a_late_beat_is_waited_for_and_then_given_up():
    """Just past its time a beat is still due; well past it the next one is."""
    timer = fed(beats(900.0, jitter=0.1)).of("m")
    last = 100.0 + 29 * 900.0
    assert timer.due(last + 901.0) == pytest.approx(last + 900.0, abs=2)
    assert timer.due(last + 960.0) == pytest.approx(last + 1800.0, abs=2)


def test_a_stray_use_neither_moves_nor_blurs_the_timer():
    """Somebody who asks between two beats changes neither phase nor jitter."""
    times = beats(600.0, 40)
    there = fed(times).of("m")
    timer = fed(sorted([*times, 100.0 + 20.5 * 600, 100.0 + 31.3 * 600])).of("m")
    now = 100.0 + 39.5 * 600
    assert timer.due(now) == pytest.approx(there.due(now), abs=3)
    assert timer.jitter_seconds < 4


def test_a_drifting_timer_is_followed():
    """A sleep of 300 s after work of some length drifts off any grid; its next beat is known."""
    rng, at, times = random.Random(3), 0.0, []
    for _ in range(300):
        at += 302.0 + rng.gauss(0, 1)
        times.append(at)
    timer = fed(times).of("m")
    assert timer.due(at + 150) == pytest.approx(at + 302, abs=12)


def test_a_timer_that_stops_is_given_up():
    """When beats stay away and uses come at random, there is no timer any more."""
    rng = random.Random(5)
    at = 100.0 + 30 * 300.0
    times = beats(300.0)
    for _ in range(80):
        at += rng.expovariate(1 / 2000)
        times.append(at)
    assert fed(times).of("m") is None


def test_uses_on_the_minute_that_mostly_stay_away_are_no_timer():
    """A grid of minutes on which two of three beats bring nothing is not relied on."""
    rng = random.Random(7)
    times = [60.0 * k + rng.gauss(0, 1) for k in range(600) if rng.random() < 0.3]
    timer = fed(times).of("m")
    assert timer is None or timer.share < 0.7


def test_chance_is_no_timer():
    """Of a hundred random processes hardly any is taken for a timer at the end."""
    found = 0
    for seed in range(100):
        rng, at, times = random.Random(seed), 0.0, []
        for _ in range(120):
            at += rng.expovariate(1 / 700)
            times.append(at)
        found += fed(times).of("m") is not None
    assert found <= 2


@given(st.lists(st.floats(0, 1e6), max_size=80).map(sorted))
def test_any_times_are_taken(times):
    """No list of instants breaks the search; a timer found is due in the future or just past."""
    timer = fed(times).of("m")
    find_period(times)
    if timer is not None:
        now = times[-1]
        patience = 3 * timer.jitter_seconds
        assert timer.due(now) >= now - patience - 1e-3
        assert 0 < timer.share <= 1


def test_two_habits_without_a_middle_are_no_error():
    """Gaps of two lengths have no gap in the middle; the search goes on with one of them."""
    assert find_period([0.0, 100.0, 200.0, 300.0, 1300.0, 2300.0, 3300.0]) is None


@pytest.mark.parametrize("seed", range(4))
def test_a_timer_among_strays_is_found(seed):
    """Cron asks every quarter of an hour, people as often in between: its next beat is known."""
    rng = random.Random(seed)
    strays, at = [], 0.0
    while at < 40 * 900.0:
        at += rng.expovariate(1 / 900)
        strays.append(at)
    timer = fed(sorted([*beats(900.0, 40, seed=seed), *strays])).of("m")
    assert timer.period_seconds == pytest.approx(900.0, rel=0.001)
    now = 100.0 + 39.5 * 900
    assert timer.due(now) == pytest.approx(100.0 + 40 * 900, abs=8)
    assert timer.jitter_seconds < 4


@pytest.mark.parametrize("seed", range(10))
def test_strays_that_meet_on_the_full_minute_are_no_timer(seed):
    """A client that wakes each minute and asks every third time keeps no appointment."""
    rng = random.Random(seed)
    times = [60.0 * k + rng.gauss(0, 1) for k in range(400) if rng.random() < 1 / 3]
    assert fed(times).of("m") is None
