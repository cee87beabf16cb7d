"""`pack`: what is chosen, where it lies, what is said of the rest, and which input is refused."""

import random

import pytest

from warmset.core.planner import ground
from warmset.core.planner.ground import Ground
from warmset.core.planner.packing import pack
from warmset.errors import Refused

GIB = 1 << 30


def device(name, size):
    return {"id": name, "bytes": round(size * GIB)}


def model(name, size, **fields):
    return {"id": name, "bytes": round(size * GIB), "value": 1.0, **fields}


TWO = (device("g0", 24), device("g1", 24))


def test_everything_that_fits_is_placed():
    """With room for all, all are in and the result is proved."""
    packing = pack(TWO, [model("a", 20), model("b", 20), model("c", 4)])
    assert set(packing.placement) == {"a", "b", "c"}
    assert packing.left_out == {}
    assert packing.proved
    assert packing.gap == 0


def test_the_higher_class_wins_over_any_value_below():
    """Priority is lexicographic: one model of class 90 outweighs all value of class 10."""
    packing = pack(
        [device("g0", 24)],
        [model("high", 20, priority=90, value=1), model("low", 20, priority=10, value=999)],
    )
    assert packing.placement == {"high": "g0"}
    assert packing.objective == {90: 1, 10: 0}
    assert list(packing.objective) == [90, 10]


def test_the_best_sum_beats_the_best_single():
    """Greedy by density takes the first; the optimum takes the other two."""
    packing = pack(
        [device("g0", 10)],
        [model("a", 6, value=7), model("b", 5, value=5), model("c", 5, value=5)],
    )
    assert set(packing.placement) == {"b", "c"}


def test_a_pinned_model_is_in_at_any_price():
    """A worthless pin displaces the valuable."""
    packing = pack(
        [device("g0", 24)], [model("pin", 20, pinned=True, value=0), model("a", 20, value=9)]
    )
    assert packing.placement == {"pin": "g0"}
    assert "20.0 GiB" in packing.left_out["a"]
    assert "4.0 GiB" in packing.left_out["a"]


def test_a_model_bound_to_a_device_goes_nowhere_else():
    """Room on the other device does not help it."""
    packing = pack(TWO, [model("a", 20, device="g1"), model("b", 20, device="g1", value=0.5)])
    assert packing.placement == {"a": "g1"}
    assert "g1" in packing.left_out["b"]


def test_a_splittable_model_larger_than_any_device_lies_over_all_in_proportion():
    """24 over devices of 20 and 10 is 16 and 8: there is no "two of four"."""
    packing = pack([device("g0", 20), device("g1", 10)], [model("large", 24, splittable=True)])
    assert packing.placement["large"] == {"g0": 16 * GIB, "g1": 8 * GIB}


def test_a_splittable_model_that_one_device_could_hold_is_not_split():
    """Whole on one device comes before a split."""
    packing = pack(TWO, [model("a", 20, splittable=True)])
    assert packing.placement["a"] in {"g0", "g1"}


def test_a_model_that_may_not_split_and_fits_nowhere_is_left_out_with_numbers():
    """The reason has the need and the largest device."""
    packing = pack(TWO, [model("a", 30)])
    assert packing.left_out["a"] == "needs 30.0 GiB on one device; the largest has 24.0 GiB"


def test_no_more_than_max_loaded_are_chosen():
    """The most valuable of those that fit are kept, and the limit is the reason."""
    rows = [model(f"m{n}", 1, value=n) for n in range(4)]
    packing = pack(TWO, rows, max_loaded=2)
    assert set(packing.placement) == {"m2", "m3"}
    assert "2 models are the most" in packing.left_out["m0"]


def test_without_devices_nothing_is_placed():
    """An empty host is an answer, not an error."""
    packing = pack([], [model("a", 1)])
    assert packing.placement == {}
    assert packing.left_out == {"a": "needs 1.0 GiB; there is no device"}


def test_nothing_to_place_is_proved_at_once():
    """No models: an empty packing."""
    packing = pack(TWO, [])
    assert (dict(packing.placement), packing.proved, packing.gap) == ({}, True, 0)


def test_pins_that_exclude_each_other_are_named_and_no_others():
    """Of six pins the smallest conflicting set has three: two devices hold two of 13."""
    rows = [model(f"big{n}", 13, pinned=True) for n in range(3)]
    rows += [model(f"small{n}", 1, pinned=True) for n in range(3)]
    with pytest.raises(Refused) as caught:
        pack(TWO, rows)
    assert set(caught.value.context["models"]) == {"big0", "big1", "big2"}
    assert "13.0 GiB" in caught.value.message
    assert "small0" not in caught.value.message
    assert caught.value.hint


def test_the_smallest_conflict_is_found_behind_a_larger_one():
    """Two pins bound to one device conflict, although the largest three do so as well."""
    rows = [model(f"big{n}", 20, pinned=True) for n in range(3)]
    rows += [model("x", 13, pinned=True, device="g0"), model("y", 12, pinned=True, device="g0")]
    with pytest.raises(Refused) as caught:
        pack((*TWO, device("g2", 24)), rows)
    assert set(caught.value.context["models"]) == {"x", "y"}


def test_pins_that_fill_every_device_to_the_last_byte_are_placed():
    """Dozens of pins, and few ways that work: a refusal would be wrong."""
    chance = random.Random(7)
    chance.choice((4, 8))
    devices, pins = [], []
    for number in range(8):
        room = chance.choice((24, 48, 80)) * GIB
        devices.append({"id": f"g{number}", "bytes": room})
        cuts = sorted(chance.sample(range(GIB, room, 1 << 20), chance.randint(3, 7) - 1))
        ends = zip([0, *cuts], [*cuts, room], strict=True)
        pins += [end - start for start, end in ends]
    rows = [{"id": n, "bytes": size, "pinned": True} for n, size in enumerate(pins)]
    chance.shuffle(rows)
    assert len(pack(devices, rows).placement) == len(rows) > 30


def test_pins_that_were_not_arranged_in_time_are_not_called_impossible(monkeypatch):
    """Where the search was too long, the refusal says that it does not know."""
    monkeypatch.setattr(ground, "LAST_RESORT", 1)
    monkeypatch.setattr(Ground.hold, "__kwdefaults__", {"steps": 1})
    rows = [model(f"p{n}", size, pinned=True) for n, size in enumerate((11, 11, 10, 7, 3, 3, 3))]
    with pytest.raises(Refused, match="nor that there is none") as caught:
        pack(TWO, rows)
    assert caught.value.context["is_certain"] is False


def test_more_pins_than_max_loaded_are_refused_with_the_limit():
    """Small pins conflict by their number alone."""
    rows = [model(f"p{n}", 1, pinned=True) for n in range(3)]
    with pytest.raises(Refused, match="at most 2 models"):
        pack(TWO, rows, max_loaded=2)


def test_a_pin_larger_than_everything_is_refused_alone():
    """The conflict is the one model, with its size and the devices."""
    with pytest.raises(Refused) as caught:
        pack(TWO, [model("huge", 99, pinned=True), model("a", 1, pinned=True)])
    assert caught.value.context["models"] == ("huge",)


@pytest.mark.parametrize(
    ("devices", "models", "words"),
    [
        (TWO, [{"id": "a"}], 'model "a" has no `bytes`'),
        (TWO, [{"id": "a", "bytes": 0}], "0 bytes"),
        (TWO, [{"id": "a", "bytes": -5}], "-5 bytes"),
        (TWO, [{"id": "a", "bytes": 10**40}], "bytes; from 1 to"),
        (TWO, [{"id": "a", "bytes": "12GiB"}], "'12GiB'"),
        (TWO, [{"id": "a", "bytes": True}], "True"),
        (TWO, [{"id": "a", "bytes": float("nan")}], "nan"),
        (TWO, [{"bytes": 5}], "model 0 has the id None"),
        (TWO, [model("a", 1), model("a", 2)], 'two models have the id "a"'),
        (TWO, [model("a", 1, value=-1)], "value -1"),
        (TWO, [model("a", 1, value=float("inf"))], "value inf"),
        (TWO, [model("a", 1, priority="high")], "priority 'high'"),
        (TWO, [model("a", 1, pinned="yes")], "pinned = 'yes'"),
        (TWO, [model("a", 1, device="g7")], "'g7'"),
        (TWO, ["a"], "not a mapping"),
        ([{"id": "g0"}], [], 'device "g0" has no `bytes`'),
        ([device("g0", 1), device("g0", 2)], [], 'two devices have the id "g0"'),
    ],
)
def test_an_impossible_input_is_refused_by_name(devices, models, words):
    """Each wrong value is named with what was said; nothing is guessed."""
    with pytest.raises(Refused) as caught:
        pack(devices, models)
    assert words in caught.value.message


@pytest.mark.parametrize("key", ["value", "priority", "bytes"])
@pytest.mark.parametrize("number", [1 << 1024, 1 << 20_000, -1 << 1024, 1.5e308], ids=hash)
def test_numbers_beyond_reason_are_refused_by_name(key, number):
    """Integers beyond a float, and beyond what Python writes down, and floats near the end."""
    models = [{"id": "m", "bytes": 1, key: number}, {"id": "n", "bytes": 1, key: 1}]
    with pytest.raises(Refused, match=f"{key}|bytes") as refusal:
        pack([{"id": "g", "bytes": 2}], models)
    assert '"m"' in str(refusal.value)


def test_values_too_far_apart_are_refused():
    """As whole numbers in the same proportions they are beyond reckoning."""
    models = [{"id": "m", "bytes": 1, "value": 1e300}, {"id": "n", "bytes": 1, "value": 1e-300}]
    with pytest.raises(Refused, match="too far apart"):
        pack([{"id": "g", "bytes": 2}], models)


def test_each_model_may_have_a_priority_of_its_own():
    """What two hundred classes are worth together is beyond a float."""
    chance = random.Random(1)
    devices = [{"id": n, "bytes": chance.choice((12, 24, 48, 80)) * 1024} for n in range(16)]
    models = [
        {"id": n, "bytes": chance.randrange(512, 40 * 1024), "value": n, "priority": n}
        for n in range(200)
    ]
    assert len(pack(devices, models, work=12_000_000).objective) == 200


@pytest.mark.parametrize("limit", [-1, 1.5, "3", True])
def test_an_impossible_maximum_is_refused(limit):
    """A maximum is a whole number."""
    with pytest.raises(Refused, match="max_loaded"):
        pack(TWO, [], max_loaded=limit)


def test_a_misspelt_device_is_answered_with_the_nearest():
    """The hint has the device that was meant."""
    with pytest.raises(Refused) as caught:
        pack([device("GPU-abc", 24)], [model("a", 1, device="GPU-abd")])
    assert "GPU-abc" in caught.value.hint


def test_an_exhausted_budget_admits_its_gap():
    """Without any work the first guess comes back, not proved, with the gap to its bound."""
    rows = [model("a", 6, value=7), model("b", 5, value=5), model("c", 5, value=5)]
    packing = pack([device("g0", 10)], rows, work=0)
    assert not packing.proved
    assert 0 < packing.gap < 1
    assert packing.placement
