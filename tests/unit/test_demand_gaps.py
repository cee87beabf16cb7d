"""The idle-gap law: what it learns, how it forgets, and what it promises."""

import random

import pytest

from warmset.core.demand import ActivityClock, GapLaw, GapLaws, Grid, Pool


def law_of(gaps, others=()):
    pool = Pool(Grid(4))
    for other in others:
        neighbour = GapLaw(pool)
        for gap in other:
            neighbour.add(gap)
    law = GapLaw(pool)
    for gap in gaps:
        law.add(gap)
    return law


@pytest.mark.parametrize("seconds", [0.0, 0.9, 1.0, 63.9, 64.0, 1000.0, 86400.0, 1e9])
@pytest.mark.parametrize("fine", [2, 4, 16])
def test_every_age_lies_in_its_bin(seconds, fine):
    """The bin of an age has edges around it."""
    grid = Grid(fine)
    j = grid.bin_of(seconds)
    assert grid.edges[j] <= seconds * 1.000001
    assert seconds < grid.edges[j + 1] * 1.000001


def test_a_timer_is_promising_shortly_before_it_is_due():
    """With uses every 900 s the hit rate is low right after a use and high before the next."""
    law = law_of([900.0 + (i % 3) for i in range(40)])
    assert law.outlook(860.0, 0.0).hit_rate > 5 * law.outlook(200.0, 0.0).hit_rate
    assert law.chance_within(850.0, 200.0) > 0.8
    assert law.chance_within(100.0, 120.0) < 0.1


def test_holding_never_gains_less_than_nothing_and_rent_only_takes():
    """The gain lies between 0 and 1 and falls as rent rises."""
    rng = random.Random(5)
    law = law_of([rng.expovariate(1 / 600) for _ in range(60)])
    for age in (0.0, 30.0, 500.0, 9000.0, 1e8):
        gains = [law.outlook(age, rent).gain for rent in (0.0, 1e-5, 1e-3, 1.0)]
        assert all(0.0 <= g <= 1.0 for g in gains)
        assert gains == sorted(gains, reverse=True)


def test_the_hazard_of_sessions_falls_with_idle_age():
    """Short gaps inside sessions and hours between them: a fresh model promises more."""
    law = law_of([10.0, 20.0, 15.0, 7200.0] * 15)
    assert law.outlook(5.0, 0.0).hit_rate > 20 * law.outlook(600.0, 0.0).hit_rate


def test_a_new_habit_replaces_the_old_one():
    """After many gaps of another length the old length is forgotten."""
    law = law_of([300.0] * 60 + [3000.0] * 150)
    assert law.chance_within(250.0, 120.0) < 0.1


def test_busy_hours_do_not_wash_away_the_nights():
    """A thousand short gaps leave what is known of the long ones as it was."""
    nights = [40000.0] * 12
    rare = law_of(nights)
    busy = law_of(nights + [5.0] * 1000)
    at = 39000.0
    assert busy.chance_within(at, 4000.0) == pytest.approx(rare.chance_within(at, 4000.0), abs=0.15)


def test_a_model_with_one_gap_is_judged_by_the_others():
    """The prior pulls a stranger towards what the other models do."""
    quick = law_of([100.0], others=[[100.0] * 30] * 5)
    slow = law_of([100.0], others=[[5000.0] * 30] * 5)
    assert quick.chance_within(80.0, 60.0) > slow.chance_within(80.0, 60.0)


def test_gaps_that_never_end_lower_the_expectation():
    """Models that do not come back make the others less likely to, at that age."""
    pool = Pool(Grid(4))
    for _ in range(3):
        law = GapLaw(pool)
        law.add(3000.0)
    stranger = GapLaw(pool)
    before = stranger.chance_within(2500.0, 2000.0)
    pool.note_open([1e5] * 50)
    assert GapLaw(pool).chance_within(2500.0, 2000.0) < before


def test_the_promising_age_is_the_next_rise():
    """A timer of 900 s is not worth its rent right after use, and is again near 900 s."""
    law = law_of([900.0] * 30)
    rent = 1 / 400
    assert law.outlook(60.0, rent).gain < 0.5
    assert 500.0 < law.promising_age(60.0, rent) <= 900.0


def test_laws_of_a_host_learn_by_request():
    """Requests become gaps per model; unknown models are not contained."""
    laws = GapLaws(4)
    for i in range(20):
        laws.requested(i * 100.0, "a")
        laws.requested(i * 100.0 + 50.0, "b")
    assert "a" in laws
    assert "c" not in laws
    assert laws.models() == ("a", "b")
    assert laws.chance_within(1990.0, "a", 30.0) > laws.chance_within(1910.0, "a", 30.0)
    assert laws.outlook(1990.0, "a", 0.0).chance > 0.8
    assert laws.promising_at(1901.0, "a", 1 / 30) > 1930.0


def test_a_model_that_is_only_expected_has_the_law_of_the_others():
    """Until its first use it is judged by the pooled law, and that wait is no gap of its own."""
    laws, told = GapLaws(2), GapLaws(2)
    laws.expect(0.0, "new")
    for at in range(0, 30_000, 300):
        laws.requested(float(at), "busy")
        told.requested(float(at), "busy")
    assert laws.chance_within(30_000.0, "new", 600.0) > 0
    assert laws.outlook(29_990.0, "busy", 0.0) == told.outlook(29_990.0, "busy", 0.0)
    laws.requested(30_000.0, "new")
    laws.expect(30_001.0, "new")  # too late: it was asked for
    laws.requested(30_002.0, "new")
    assert laws.chance_within(30_002.0, "new", 4.0) > 0.3


def test_the_activity_clock_slows_at_night_and_keeps_the_mean():
    """Hours without requests count little; over days the clock runs at about wall speed."""
    clock = ActivityClock()
    for day in range(4):
        for minute in range(600):
            clock.requested(day * 86400.0 + minute * 60.0, f"m{minute % 3}")
    evening = clock.read(3 * 86400.0 + 40000.0)
    night = clock.read(3 * 86400.0 + 60000.0) - evening
    assert night < 0.25 * 20000.0
    assert 0.5 < evening / (3 * 86400.0 + 40000.0) < 2.0


def test_a_run_of_requests_for_one_model_is_one_event():
    """A hundred requests of one chat move the clock no more than the first."""
    one, many = ActivityClock(), ActivityClock()
    one.requested(0.0, "a")
    for _ in range(100):
        many.requested(0.0, "a")
    assert one.read(600.0) == many.read(600.0)


def test_a_clock_that_is_set_back_stands_still():
    """An earlier instant changes nothing."""
    clock = ActivityClock()
    clock.requested(100.0, "a")
    before = clock.read(200.0)
    assert clock.read(150.0) == before
