"""What a plan holds, in which order it loads, and the words for what stays out."""

from dataclasses import replace

import pytest
from planner_hosts import applied, gib, gpu, host, model, names, resident

from warmset.core.model import DeviceId
from warmset.core.ollama.env import ServerEnv
from warmset.core.planner import ActionKind, Verdict, plan


def by_name(things):
    return {thing.name: thing for thing in things}


def test_the_larger_loads_first_where_the_other_order_would_evict():
    """8 GiB then 14 fails the 80 % rule on 24 GiB, 14 then 8 passes: the plan finds it."""
    outcome = plan((model("b", 8), model("a", 14)), host(24))
    assert names(outcome) == {"a", "b"}
    assert [key.removeprefix("sha256:") for key in outcome.order] == ["a", "b"]
    assert outcome.verdict is Verdict.FITS
    assert outcome.is_proved


def test_a_lost_model_that_only_returns_by_evicting_makes_the_set_fragile():
    """On 24 GiB with 14 and 8 resident, a lost 14 evicts the 8; a lost 8 evicts nobody."""
    pair = (resident(model("a", 14), 0), resident(model("b", 8), 0))
    outcome = plan(pair, host(24))
    assert [(r.name, r.evicts) for r in outcome.fragile] == [("a", ("b",))]
    assert "14.0 GiB" in outcome.fragile[0].reason
    assert "16.0 GiB" in outcome.fragile[0].reason
    assert not outcome.is_self_restoring
    assert outcome.changes == ()


def test_the_lowest_rank_is_what_a_restore_evicts_first():
    """Under ranked keep-alives the victims of a restore go by rank, as many as are needed."""
    trio = (
        resident(model("big", 12, priority=90), 0),
        resident(model("low", 5, priority=10), 0),
        resident(model("mid", 4, priority=50), 0),
    )
    restores = by_name(plan(trio, host(24)).fragile)
    assert restores["big"].evicts[0] == "low"


def test_an_order_that_leaves_nothing_fragile_is_preferred():
    """Ollama remembers what was free at a load, so 6 before 10 lets a lost 10 come back."""
    outcome = plan((model("ten", 10), model("six", 6)), host(24))
    assert [key.removeprefix("sha256:") for key in outcome.order] == ["six", "ten"]
    assert outcome.is_self_restoring


def test_a_small_resident_makes_way_and_returns_where_order_demands_it():
    """With 8 resident a 14 cannot load beside it, so the 8 is unloaded and loaded after it."""
    outcome = plan((resident(model("b", 8), 0), model("a", 14, priority=90)), host(24))
    steps = [(a.kind, a.name) for a in outcome.actions]
    assert steps == [
        (ActionKind.UNLOAD, "b"),
        (ActionKind.PRELOAD, "a"),
        (ActionKind.PRELOAD, "b"),
    ]
    assert outcome.verdict is Verdict.FITS_WITH_EVICTIONS


def test_pins_come_before_priority_and_priority_before_value():
    """A pin of low priority displaces a higher priority, which displaces any value."""
    models = (
        model("pin", 14, priority=1, pin=True, value=0),
        model("high", 8, priority=90, value=1),
        model("rich", 8, priority=50, value=1000),
    )
    outcome = plan(models, host(24))
    assert names(outcome) == {"pin", "high"}
    assert [m.name for m in outcome.members] == ["pin", "high"]


def test_within_a_priority_the_greatest_sum_of_value_wins():
    """Two middling models beat the single best where they fit instead of it."""
    models = (model("one", 20, value=10), model("two", 10, value=6), model("three", 9, value=6))
    assert names(plan(models, host(24))) == {"two", "three"}


def test_a_model_left_out_is_told_its_need_and_what_pins_leave():
    """The reason carries the need on one GPU and the largest room after the pins."""
    models = (model("pin", 12.8, pin=True), model("big", 19.4))
    outcome = plan(models, host(24))
    reason = by_name(outcome.left_out)["big"].reason
    assert reason == "needs 19.4 GiB on one GPU; largest free after pins 11.2 GiB"


def test_a_model_ollama_would_not_admit_stays_out_although_it_fits():
    """10 GiB fit beside 13 on 24, but are more than 80 % of the 11 that Ollama sees."""
    models = (model("pin", 13, pin=True), model("other", 10))
    outcome = plan(models, host(24))
    assert names(outcome) == {"pin"}
    reason = by_name(outcome.left_out)["other"].reason
    assert "10.0 GiB" in reason
    assert "80 %" in reason
    assert "11.0 GiB" in reason


def test_need_counts_with_its_upper_bound():
    """A model whose bound exceeds the room is left out although its estimate fits."""
    outcome = plan((model("a", 14), model("b", 6, upper=10.5)), host(24))
    assert names(outcome) == {"a"}


def test_the_maximum_of_loaded_models_limits_the_set():
    """With room for all but a maximum of two, the two of greatest value stay."""
    models = tuple(model(f"m{n}", 1, value=n) for n in range(4))
    outcome = plan(models, host(24, maximum=2))
    assert names(outcome) == {"m3", "m2"}
    assert "at most 2 models" in by_name(outcome.left_out)["m0"].reason


def test_strangers_count_towards_the_maximum():
    """A resident that warmset cannot name takes one of the places."""
    models = tuple(model(f"m{n}", 1, value=n) for n in range(3))
    outcome = plan(models, host(24, maximum=2, strangers=1))
    assert names(outcome) == {"m2"}


def test_without_gpus_models_are_planned_in_ram():
    """A CPU-only host is filled up to its RAM, and Ollama checks nothing there."""
    models = (model("a", 18, value=9), model("b", 7, value=2), model("c", 6, value=2))
    outcome = plan(models, host(ram=16))
    assert names(outcome) == {"b", "c"}
    assert all(m.upper == {} for m in outcome.members)
    reason = by_name(outcome.left_out)["a"].reason
    assert reason == "needs 18.0 GiB of RAM; models may take 16.0 GiB"


def test_unknown_ram_promises_nothing_on_a_host_without_gpus():
    """Unknown is not zero and not plenty: nothing is planned, and the reason says why."""
    outcome = plan((model("a", 1),), host(ram=None))
    assert names(outcome) == set()
    assert "cannot promise" in outcome.left_out[0].reason


def test_a_gpu_whose_free_memory_is_unknown_promises_nothing():
    """Neither zero nor its total: the model is left out with the reading's reason."""
    dark = gpu(0, 24, usable_bytes=None, unknown="free memory: the driver timed out")
    outcome = plan((model("a", 1),), host(gpus=(dark,)))
    assert names(outcome) == set()
    assert "driver timed out" in outcome.left_out[0].reason


def test_a_model_of_unknown_need_is_not_promised():
    """Without a footprint a model stays out, and the others are planned."""
    dark = replace(model("dark", 1), on_one=None, spread=None, unknown="block_count is missing")
    outcome = plan((dark, model("a", 8)), host(24))
    assert names(outcome) == {"a"}
    assert outcome.left_out[0].reason == "cannot promise: block_count is missing"


def test_unified_memory_is_charged_once_for_gpu_and_ram():
    """An integrated GPU takes its bytes from RAM: the smaller of both is the limit."""
    shared = gpu(0, 48, library="Metal", integrated=True)
    models = (model("a", 20, value=3), model("b", 20, value=2))
    outcome = plan(models, host(gpus=(shared,), ram=30))
    assert names(outcome) == {"a"}


def test_each_gpu_keeps_its_own_budget():
    """On two GPUs two models of 14 go one to each, and a third of 14 to none."""
    models = tuple(model(f"m{n}", 14, spread=None) for n in range(3))
    outcome = plan(models, host(24, 24))
    assert len(outcome.members) == 2
    places = [set(m.upper) for m in outcome.members]
    assert {DeviceId("GPU-0")} in places
    assert {DeviceId("GPU-1")} in places


def test_a_model_larger_than_any_gpu_is_split_over_the_group():
    """30 GiB on two GPUs of 24 lie on both."""
    outcome = plan((model("large", 30),), host(24, 24))
    assert outcome.members[0].is_split
    assert sum(outcome.members[0].upper.values()) == gib(30)


def test_backends_are_never_combined():
    """A CUDA and a ROCm card of 24 GiB do not hold 30 GiB together."""
    mixed = (gpu(0, 24, library="CUDA"), gpu(1, 24, library="ROCm"))
    outcome = plan((model("large", 30),), host(gpus=mixed))
    assert names(outcome) == set()


def test_spreading_is_planned_where_the_server_always_spreads():
    """With OLLAMA_SCHED_SPREAD even a small model lies on every GPU."""
    env = ServerEnv(sched_spread=True)
    outcome = plan((model("small", 4),), host(24, 24, env=env))
    assert outcome.members[0].is_split


def test_what_may_not_be_fetched_is_only_kept():
    """`preload = false` keeps a resident and never brings in an absent model."""
    models = (
        resident(model("here", 4, is_preloadable=False), 0),
        model("away", 4, is_preloadable=False),
    )
    outcome = plan(models, host(24))
    assert names(outcome) == {"here"}
    assert by_name(outcome.left_out)["away"].reason == "never fetched: preload is off for it"


def test_a_busy_model_is_waited_for_and_not_unloaded():
    """What is in use is never cut off: the plan waits for it to become idle."""
    busy = resident(model("busy", 14, priority=10), 0, is_busy=True)
    outcome = plan((busy, model("wanted", 20, priority=90)), host(24))
    assert [(a.kind, a.name) for a in outcome.actions] == [
        (ActionKind.WAIT, "busy"),
        (ActionKind.PRELOAD, "wanted"),
    ]


def test_among_equals_what_is_resident_stays():
    """Of two models of one value the resident one is kept, whichever it is."""
    for here in ("a", "b"):
        models = tuple(
            resident(model(n, 14, value=5), 0) if n == here else model(n, 14, value=5)
            for n in ("a", "b")
        )
        assert names(plan(models, host(24))) == {here}


def test_unknown_residents_mean_no_actions():
    """A timed-out look at what is resident is not "nothing is resident"."""
    outcome = plan((model("a", 8),), host(24, knows_residents=False))
    assert names(outcome) == {"a"}
    assert outcome.actions == ()


def test_pins_that_cannot_be_held_are_refused_with_the_smallest_set():
    """Of four pins the two that exclude each other are named, with sizes and room."""
    pins = (
        model("tiny", 2, pin=True),
        model("a", 14, pin=True),
        model("small", 3, pin=True),
        model("b", 13, pin=True),
    )
    outcome = plan(pins, host(24))
    assert outcome.verdict is Verdict.REFUSED
    assert outcome.conflict is not None
    assert set(outcome.conflict.names) == {"a", "b"}
    for number in ("14.0 GiB", "13.0 GiB", "24.0 GiB"):
        assert number in outcome.conflict.reason
    assert outcome.members == ()
    assert outcome.actions == ()


def test_pins_that_fit_but_load_in_no_order_are_refused_for_ollamas_rule():
    """13 and 10 fit on 24 by need; neither order passes the 80 % rule."""
    outcome = plan((model("a", 13, pin=True), model("b", 10, pin=True)), host(24))
    assert outcome.conflict is not None
    assert "80 %" in outcome.conflict.reason


def test_a_search_for_an_order_that_ends_early_is_not_told_as_none():
    """Ten pins have more orders than are tried: what was not found is not said to be impossible."""
    pins = [model(f"m{n}", 2.3, forecast=2.7, pin=True) for n in range(10)]
    many, few = plan(pins, host(24, maximum=20)), plan(pins[:3], host(7))
    assert many.conflict is not None
    assert many.conflict.reason.endswith("loads them was found in time")
    assert few.conflict is not None
    assert "there is no order" in few.conflict.reason


def test_a_pin_of_unknown_need_is_refused_by_name():
    """A pin that nobody can promise is a conflict of one."""
    dark = replace(model("dark", 1, pin=True), on_one=None, spread=None, unknown="no facts")
    outcome = plan((dark,), host(24))
    assert outcome.conflict is not None
    assert outcome.conflict.names == ("dark",)
    assert "no facts" in outcome.conflict.reason


def test_more_pins_than_the_server_loads_are_refused_with_the_maximum():
    """Three pins and a maximum of two: the refusal says so."""
    pins = tuple(model(f"p{n}", 1, pin=True) for n in range(3))
    outcome = plan(pins, host(24, maximum=2))
    assert outcome.conflict is not None
    assert "at most 2 models" in outcome.conflict.reason


def test_a_plan_applied_is_a_plan_with_nothing_to_do():
    """After its own actions a plan keeps everything and changes nothing."""
    models = (
        resident(model("old", 10, priority=10), 0),
        model("new", 14, priority=90),
        model("side", 8),
    )
    first = plan(models, host(24))
    again = plan(applied(models, first), host(24))
    assert names(again) == names(first)
    assert again.changes == ()


@pytest.mark.parametrize("twice", [("a", "a"), ("a", "b", "a")])
def test_a_model_listed_twice_is_a_programming_error(twice):
    """One set of weights is one candidate."""
    with pytest.raises(AssertionError, match="twice"):
        plan(tuple(model(name, 1) for name in twice), host(24))


def test_a_plan_that_takes_too_many_trials_is_grown_by_rank_and_not_called_proved():
    """Forty models on four GPUs still get a plan within every budget, without a false proof."""
    sizes = (2, 4, 5, 8, 9, 14, 20, 30)
    crowd = tuple(model(f"m{n}", sizes[n % 8], value=n * 7 % 50) for n in range(40))
    machine = host(24, 24, 24, 24)
    outcome = plan(crowd, machine)
    assert len(outcome.members) >= 4
    assert not outcome.is_proved
    for card in machine.gpus:
        assert sum(m.upper.get(card.id, 0) for m in outcome.members) <= card.usable_bytes


def bound(candidate, number):
    return replace(candidate, bound_to=DeviceId(f"GPU-{number}"))


def test_a_model_bound_to_a_gpu_gets_there_by_the_order_of_loading():
    """Ollama takes the GPU with the most room: another model first leaves it the other."""
    outcome = plan((model("a", 10), bound(model("b", 8), 1)), host(24, 24))
    places = {m.name: list(m.upper) for m in outcome.members}
    assert places == {"a": ["GPU-0"], "b": ["GPU-1"]}
    assert [key.removeprefix("sha256:") for key in outcome.order] == ["a", "b"]


def test_where_no_order_reaches_the_bound_gpu_the_parameter_that_does_is_named():
    """Alone, a model goes to the larger GPU; only its Modelfile can say otherwise."""
    outcome = plan((bound(model("b", 8, pin=True), 1),), host(48, 24))
    assert outcome.conflict is not None
    assert "GPU 0" in outcome.conflict.reason
    assert "`PARAMETER main_gpu 1`" in outcome.conflict.reason


def test_a_bound_pin_is_steered_by_another_model_that_is_wanted():
    """Alone it would go to the larger GPU; after another one it goes to its own."""
    pin = bound(model("b", 8, pin=True), 1)
    outcome = plan((model("a", 30), model("c", 31, priority=1), pin), host(48, 24))
    assert outcome.conflict is None
    assert {m.name: list(m.upper) for m in outcome.members} == {"a": ["GPU-0"], "b": ["GPU-1"]}
    assert [key.removeprefix("sha256:") for key in outcome.order] == ["a", "b"]
    alone = plan((pin, model("d", 90)), host(48, 24))
    assert alone.conflict is not None
    assert "`PARAMETER main_gpu 1`" in alone.conflict.reason


def test_the_modelfile_parameter_brings_a_model_to_its_gpu():
    """With `main_gpu` in its load shape, Ollama puts it where the operator wants it."""
    b = bound(model("b", 8, pin=True), 1)
    options = replace(b.shape.options, main_gpu=1)
    outcome = plan((replace(b, shape=replace(b.shape, options=options)),), host(48, 24))
    assert {m.name: list(m.upper) for m in outcome.members} == {"b": ["GPU-1"]}


def test_a_resident_on_another_gpu_than_its_own_is_loaded_anew():
    """What lies elsewhere than the operator wants is unloaded and placed by order."""
    b = bound(resident(model("b", 8), 0), 1)
    outcome = plan((resident(model("a", 10), 0), b), host(24, 24))
    assert {m.name: list(m.upper) for m in outcome.members} == {"a": ["GPU-0"], "b": ["GPU-1"]}
    assert [(a.kind.value, a.name) for a in outcome.changes] == [("unload", "b"), ("preload", "b")]


def test_a_plan_that_is_not_proved_tells_how_much_better_another_might_be():
    """A gap of nothing and a plan without proof exclude each other."""
    models = [model(f"m{n}", 3 + n * 7 % 11, value=1 + n * 5 % 7) for n in range(24)]
    outcome = plan(models, host(24, 24, 12, 12))
    assert outcome.is_proved == (outcome.gap == 0)
