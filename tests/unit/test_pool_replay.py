"""The quick replay: by hand on small traces, and by its laws on seeded ones."""

import random
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmset.core.demand.trace import Request, Trace
from warmset.core.policy import POLICIES, Decision, Event, ModelCost
from warmset.core.twin.beside import Rule, Server
from warmset.core.twin.memory import PoolSpec
from warmset.core.twin.pool import Pool
from warmset.core.twin.score import percentile
from warmset.errors import ConfigError

GB = 10**9


def spec(budget=20, fit_share=1.0, max_loaded=None, **sizes):
    """Models of so many GB that load at 1 GB/s."""
    models = {
        k: ModelCost(id=k, bytes=v * GB, load_seconds=float(v))
        for k, v in (sizes or {"a": 8, "b": 8, "c": 8}).items()
    }
    return PoolSpec(
        models=models, budget_bytes=budget * GB, max_loaded=max_loaded, fit_share=fit_share
    )


def pinned(host, *names):
    """The same host with pins."""
    models = {k: replace(m, pinned=k in names) for k, m in host.models.items()}
    return replace(host, models=models)


def trace(*rows, keep=None):
    made = Trace.of(Request(float(t), m, float(s)) for t, m, s in rows)
    if keep is None:
        return made
    return Trace(made.times, made.models, made.seconds, tuple(keep))


def test_a_load_is_waited_for_and_shared() -> None:
    """Two requests for one absent model wait for one load; the second for what is left of it."""
    score = Pool(trace((0, "a", 1), (3, "a", 1), (20, "a", 1)), spec(), POLICIES["lru"]()).run()
    assert (score.requests, score.cold_starts, score.loads) == (3, 1, 1)
    assert score.cold_seconds == 8.0
    assert score.wait_mean_seconds == pytest.approx((8 + 5) / 3)


def test_the_least_recently_used_goes_and_a_busy_one_stays() -> None:
    """`c` needs room: `a` was used last but one; if it is in use, `b` goes."""
    rows = [(0, "a", 1), (20, "b", 1), (40, "c", 1), (60, "b", 1), (61, "c", 1)]
    assert Pool(trace(*rows), spec(), POLICIES["lru"]()).run().cold_starts == 3
    rows[0] = (0, "a", 99)
    assert Pool(trace(*rows), spec(), POLICIES["lru"]()).run().cold_starts > 3


BOTH_WAYS = pytest.mark.parametrize("way", [Pool, Server])


@BOTH_WAYS
def test_a_pin_is_there_before_anybody_asks_and_stays(way) -> None:
    """`a` is asked for once, at the end, after the others have turned about in the other half."""
    rows = [(20 + t * 20, "bc"[t % 2], 1) for t in range(6)] + [(300, "a", 1)]
    free = way(trace(*rows), spec(), POLICIES["lru"]()).run()
    held = way(trace(*rows), pinned(spec(), "a"), POLICIES["lru"]()).run()
    assert "a" in free.cold_by_model
    assert "a" not in held.cold_by_model
    assert (free.cold_starts, held.cold_starts, held.preloads) == (3, 6, 1)


@BOTH_WAYS
def test_a_load_that_only_fits_without_the_pin_takes_it_for_a_while(way) -> None:
    """As Ollama would; once the large model has been idle for a minute, the pin is back."""
    host = pinned(spec(a=8, large=18), "a")
    back = way(trace((20, "large", 1), (200, "a", 1)), host, POLICIES["lru"]()).run()
    assert (back.cold_by_model, back.preloads) == ({"large": 1}, 2)
    away = way(trace((20, "large", 1), (60, "a", 1)), host, POLICIES["lru"]()).run()
    assert set(away.cold_by_model) == {"a", "large"}


def test_a_load_waits_for_the_others_before_it_takes_a_pin() -> None:
    """`b` is in use until 100 and would be enough: the idle pin is left alone."""
    host = pinned(spec(), "a")
    pool = Pool(trace((20, "b", 72), (40, "c", 1), (200, "a", 1)), host, POLICIES["lru"]())
    assert set(pool.run().cold_by_model) == {"b", "c"}
    assert max(pool.tally.waits) == pytest.approx(100 - 40 + 8)


@BOTH_WAYS
@pytest.mark.parametrize(
    ("change", "named", "way_out"),
    [
        ({}, "which need 22.4 GiB: a, b, c", "--budget"),
        ({"budget_bytes": 7 * GB}, "6.5 GiB for models are too little", "--budget"),
        ({"budget_bytes": 25 * GB, "fit_share": 0.8}, "which need 24.2 GiB", "--budget"),
        ({"budget_bytes": 99 * GB, "max_loaded": 2}, "3 pins are more than the 2", "MAX_LOADED"),
    ],
)
def test_a_memory_too_small_for_its_own_pins_is_refused(way, change, named, way_out) -> None:
    """Three pins of 8 GB: in 20, in 7, beside the server's margin, over its limit of two."""
    host = replace(pinned(spec(), "a", "b", "c"), **change)
    with pytest.raises(ConfigError) as refused:
        way(trace((0, "a", 1)), host, POLICIES["lru"]()).run()
    assert named in str(refused.value)
    assert way_out in (refused.value.hint or "")
    assert Server(trace((0, "a", 1)), host).run().loads <= 1  # stock Ollama knows no pins
    enough = replace(host, budget_bytes=host.least_for_pins(), max_loaded=None)
    assert way(trace((40, "a", 1)), enough, POLICIES["lru"]()).run().cold_starts == 0


def test_a_server_alone_knows_no_pins() -> None:
    """Stock Ollama with and without them costs the same."""
    rows = [(t * 20, "abc"[t % 3], 1) for t in range(9)]
    assert Server(trace(*rows), pinned(spec(), "a")).run() == Server(trace(*rows), spec()).run()


def test_a_load_waits_until_a_busy_model_ends() -> None:
    """One model fills the host and is in use until 100: the other begins to load then."""
    pool = Pool(trace((0, "a", 92), (1, "b", 1)), spec(budget=10), POLICIES["lru"]())
    score = pool.run()
    assert max(pool.tally.waits) == pytest.approx(100 - 1 + 8)
    assert score.evictions == 1


def test_a_model_that_never_fits_is_left_out_and_said() -> None:
    """Its requests are nobody's cold start."""
    pool = Pool(trace((0, "a", 1), (1, "huge", 1)), spec(a=8, huge=99), POLICIES["lru"]())
    assert pool.run().requests == 1
    assert pool.left_out == 1


def test_ollamas_margin_of_a_fifth_costs_room() -> None:
    """Two of 8 fit into 20 side by side, but not when a load may take 80 % of the free only."""
    rows = [(t * 20, "ab"[t % 2], 1) for t in range(10)]
    assert Pool(trace(*rows), spec(budget=17), POLICIES["lru"]()).run().cold_starts == 2
    tight = spec(budget=17, fit_share=0.8)
    assert Pool(trace(*rows), tight, POLICIES["lru"]()).run().cold_starts == 10


@pytest.mark.parametrize(("forecast", "cold"), [(None, 10), (7, 2), (4, 2), (13, 10)])
def test_the_servers_forecast_goes_against_its_margin_and_the_need_against_the_room(
    forecast, cold
) -> None:
    """Two of 8 GB in 17: `b` finds 9 free. It fits if 80 % of that are enough for what the server
    expects; without a forecast its bytes are what is expected."""
    rows = [(t * 20, "ab"[t % 2], 1) for t in range(10)]
    host = spec(budget=17, fit_share=0.8)
    said = None if forecast is None else forecast * GB
    host = replace(
        host, models={k: replace(m, forecast_bytes=said) for k, m in host.models.items()}
    )
    assert Pool(trace(*rows), host, POLICIES["lru"]()).run().cold_starts == cold


def test_a_forecast_below_the_need_makes_no_room() -> None:
    """Two of 8 GB never fit into 15, however little the server expects of them."""
    rows = [(t * 20, "ab"[t % 2], 1) for t in range(10)]
    host = spec(budget=15, fit_share=0.8)
    host = replace(host, models={k: replace(m, forecast_bytes=GB) for k, m in host.models.items()})
    assert Pool(trace(*rows), host, POLICIES["lru"]()).run().cold_starts == 10


def test_the_limit_on_loaded_models_counts_besides_the_memory() -> None:
    """Three small models and a limit of two: every turn of three reloads."""
    rows = [(t * 20, "abc"[t % 3], 1) for t in range(9)]
    small = {"a": 1, "b": 1, "c": 1}
    assert Pool(trace(*rows), spec(**small), POLICIES["lru"]()).run().cold_starts == 3
    limited = spec(max_loaded=2, **small)
    assert Pool(trace(*rows), limited, POLICIES["lru"]()).run().cold_starts == 9
    assert Server(trace(*rows), limited).run().cold_starts > 3


def test_a_timer_lets_a_model_go() -> None:
    """Ten minutes idle under a TTL of ten minutes is one too many; under LRU it is warm."""
    rows = [(0, "a", 1), (700, "a", 1)]
    assert Pool(trace(*rows), spec(), POLICIES["ttl-10m"]()).run().cold_starts == 2
    assert Pool(trace(*rows), spec(), POLICIES["lru"]()).run().cold_starts == 1
    assert Server(trace(*rows), spec()).run().cold_starts == 2  # stock: five minutes


def test_stock_ollama_obeys_the_clients_keep_alive() -> None:
    """A client that says an hour keeps its model over eleven minutes; one that says forever wins
    the choice of the victim."""
    rows = [(0, "a", 1), (700, "a", 1)]
    assert Server(trace(*rows, keep=(3600.0, None)), spec()).run().cold_starts == 1
    turns = [(0, "a", 1), (20, "b", 1), (40, "c", 1), (60, "a", 1)]
    kept = Server(trace(*turns, keep=(inf, None, None, None)), spec()).run()
    assert kept.cold_starts == 3


def test_ranks_steer_ollamas_choice_and_a_late_overwrite_hides_them() -> None:
    """Beside LRU ranks the older model goes; a client's short keep-alive within the last tick
    makes the newer one go instead."""
    turns = [(0, "a", 1), (20, "b", 1), (52, "b", 0.1), (53, "c", 1), (80, "b", 1)]
    ranked = Server(trace(*turns), spec(), POLICIES["lru"]()).run()
    assert ranked.cold_starts == 3
    late = trace(*turns, keep=(None, None, 60.0, None, None))
    assert Server(late, spec(), POLICIES["lru"]()).run().cold_starts == 4
    early = trace(*turns, keep=(None, 60.0, None, None, None))
    assert Server(early, spec(), POLICIES["lru"]()).run().cold_starts == 3


@pytest.mark.parametrize(("older", "newer"), [("a", "b"), ("b", "a")])
def test_a_load_into_free_room_leaves_the_ranks_of_the_tick_before(older, newer) -> None:
    """`d` needs nobody's room; `c` comes right after, before the next tick. Those that the tick
    before the load of `d` ranked are still ranked: the older one goes."""
    rows = [(0, older, 1), (20, newer, 1), (52, "d", 5), (54.5, "c", 1), (80, newer, 1)]
    host = spec(a=8, b=8, c=8, d=2)
    assert Server(trace(*rows), host, POLICIES["lru"]()).run().cold_starts == 4


def test_a_preload_brings_its_rank() -> None:
    """`b` is fetched at the tick at 10 and ready at 18; `c` comes at 19, before the next tick that
    could rank it. Yet `a`, idle for longer, goes: the preload's keep-alive said so."""

    class Fetches(type(POLICIES["lru"]())):
        events = (Event.IDLE, Event.SPACE)

        def decide(self, view):
            if view.event is Event.SPACE:
                return super().decide(view)
            return Decision(preload=("b",)) if view.subject == "a" else None

    rows = [(0, "a", 1), (19, "c", 1), (50, "b", 1)]
    assert set(Server(trace(*rows), spec(), Fetches()).run().cold_by_model) == {"a", "c"}


def test_uses_that_begin_while_a_model_is_in_use_are_not_seen_by_polling() -> None:
    """Of five requests, three within one tick and one inside a use, looks show two."""
    heard = []

    class Ears(type(POLICIES["lru"]())):
        def requested(self, now, model):
            heard.append((now, model))

    rows = [(0, "a", 30), (20, "a", 1), (61, "a", 1), (63, "a", 1), (64, "b", 1), (64.5, "a", 0.1)]
    rows.append((91, "c", 1))
    Server(trace(*rows), spec(), Ears()).run()
    assert heard == [(0.0, "a"), (65.0, "a"), (65.0, "b")]


def test_a_free_reserve_is_kept_at_ticks() -> None:
    """With a reserve of half the host, the older of two residents is unloaded after the load."""
    rows = [(0, "a", 1), (20, "b", 1), (40, "a", 1)]
    plain = Server(trace(*rows), spec(), POLICIES["lru"]()).run()
    reserve = Rule(free_reserve_bytes=10 * GB)
    kept = Server(trace(*rows), spec(), POLICIES["lru"](), reserve).run()
    assert (plain.cold_starts, kept.cold_starts) == (2, 3)


REQUESTS = st.lists(
    st.tuples(st.integers(0, 4000), st.sampled_from("abcdef"), st.integers(0, 60)), max_size=60
)
SIZES = {"a": 1, "b": 3, "c": 5, "d": 8, "e": 13, "f": 30}


@pytest.mark.parametrize("name", sorted(POLICIES))
@settings(max_examples=25, deadline=None)
@given(rows=REQUESTS, budget=st.integers(1, 40), share=st.sampled_from([0.8, 1.0]))
def test_replays_obey_the_hosts_rules(name, rows, budget, share) -> None:
    """Whatever the policy and whoever picks the victims: bytes stay within the budget, nobody is
    evicted in use, every request is answered, and the same replay gives the same score."""
    host = spec(budget=budget, fit_share=share, max_loaded=4, **SIZES)
    for make in (
        lambda: Pool(trace(*rows), host, POLICIES[name]()),
        lambda: Server(trace(*rows), host, POLICIES[name]()),
        lambda: Server(trace(*rows), host),
    ):
        replay = _watched(make())
        score = replay.run()
        assert not replay.waiting
        assert score.requests + replay.left_out == len(rows)
        assert score.cold_starts <= score.loads <= score.requests + score.preloads
        assert score.cold_seconds >= sum(replay.models[m].load_seconds for m in score.cold_by_model)
        assert make().run() == score


def test_nobody_is_evicted_for_a_preload_that_then_does_not_fit() -> None:
    """Under the server's margin: every decision that evicts for a preload is followed by it."""
    rng = random.Random(5)
    rows = [(t, m, 1) for m, period in zip("abcdef", (400, 500, 700, 900, 1100, 1300), strict=True)
            for t in range(period // 2, 40_000, period)]  # fmt: skip
    rows = sorted((t + rng.randrange(5), m, s) for t, m, s in rows)
    pool = Pool(trace(*rows), spec(budget=20, fit_share=0.8, **SIZES), POLICIES["worth"]())
    decided, made_room = pool.decided, []

    def watched(decision):
        decided(decision)
        if decision.evict and decision.preload:
            made_room.append(decision)
            pool.pump()
            assert pool.loading == decision.preload[0]

    pool.decided = watched
    pool.run()
    assert len(made_room) > 20


@pytest.mark.parametrize("name", sorted(POLICIES))
@settings(max_examples=25, deadline=None)
@given(rows=REQUESTS, budget=st.integers(21, 40))
def test_no_policy_takes_a_pin_for_what_fits_beside_it(name, rows, budget) -> None:
    """Whatever is asked for: pins of 6 GB stay, since all others fit into the rest."""
    sizes = SIZES | {"f": 15}
    pool = Pool(trace(*rows), pinned(spec(budget=budget, **sizes), "a", "c"), POLICIES[name]())
    evict = pool.evict

    def checked_evict(slot):
        assert not slot.cost.pinned
        evict(slot)

    pool.evict = checked_evict
    score = pool.run()
    assert not pool.waiting
    assert score.requests == len(rows)


def _watched(replay):
    evict, load = replay.evict, replay.load

    def checked_evict(slot):
        assert slot.busy_until <= replay.now
        evict(slot)

    def checked_load(cost, *, demanded):
        load(cost, demanded=demanded)
        assert replay.free_bytes >= 0
        held = sum(s.cost.bytes for s in replay.slots.values()) + cost.bytes
        assert held + replay.free_bytes == replay.spec.budget_bytes
        assert len(replay.slots) < 4 or not demanded or len(replay.slots) + 1 <= 4

    replay.evict, replay.load = checked_evict, checked_load
    return replay


@given(
    values=st.lists(st.floats(0, 100), max_size=40), share=st.floats(0, 1), extra=st.integers(0, 9)
)
def test_a_percentile_of_mostly_zeros_is_that_of_all_values(values, share, extra) -> None:
    """Leaving the zeros out changes nothing."""
    everything = sorted([*values, *[0.0] * extra])
    expected = (
        everything[min(len(everything) - 1, int(share * len(everything)))] if everything else 0
    )
    positive = [v for v in values if v > 0]
    assert percentile(positive, len(everything), share) == expected
