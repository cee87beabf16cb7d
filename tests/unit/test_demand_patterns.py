"""Sessions, periods and co-activity."""

import random

import pytest

from warmset.core.demand import CoActivity, find_period, find_sessions, single_share


def test_uses_without_a_pause_are_one_session():
    """Three quick uses and one an hour later are two sessions, whatever the order of input."""
    first, second = find_sessions([3600.0, 0.0, 60.0, 120.0])
    assert (first.started_at, first.ended_at, first.requests) == (0.0, 120.0, 3)
    assert second.requests == 1
    assert single_share((first, second)) == 0.5


def test_no_use_is_no_session():
    """Nothing seen gives no session, and a share that is not known."""
    assert find_sessions([]) == ()
    assert single_share(()) is None


@pytest.mark.parametrize("period", [60.0, 300.0, 900.0, 3600.0])
def test_a_timer_with_jitter_is_found(period):
    """Period, jitter and next due time come out within a few seconds."""
    rng = random.Random(int(period))
    times = [1000.0 + i * period + rng.gauss(0, 2) for i in range(30)]
    found = find_period(times)
    assert found is not None
    assert found.seconds == pytest.approx(period, rel=0.01)
    assert found.jitter_seconds < 5
    assert found.next_after(times[-1] + 30) == pytest.approx(1000.0 + 30 * period, abs=6)


def test_a_timer_that_skips_beats_and_works_in_bursts_is_found():
    """A missed run now and then, and several requests for each run, do not hide the period."""
    rng = random.Random(2)
    times = []
    for i in range(60):
        if rng.random() < 0.85:
            times += [i * 900.0 + k * 4 + rng.random() for k in range(rng.randint(1, 4))]
    found = find_period(times)
    assert found is not None
    assert found.seconds == pytest.approx(900.0, rel=0.01)


def test_chance_is_not_taken_for_a_timer():
    """Of 200 random processes at most one looks like a timer."""
    false = 0
    for seed in range(200):
        rng = random.Random(seed)
        t, times = 0.0, []
        for _ in range(40):
            t += rng.expovariate(1 / 600)
            times.append(t)
        false += find_period(times) is not None
    assert false <= 1


@pytest.mark.parametrize("times", [[], [1.0], [5.0] * 10, [0.0, 60.0, 120.0]])
def test_too_few_uses_are_no_timer(times):
    """No period is claimed from next to nothing."""
    assert find_period(times) is None


def test_b_follows_a():
    """A model asked for right after another is seen to; one that comes at random is not."""
    rng = random.Random(1)
    events = []
    for i in range(200):
        at = i * 1800.0 + rng.random() * 600
        events += [(at, "a"), (at + 10, "b"), (i * 1800.0 + rng.random() * 1800, "c")]
    learned = CoActivity()
    for at, model in sorted(events):
        learned.requested(at, model)
    close, loose = learned.follows("a", "b"), learned.follows("a", "c")
    assert close.lift > 10
    assert close.surprise > 10
    assert loose.surprise < 4
    assert learned.follows("b", "a").seen < 0.1 * close.seen
    assert learned.follows("a", "nobody") is None


def test_co_activity_is_forgotten_and_bounded():
    """Old pairs fade, and no more pairs are kept than were agreed."""
    learned = CoActivity()
    for i in range(50):
        learned.requested(i * 600.0, "a")
        learned.requested(i * 600.0 + 5, "b")
    strong = learned.follows("a", "b").seen
    learned.requested(60 * 86400.0, "z")
    assert learned.follows("a", "b").seen < 0.01 * strong
    for i in range(100):
        learned.requested(61 * 86400.0 + i * 0.1, f"m{i}")
    assert len(learned._pairs) <= 4096
