"""`choose_victims` against every subset, and what holds above the exact size."""

import random
import time
from fractions import Fraction
from itertools import combinations
from operator import add

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmset.core.policy.victims import Candidate, _weights, choose_victims, least_lost
from warmset.errors import FactsError

VALUES = st.one_of(
    st.integers(0, 6), st.floats(0, 100, allow_nan=False), st.sampled_from([0.1, 0.2, 0.3, 1e-9])
)
RESIDENT = st.fixed_dictionaries(
    {
        "bytes": st.one_of(st.integers(0, 12), st.integers(1 << 30, 45 << 30)),
        "priority": st.sampled_from([10, 50, 50, 100]),
        "value": VALUES,
        "busy": st.booleans().map(lambda b: b),
        "pinned": st.sampled_from([False, False, False, True]),
    }
)


def pool(rows):
    return [{"id": f"m{i}", **row} for i, row in enumerate(rows)]


def exact(value):
    """The value as a whole number of units that every float is a multiple of."""
    return int(Fraction(value) * 2**1074)


def key(victims):
    """The rule as it is worded: lost value by class from the top, then the number of victims."""
    classes = sorted({100, 50, 10}, reverse=True)
    lost = [sum(exact(v["value"]) for v in victims if v["priority"] == c) for c in classes]
    return (*lost, len(victims))


def brute_force(residents, need_bytes, free_bytes):
    """The best key over all subsets; `None` if none frees enough. Sums are exact."""
    subsets = [(free_bytes, (0, 0, 0, 0))]
    for r in residents:
        if not (r["busy"] or r["pinned"]):
            adds = key([r])
            subsets += [(room + r["bytes"], tuple(map(add, lost, adds))) for room, lost in subsets]
    return min((lost for room, lost in subsets if room >= need_bytes), default=None)


@settings(max_examples=2000)
@given(st.lists(RESIDENT, max_size=9).map(pool), st.integers(0, 90), st.data())
def test_the_set_is_as_good_as_the_best_of_all_subsets(residents, percent, data):
    """Feasibility, lost value by class and number of victims equal those of brute force."""
    total = sum(r["bytes"] for r in residents)
    free = data.draw(st.integers(-3, 10))
    need = total * percent // 80
    chosen = choose_victims(residents, need, free)
    best = brute_force(residents, need, free)
    if best is None:
        assert chosen is None
        return
    assert chosen is not None
    by_id = {r["id"]: r for r in residents}
    victims = [by_id[i] for i in chosen]
    assert not any(v["busy"] or v["pinned"] for v in victims)
    assert free + sum(v["bytes"] for v in victims) >= need
    assert key(victims) == best


DRAWS = {  # bytes, priority and value of residents that make the search hard
    "ties": lambda rng: (rng.choice([1, 2, 3]), rng.choice([0, 1]), 1),
    "equal": lambda _: (5, 50, 1.0),
    "worthless": lambda rng: (rng.randrange(9), rng.choice([-5, 0, 3]), 0),
    "negative priorities": lambda rng: (rng.randrange(20), -rng.randrange(4) - 0.5, rng.random()),
    "huge and tiny": lambda rng: (
        rng.randrange(1 << 70),
        rng.choice([-1e300, 0, 1e300]),
        rng.choice([1e308, 5e-324, 1e-308, 10**400, 0]),
    ),
    "rounding": lambda rng: (
        rng.randrange(1, 40),
        0.5,
        rng.choice([0.1, 0.2, 0.1 + 0.2, 0.3, 1e16, 1e16 + 2]),
    ),
    # no order by value per byte tells these apart
    "value as bytes": lambda rng: ((size := rng.randrange(1, 1000)), 0, size),
}
KINDS = tuple(DRAWS)


def hard_pool(kind, n, seed, spared=0.1):
    rng = random.Random(f"{kind} {n} {seed}")
    rows = []
    for i in range(n):
        size, priority, value = DRAWS[kind](rng)
        busy, pinned = rng.random() < spared, rng.random() < spared
        rows.append(
            {"id": f"m{i}", "bytes": size, "priority": priority, "value": value}
            | {"busy": busy, "pinned": pinned}
        )
    return rows, rng


@pytest.mark.parametrize("kind", KINDS)
def test_hard_pools_are_exact_as_well(kind):
    """Ties, values of nothing, numbers beyond and below any float's: as good as brute force."""
    for seed in range(300):
        residents, rng = hard_pool(kind, seed % 10, seed)
        need = rng.randrange(sum(r["bytes"] for r in residents) + 2)
        free = rng.choice([0, 0, -1, 3])
        classes = sorted({r["priority"] for r in residents}, reverse=True)

        def loss(victims, classes=classes):
            lost = [
                sum(Fraction(v["value"]) for v in victims if v["priority"] == c) for c in classes
            ]
            return (*lost, len(victims))

        best = None
        subsets = [()]
        for r in residents:
            if not (r["busy"] or r["pinned"]):
                subsets += [(*chosen, r) for chosen in subsets]
        for chosen in subsets:
            if free + sum(r["bytes"] for r in chosen) >= need:
                best = min(best or loss(chosen), loss(chosen))
        found = choose_victims(residents, need, free)
        by_id = {r["id"]: r for r in residents}
        assert (found is None) == (best is None), (kind, seed)
        if found is not None:
            assert loss([by_id[i] for i in found]) == best, (kind, seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [40, 200])
def test_large_hard_pools_lose_at_most_one_victim_more_than_the_fractional_bound(kind, n):
    """In folded weights, where one class outweighs all lower ones, as in those of one class."""
    residents, _ = hard_pool(kind, n, 1, spared=0)
    need = sum(r["bytes"] for r in residents) // 3
    rows = [Candidate(r["id"], r["bytes"], r["priority"], r["value"]) for r in residents]
    weight = dict(zip((r.id for r in rows), _weights(rows), strict=True))
    chosen = choose_victims(residents, need, 0)
    bound, left = Fraction(0), need
    for r in sorted((r for r in rows if r.bytes), key=lambda r: Fraction(weight[r.id], r.bytes)):
        bound += Fraction(weight[r.id] * min(r.bytes, left), r.bytes)
        left -= min(r.bytes, left)
        if not left:
            break
    assert bound <= sum(weight[i] for i in chosen) <= bound + weight[r.id]


@given(st.lists(RESIDENT, max_size=12).map(pool), st.integers(0, 60 << 30), st.randoms())
def test_the_order_of_the_residents_does_not_matter(residents, need, rng):
    """A shuffled list gives the same victims in the same order."""
    shuffled = list(residents)
    rng.shuffle(shuffled)
    assert choose_victims(shuffled, need, 0) == choose_victims(residents, need, 0)


def seeded_pool(n, seed):
    rng = random.Random(seed)
    return [
        {
            "id": f"m{i}",
            "bytes": rng.randrange(300_000_000, 45_000_000_000),
            "priority": rng.choice([10, 50]),
            "value": rng.random() * 30,
            "busy": False,
            "pinned": False,
        }
        for i in range(n)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_twenty_residents_are_exact(seed):
    """With 20 residents of one class no swap, drop or cheaper pair of any size is found."""
    residents = [{**r, "value": round(r["value"])} for r in seeded_pool(20, seed)]
    for r in residents:
        r["priority"], r["bytes"] = 50, r["bytes"] // 10**9
    need = sum(r["bytes"] for r in residents) // 3
    # dynamic programme over whole gigabytes: an independent exact method
    best = {0: (0, 0)}
    for r in residents:
        for size, (value, count) in list(best.items()):
            grown = min(need, size + r["bytes"])
            candidate = (value + r["value"], count + 1)
            if candidate < best.get(grown, (10**9, 0)):
                best[grown] = candidate
    chosen = choose_victims(residents, need, 0)
    assert chosen is not None
    values = {r["id"]: r["value"] for r in residents}
    assert (sum(values[i] for i in chosen), len(chosen)) == best[need]


@pytest.mark.parametrize("n", [21, 80, 500])
def test_above_twenty_the_loss_and_the_time_are_bounded(n):
    """The loss is at most the fractional bound plus one victim, found in a blink."""
    residents = [{**r, "priority": 50} for r in seeded_pool(n, n)]
    need = sum(r["bytes"] for r in residents) // 4
    began = time.perf_counter()
    chosen = choose_victims(residents, need, 0)
    assert time.perf_counter() - began < 0.25
    assert chosen is not None
    by_id = {r["id"]: r for r in residents}
    lost = sum(by_id[i]["value"] for i in chosen)
    bound, left = 0.0, need
    for r in sorted(residents, key=lambda r: r["value"] / r["bytes"]):
        if r["bytes"] >= left:
            bound += r["value"] * left / r["bytes"]
            break
        bound += r["value"]
        left -= r["bytes"]
    assert bound <= lost + 1e-9
    assert lost <= bound + r["value"]
    assert sum(by_id[i]["bytes"] for i in chosen) >= need


def test_a_higher_class_is_spared_whatever_the_lower_one_loses():
    """Two dear models of a low priority go before one cheap model of a high priority."""
    residents = [
        {"id": "a", "bytes": 10, "priority": 100, "value": 0.1, "busy": False, "pinned": False},
        {"id": "b", "bytes": 6, "priority": 10, "value": 50.0, "busy": False, "pinned": False},
        {"id": "c", "bytes": 4, "priority": 10, "value": 70.0, "busy": False, "pinned": False},
    ]
    assert choose_victims(residents, 10, 0) == ("b", "c")


def test_enough_free_room_needs_no_victim():
    """What fits already evicts nobody, and what can never fit is `None`."""
    residents = seeded_pool(3, 1)
    assert choose_victims(residents, 5, 5) == ()
    assert choose_victims(residents, 10**15, 0) is None
    assert choose_victims([], 1, 0) is None
    assert choose_victims([], 0, 0) == ()


GOOD = {"id": "a", "bytes": 1, "priority": 1, "value": 1.0, "busy": False, "pinned": False}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"value": float("nan")}, "value is nan"),
        ({"value": -1.0}, "value is -1.0"),
        ({"bytes": 1.5}, "bytes is 1.5"),
        ({"bytes": -1}, "bytes is -1"),
        ({"priority": "high"}, "priority is 'high'"),
        ({"id": 7}, "text as id"),
        ({"bytes": True}, "bytes is True"),
        ({"priority": float("inf")}, "priority is inf"),
        ({"busy": None}, "busy is None"),
        ({"pinned": "no"}, "pinned is 'no'"),
    ],
)
def test_a_resident_that_makes_no_sense_is_named(change, words):
    """The error names the resident, the key and the value."""
    with pytest.raises(FactsError, match=words):
        choose_victims([GOOD | change], 1, 0)


def test_missing_keys_and_double_ids_are_refused():
    """A resident without a key, or listed twice, is an error and no guess is made."""
    with pytest.raises(FactsError, match="'a' has no busy, pinned"):
        choose_victims([{k: GOOD[k] for k in ("id", "bytes", "priority", "value")}], 1, 0)
    with pytest.raises(FactsError, match="'a' is listed twice"):
        choose_victims([GOOD, GOOD], 1, 0)


def test_a_need_that_is_no_number_of_bytes_is_refused():
    """Fractions, no number at all, and residents that are no mappings are named."""
    with pytest.raises(FactsError, match="need_bytes is 1.5"):
        choose_victims([GOOD], 1.5, 0)
    with pytest.raises(FactsError, match="free_bytes is None"):
        choose_victims([GOOD], 1, None)
    with pytest.raises(FactsError, match="residents is None"):
        choose_victims(None, 1, 0)
    with pytest.raises(FactsError, match="resident 'a' is not a mapping"):
        choose_victims("a", 1, 0)


def test_numbers_beyond_any_float_are_compared_exactly():
    """Values and bytes of hundreds of digits differ by one, and the smaller loss is found."""
    huge = 10**400
    residents = [
        GOOD | {"id": "a", "bytes": huge, "value": huge + 1},
        GOOD | {"id": "b", "bytes": huge, "value": huge},
    ]
    assert choose_victims(residents, huge, 0) == ("b",)


@given(residents=st.lists(RESIDENT, max_size=8), short=st.integers(min_value=1, max_value=40))
def test_no_set_loses_less_than_the_bound(residents, short):
    """What `least_lost` says is a floor: every set that frees enough loses at least that."""
    rows = [Candidate(f"m{i}", r["bytes"], 0, r["value"]) for i, r in enumerate(residents)]
    floor = least_lost(rows, short)
    for chosen in (c for k in range(len(rows) + 1) for c in combinations(rows, k)):
        if sum(row.bytes for row in chosen) >= short:
            assert floor <= sum(row.value for row in chosen) * (1 + 1e-9)
