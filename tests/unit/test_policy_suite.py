"""One suite that every registered policy must pass."""

import random

import pytest

from warmset.core.policy import POLICIES, Event, Held, ModelCost, View

GB = 1_000_000_000


def costs(n=8):
    return {
        f"m{i}": ModelCost(id=f"m{i}", bytes=(1 + i % 4) * GB, load_seconds=2.0 + i)
        for i in range(n)
    }


def held(cost, **facts):
    base = {"loaded_at": 0.0, "last_used": 10.0}
    return Held(id=cost.id, bytes=cost.bytes, load_seconds=cost.load_seconds, **base | facts)


def view(residents, *, short=0, event=Event.SPACE, now=1000.0, **facts):
    rows = {h.id: h for h in residents}
    used = sum(h.bytes for h in residents)
    base = {"budget_bytes": used + GB, "free_bytes": GB, "short_bytes": short}
    return View(now=now, event=event, residents=rows, **base | facts)


@pytest.fixture(params=sorted(POLICIES))
def policy(request):
    """A policy that has seen a little demand."""
    made = POLICIES[request.param]()
    made.start(costs(), 20 * GB)
    rng = random.Random(3)
    for i in range(200):
        made.requested(i * 5.0, f"m{min(7, int(rng.expovariate(0.6)))}")
    return made


def test_space_is_always_among_the_events(policy):
    """Every policy is asked for victims."""
    assert Event.SPACE in policy.events


@pytest.mark.parametrize("short", [1, GB, 5 * GB, 9 * GB])
def test_victims_free_what_is_short(policy, short):
    """The victims are idle residents, each named once, and together they are enough."""
    residents = [held(c, last_used=10.0 * i) for i, c in enumerate(costs().values())]
    decision = policy.decide(view(residents, short=short))
    assert len(set(decision.evict)) == len(decision.evict)
    bytes_of = {h.id: h.bytes for h in residents}
    assert sum(bytes_of[m] for m in decision.evict) >= short


@pytest.mark.parametrize("facts", [{"in_use": True}, {"pinned": True}])
def test_busy_and_pinned_residents_are_never_victims(policy, facts):
    """Whatever is asked for, at whatever event, those that may not go stay."""
    all_costs = list(costs().values())
    spared = [held(c, **facts) for c in all_costs[:4]]
    others = [held(c) for c in all_costs[4:]]
    for event in policy.events:
        subject = others[0].id
        short = 3 * GB if event is Event.SPACE else 0
        decision = policy.decide(view(spared + others, event=event, subject=subject, short=short))
        assert not {h.id for h in spared} & set(decision.evict if decision else ())


def test_what_cannot_be_freed_changes_nothing(policy):
    """With too little that may go the answer is `None`, not a partial list."""
    rows = list(costs().values())
    residents = [held(rows[0]), *(held(c, in_use=True) for c in rows[1:])]
    assert policy.decide(view(residents, short=2 * GB)) is None


def test_a_lower_priority_goes_first(policy):
    """No resident of a high class is a victim while the low class alone is enough."""
    rows = list(costs().values())
    high = [held(c, priority=100, last_used=0.0) for c in rows[:4]]
    low = [held(c, priority=10, last_used=999.0) for c in rows[4:]]
    decision = policy.decide(view(high + low, short=2 * GB))
    assert set(decision.evict) <= {h.id for h in low}


def test_a_start_forgets_everything(policy):
    """After `start` a used policy decides like a new one."""
    name = next(n for n, make in POLICIES.items() if type(make()) is type(policy))
    fresh = POLICIES[name]()
    given = ("seconds", "max_loaded", "preload", "fill", "events")
    fresh.__dict__ |= {k: v for k, v in policy.__dict__.items() if k in given}
    policy.start(costs(), 20 * GB)
    fresh.start(costs(), 20 * GB)
    for made in (policy, fresh):
        made.requested(1.0, "m1")
        made.requested(2.0, "m5")
    residents = [held(c) for c in costs().values()]
    asked = view(residents, short=4 * GB)
    assert policy.decide(asked) == fresh.decide(asked)


def test_the_order_of_the_residents_does_not_matter(policy):
    """The same residents in another order give the same victims."""
    residents = [held(c) for c in costs().values()]
    there = policy.decide(view(residents, short=4 * GB))
    policy.start(costs(), 20 * GB)
    one = policy.decide(view(residents, short=4 * GB))
    policy.start(costs(), 20 * GB)
    other = policy.decide(view(residents[::-1], short=4 * GB))
    assert one == other
    assert there is not None


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_question_that_cannot_be_answered_leaves_no_trace(name):
    """After an infeasible load a policy decides as if it had never been asked."""
    decisions = []
    rows = list(costs().values())
    for is_asked in (False, True):
        made = POLICIES[name]()
        made.start(costs(), 20 * GB)
        for i in range(60):
            made.requested(i * 7.0, f"m{i % 5}")
        if is_asked:
            stuck = [held(rows[0]), *(held(c, in_use=True) for c in rows[1:])]
            assert made.decide(view(stuck, short=2 * GB)) is None
        decisions.append(made.decide(view([held(c) for c in rows], short=6 * GB)))
    assert decisions[0] == decisions[1]
