"""Warmset's own policy: what it keeps, what it fetches, and what it leaves alone."""

import math

import pytest

from warmset.core.policy import Event, Held, ModelCost, View
from warmset.core.policy.worth import Worth

GB = 1_000_000_000
PERIOD = 900.0


def cost(name, gb=4, **facts):
    return ModelCost(id=name, bytes=gb * GB, load_seconds=8.0, **facts)


def held(model, **facts):
    base = {"loaded_at": 0.0, "last_used": 0.0}
    return Held(id=model.id, bytes=model.bytes, load_seconds=model.load_seconds, **base | facts)


def view(now, residents, *, free=0, event=Event.WAKE, **facts):
    rows = {h.id: h for h in residents}
    return View(now=now, event=event, budget_bytes=8 * GB, free_bytes=free, residents=rows, **facts)


def taught(*, timer=None, preload=True):
    """A policy that knows `timer` (every 900 s), `chat` (seconds apart), `rare` (twice a day)."""
    models = {"timer": timer or cost("timer"), "chat": cost("chat"), "rare": cost("rare")}
    policy = Worth(preload=preload)
    policy.start(models, 8 * GB)
    events = [(i * PERIOD, "timer") for i in range(60)]
    events += [
        (i * 4000.0 + i * i % 7 * 150 + k * 15, "chat") for i in range(13) for k in range(20)
    ]
    events += [(100.0, "rare"), (40000.0, "rare")]
    for at, model in sorted(events):
        policy.requested(at, model)
    return policy, models


LAST = 59 * PERIOD


def looks(policy, residents, *, free=0, start=LAST + 30, until=LAST + PERIOD, **facts):
    """Asks whenever the policy wants to be asked; returns the first preload and its time."""
    now = start
    while now < until:
        decision = policy.decide(view(now, residents, free=free, **facts))
        if decision and decision.preload:
            return now, decision
        now = max(now + 5.0, (decision and decision.wake_at) or 0.0)
    return None, None


def only_the_timer(policy):
    """Lets no other model be fetched, and gives memory a rent that 400 s use up."""
    policy.ahead.gone["chat"] = policy.ahead.gone["rare"] = math.inf
    policy.values.rent.per_byte_second = 8.0 / (4 * GB) / 400.0


def test_a_timer_is_fetched_shortly_before_it_is_due():
    """Where memory has its price, it comes late in its period, not right after use."""
    policy, _ = taught()
    only_the_timer(policy)
    at, decision = looks(policy, [], free=4 * GB)
    assert decision.preload == ("timer",)
    assert decision.evict == ()
    assert LAST + PERIOD * 5 / 6 < at < LAST + PERIOD


def test_room_that_nobody_wants_is_filled_at_once():
    """While no eviction has given memory a price, free room takes what has a chance of use."""
    policy, _ = taught()
    at, decision = looks(policy, [], free=4 * GB)
    assert decision.preload
    assert at < LAST + 60


def test_timers_that_beat_together_are_fetched_one_right_after_the_other():
    """As soon as the first is loaded the second begins, however short that load was."""
    models = {n: ModelCost(id=n, bytes=4 * GB, load_seconds=3.0) for n in ("one", "two")}
    policy = Worth()
    policy.start(models, 8 * GB)
    for at in range(60):
        for offset, name in enumerate(models):
            policy.requested(at * PERIOD + offset, name)
    at, first = looks(policy, [], free=8 * GB)
    ready = held(models[first.preload[0]], loaded_at=at, last_used=at + 3)
    second = policy.decide(view(at + 3, [ready], free=4 * GB, event=Event.LOADED))
    assert second is not None
    assert set(first.preload + second.preload) == {"one", "two"}


def test_a_preload_displaces_the_model_that_is_worth_less():
    """The due timer takes the room of a model used twice a day, with the reason given."""
    policy, models = taught()
    policy.ahead.gone["chat"] = math.inf
    _, decision = looks(policy, [held(models["rare"], last_used=40000.0)])
    assert decision.preload == ("timer",)
    assert decision.evict == ("rare",)
    assert "timer" in decision.reasons[0]


def test_a_preload_frees_what_the_servers_margin_asks_for():
    """A load of 4 GB that needs 5 free displaces both small models, not one of them for nothing;
    where only one may go it displaces nobody; room without the margin is no free room."""
    small = [cost("small-a", 1), cost("small-b", 4)]
    policy, _ = taught()
    policy.ahead.gone["chat"] = math.inf
    margin = {"lacking": {"timer": 5 * GB, "chat": 5 * GB, "rare": 5 * GB}}
    _, decision = looks(policy, [held(m) for m in small], **margin)
    assert decision.preload
    assert set(decision.evict) == {"small-a", "small-b"}
    policy, _ = taught()
    busy = [held(small[0], in_use=True), held(small[1])]
    assert looks(policy, busy, **margin) == (None, None)
    policy, _ = taught()
    one_short = {"lacking": dict.fromkeys(("timer", "chat", "rare"), 1)}
    assert looks(policy, [], free=4 * GB, **one_short) == (None, None)


@pytest.mark.parametrize(
    "facts", [{"loading": "chat"}, {"queued": ("chat",)}], ids=["loading", "queued"]
)
def test_nothing_is_fetched_while_the_loader_is_wanted(facts):
    """A busy loader, or somebody who waits for it, comes first."""
    policy, _ = taught()
    assert looks(policy, [], free=8 * GB, **facts) == (None, None)


@pytest.mark.parametrize("facts", [{"in_use": True}, {"pinned": True}, {"priority": 100}])
def test_a_preload_respects_use_pins_and_priorities(facts):
    """What is busy, pinned or of a higher priority is not displaced by a preload."""
    policy, models = taught()
    policy.ahead.gone["chat"] = math.inf
    resident = held(models["rare"], last_used=40000.0, **facts)
    assert looks(policy, [resident]) == (None, None)


def test_the_operators_word_against_preloads_is_obeyed():
    """A model with `preload = false` is kept when asked for, never fetched."""
    policy, _ = taught(timer=cost("timer", may_preload=False))
    policy.ahead.gone["chat"] = policy.ahead.gone["rare"] = math.inf
    assert looks(policy, [], free=8 * GB) == (None, None)


def test_what_was_just_evicted_is_not_fetched_back():
    """Within the latch after its eviction a model stays away, however promising."""
    policy, models = taught()
    due = LAST + PERIOD - 40
    rows = [held(models["timer"], last_used=LAST)]
    policy.ahead.gone["chat"] = policy.ahead.gone["rare"] = math.inf
    gone = policy.decide(view(due, rows, event=Event.SPACE, short_bytes=GB, subject="rare"))
    assert gone.evict == ("timer",)
    assert looks(policy, [], free=4 * GB, start=due + 1, until=due + 59) == (None, None)


def test_a_resident_just_used_is_not_displaced_by_a_preload():
    """Min residency holds a fresh resident even against a better candidate."""
    policy, models = taught()
    policy.ahead.gone["chat"] = math.inf
    now = LAST + PERIOD - 30
    fresh = held(models["rare"], loaded_at=now - 8, last_used=now - 2)
    decision = policy.decide(view(now, [fresh]))
    assert decision is None or not decision.preload


def two_beats():
    """A policy that knows two timers with no room beside each other, `first` due 20 s before."""
    models = {
        "first": cost("first"),
        "then": ModelCost(id="then", bytes=8 * GB, load_seconds=30.0),
    }
    policy = Worth()
    policy.start(models, 8 * GB)
    for i in range(1, 61):
        policy.requested(i * PERIOD - 20, "first")
        policy.requested(i * PERIOD, "then")
    return policy, models


def test_who_is_due_first_makes_no_room_for_who_is_due_later():
    """It would come back at its beat and take the room again before the other's."""
    policy, models = two_beats()
    due = 61 * PERIOD
    waiting = [held(models["first"], loaded_at=due - 100, last_used=due - 90)]
    at, _ = looks(policy, waiting, free=4 * GB, start=due - 60, until=due - 25)
    assert at is None
    policy, _ = two_beats()  # once its beat is past hope, the room is had
    later = [held(models["first"], loaded_at=due - 60, last_used=due - 50)]
    at, decision = looks(policy, later, free=4 * GB, start=due - 15, until=due)
    assert decision.evict == ("first",), at


def test_a_model_on_a_timer_may_go_as_soon_as_its_beat_is_over():
    """Timers are done after one request: the next one need not wait."""
    policy, models = two_beats()
    due = 61 * PERIOD
    policy.requested(due - 20, "first")
    used = [held(models["first"], loaded_at=due - 100, last_used=due - 19, uses=1)]
    decision = policy.decide(view(due - 18, used, free=4 * GB))
    assert (decision.preload, decision.evict) == (("then",), ("first",))


def test_promises_that_come_to_nothing_make_it_cautious():
    """After many preloads without a use, what a gap law promises is not fetched any more."""
    for kept, fetched in ((50.0, True), (1.0, False)):
        policy, _ = taught()
        policy.ahead.gone["timer"] = policy.ahead.gone["rare"] = math.inf
        for trust in (policy.ahead.trust, policy.ahead.spare.trust):
            trust.promised, trust.kept = 50.0, kept
        _, decision = looks(policy, [], free=4 * GB)
        assert (decision is not None) == fetched


def test_a_model_nobody_asked_for_takes_only_free_room_and_only_once():
    """What is known but was never used fills room that is free anyway; it displaces nobody.

    A second time only the law of the others could ask for it, which is not trusted here.
    """
    models = {"old": cost("old"), "new": cost("new"), "forbidden": cost("forbidden", gb=1)}
    models["forbidden"] = cost("forbidden", gb=1, may_preload=False)
    policy = Worth(fill=True)
    policy.start(models, 8 * GB)
    policy.ahead.spare.trust.kept = 0.0
    policy.requested(0.0, "old")
    row = held(models["old"], last_used=5.0)
    assert policy.decide(view(100.0, [row], free=2 * GB)).preload is None
    assert policy.decide(view(200.0, [row], free=4 * GB)).preload == ("new",)
    again = policy.decide(view(300.0, [row], free=4 * GB))
    assert not again.preload


def test_a_model_nobody_asked_for_is_left_alone_unless_it_is_wished():
    """By default free room takes only what somebody has used before."""
    policy = Worth()
    policy.start({"old": cost("old"), "new": cost("new")}, 8 * GB)
    policy.requested(0.0, "old")
    decision = policy.decide(view(200.0, [held(cost("old"), last_used=5.0)], free=4 * GB))
    assert not decision.preload


def test_a_model_that_is_fetched_before_its_first_use_has_a_value():
    """With `fill` one never asked for counts as others of its age; without, it is worth nothing."""
    for fill in (True, False):
        policy = Worth(fill=fill)
        policy.start({"new": cost("new"), "busy": cost("busy")}, 8 * GB)
        for i in range(40):
            policy.requested(i * 50.0, "busy")
        rows = [held(cost("new")), held(cost("stranger"))]
        decision = policy.decide(
            view(2400.0, rows, event=Event.SPACE, short_bytes=GB, subject="busy")
        )
        assert (policy.values.loads(2400.0, cost("new")) > 0) == fill
        assert decision.evict == ("stranger",)


def test_a_model_nobody_asked_for_goes_first():
    """A preload without a use is the first victim when somebody needs the room."""
    policy, models = taught()
    rows = [held(models["chat"], last_used=LAST), held(cost("stranger"), last_used=LAST)]
    decision = policy.decide(
        view(LAST + 5, rows, event=Event.SPACE, short_bytes=GB, subject="rare")
    )
    assert decision.evict == ("stranger",)


def test_without_preloads_it_is_asked_only_for_room():
    """The demand form has one event and never fetches."""
    policy, models = taught(preload=False)
    assert policy.events == (Event.SPACE,)
    assert policy.decide(view(LAST, [held(models["rare"])], free=GB)) is None


def test_the_idle_chat_outlives_the_model_of_twice_a_day():
    """For room, the model with the least to lose goes, not the one used least lately."""
    policy, models = taught()
    last_chat = 12 * 4000.0 + 19 * 15
    rows = [held(models["chat"], last_used=last_chat), held(models["rare"], last_used=LAST - 600)]
    policy.requested(last_chat, "chat")
    decision = policy.decide(
        view(last_chat + 20, rows, event=Event.SPACE, short_bytes=GB, subject="timer")
    )
    assert decision.evict == ("rare",)
    assert "rare" in decision.reasons[0]
