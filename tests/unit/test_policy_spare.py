"""Free room: what is loaded into it, and what is not."""

import math

import pytest

from warmset.core.policy import Event, Held, ModelCost, View
from warmset.core.policy.spare import FIRST_TURNOVER_SECONDS, SAME_ROOM_SECONDS, Spare
from warmset.core.policy.values import Values
from warmset.core.policy.worth import Worth
from warmset.core.units import HOUR, MINUTE

GB = 1_000_000_000
NOW = 40 * HOUR


def cost(name, gb=4, **facts):
    return ModelCost(id=name, bytes=gb * GB, load_seconds=8.0, **facts)


def view(now=NOW, residents=(), free=4 * GB, **facts):
    rows = {h.id: h for h in residents}
    facts = {"event": Event.WAKE, "budget_bytes": 8 * GB, **facts}
    return View(now=now, free_bytes=free, residents=rows, **facts)


def taught(**facts):
    """`often` is asked for every hour or so, `rare` twice; memory is so dear that no law pays."""
    models = {"often": cost("often", **facts), "rare": cost("rare")}
    policy = Worth()
    policy.start(models, 8 * GB)
    events = [(i * HOUR + i * i % 11 * 4 * MINUTE, "often") for i in range(39)]
    for at, name in sorted([*events, (HOUR / 2, "rare"), (21 * HOUR, "rare")]):
        policy.requested(at, name)
    policy.values.rent.per_byte_second = 1.0
    return policy


def held(name="rare", **facts):
    base = {"loaded_at": 0.0, "last_used": 21 * HOUR}
    return Held(id=name, bytes=4 * GB, load_seconds=8.0, **base | facts)


def test_free_room_takes_who_may_be_asked_for_before_somebody_else_wants_it():
    """Though at the rent of the host no preload would pay, room that is free costs none."""
    decision = taught().decide(view())
    assert decision.preload == ("often",)
    assert decision.evict == ()
    assert "into free room" in decision.reasons[0]


def test_nobody_is_displaced_for_it():
    """The same model stays away where a resident of little worth would have to go."""
    decision = taught().decide(view(residents=[held()], free=0))
    assert not decision.preload


@pytest.mark.parametrize(
    ("model", "facts"),
    [
        ({}, {"free": 3 * GB}),
        ({}, {"lacking": {"often": 1, "rare": 1}}),
        ({}, {"loading": "rare"}),
        ({"may_preload": False}, {"lacking": {"often": 0, "rare": 1}}),
    ],
    ids=["too-small", "margin", "loading", "forbidden"],
)
def test_what_stands_against_it(model, facts):
    """Too little room, the server's margin, a loader in use, and the operator's word."""
    decision = taught(**model).decide(view(**facts))
    assert decision is None or not decision.preload


def test_who_was_just_evicted_is_not_brought_back():
    """Within the latch it stays away; once that is past it may come."""
    policy = taught()
    policy.ahead.gone = {"often": NOW - 5, "rare": math.inf}
    assert not policy.decide(view()).preload
    assert policy.decide(view(NOW + SAME_ROOM_SECONDS)).preload == ("often",)


def test_a_host_whose_room_is_soon_taken_does_not_bother():
    """With waiting loads seconds apart the chance of a use in between is too small."""
    policy = taught()
    for i in range(200):
        policy.ahead.spare.taken(NOW - 1000 + 5.0 * i)
    assert not policy.decide(view()).preload


def test_loads_that_come_to_nothing_end_it():
    """Each that is evicted unused counts against the next."""
    policy = taught()
    trust = policy.ahead.spare.trust
    for _ in range(300):
        trust.promise("often", 0.3)
        trust.settle("often", used=False)
    assert not policy.decide(view()).preload


def test_the_turnover_is_the_mean_time_between_loads_that_evict():
    """It starts at an hour and follows what is seen."""
    spare = Spare([], Values())
    spare.taken(0.0)
    assert spare.turnover_seconds == FIRST_TURNOVER_SECONDS
    for i in range(1, 200):
        spare.taken(i * 100.0)
    assert spare.turnover_seconds == pytest.approx(100.0, rel=0.01)


def test_the_same_room_is_not_looked_at_twice():
    """Only other room, or some time, makes it worth a look; no room never does."""
    spare = Spare([], Values())
    looks = [(0.0, 4), (5.0, 4), (10.0, 3), (15.0, 3), (10.0 + SAME_ROOM_SECONDS, 3), (100.0, 0)]
    assert [spare.is_news(*look) for look in looks] == [True, False, True, False, True, False]


def test_who_is_not_worth_it_is_let_be_until_asked_for():
    """A fifth of its age later it is looked at again, or as soon as somebody uses it."""
    policy = taught()
    spare, model = policy.ahead.spare, policy.models["rare"]
    spare.turnover_seconds = MINUTE
    assert spare.saved(NOW, model)[0] <= 0
    assert model not in spare.may_fit(view(NOW + HOUR))
    assert model in spare.may_fit(view(NOW + 4 * HOUR))
    policy.requested(NOW + HOUR, "rare")
    assert model in spare.may_fit(view(NOW + HOUR))
