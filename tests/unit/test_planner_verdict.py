"""Verdicts on sets, and dry runs of a model that is not here yet."""

from dataclasses import replace

from planner_hosts import gib, host, model, resident

from warmset.core.model import ModelKey
from warmset.core.planner import Verdict, dry_run, fit


def key(name):
    return ModelKey(f"sha256:{name}")


def test_a_set_with_room_for_all_fits():
    """Nothing has to go: the verdict says where each would be."""
    outcome = fit([key("a"), key("b")], (model("a", 8), model("b", 8)), host(24))
    assert outcome.verdict is Verdict.FITS
    assert {m.name for m in outcome.members} == {"a", "b"}
    assert "GPU 0 8.0 GiB" in outcome.reason


def test_a_set_that_needs_others_gone_names_them():
    """Residents outside the set that must go are listed, lowest rank first."""
    models = (
        resident(model("low", 10, priority=10), 0),
        resident(model("mid", 8, priority=20), 0),
        model("new", 18, priority=1),
    )
    outcome = fit([key("new")], models, host(24))
    assert outcome.verdict is Verdict.FITS_WITH_EVICTIONS
    assert outcome.evicts == ("low", "mid")


def test_a_resident_need_not_go_for_what_would_be_worth_more():
    """What is neither asked for nor resident takes no room: the question is who has to go."""
    models = (
        resident(model("low", 10, priority=10), 0),
        model("better", 12, priority=90),
        model("new", 4),
    )
    outcome = fit([key("new")], models, host(24))
    assert outcome.verdict is Verdict.FITS
    assert outcome.evicts == ()


def test_what_nobody_pinned_is_not_called_pinned():
    """A model of which nothing can be promised is refused for that alone."""
    unknown = replace(model("a", 8), on_one=None, spread=None, unknown="its architecture is new")
    outcome = fit([key("a")], (unknown,), host(24))
    assert outcome.verdict is Verdict.REFUSED
    assert outcome.reason == "a: cannot promise: its architecture is new"


def test_a_model_that_needs_every_gpu_splits():
    """What no single GPU holds is told to lie over the group."""
    assert fit([key("a")], (model("a", 30),), host(24, 24)).verdict is Verdict.SPLITS


def test_a_model_larger_than_the_gpus_spills_to_ram():
    """40 GiB on a GPU of 24 beside 64 of RAM load in part, which the verdict calls a spill."""
    outcome = fit([key("a")], (model("a", 40),), host(24, ram=64))
    assert outcome.verdict is Verdict.SPILLS
    assert "16.0 GiB of it would lie in RAM" in outcome.reason


def test_a_model_larger_than_everything_is_refused():
    """No memory of the host holds it, and the reason has both numbers."""
    outcome = fit([key("a")], (model("a", 400),), host(24, ram=64))
    assert outcome.verdict is Verdict.REFUSED
    assert "400.0 GiB" in outcome.reason
    assert "24.0 GiB" in outcome.reason


def test_a_set_against_the_operators_pins_is_refused():
    """A pin outside the set is not evicted for it: the conflict names both."""
    models = (model("pin", 14, pin=True), model("a", 12))
    outcome = fit([key("a")], models, host(24))
    assert outcome.verdict is Verdict.REFUSED
    assert outcome.conflict is not None
    assert set(outcome.conflict.names) == {"pin", "a"}


def test_a_newcomer_pushes_out_what_ranks_lower():
    """The dry run says who leaves the warm set and what that costs in waiting."""
    models = (
        resident(model("low", 10, priority=10, value=7), 0),
        resident(model("mid", 8, priority=50), 0),
    )
    outcome = dry_run(model("new", 12, priority=90), models, host(24))
    assert outcome.joins
    assert outcome.pushed_out == ("low",)
    assert outcome.lost_value == 7
    assert outcome.fit.verdict is Verdict.FITS_WITH_EVICTIONS


def test_a_newcomer_of_low_rank_stays_outside():
    """It would fit if somebody asked for it, but does not join the warm set."""
    models = (resident(model("high", 20, priority=90), 0),)
    outcome = dry_run(model("new", 12, priority=10), models, host(24))
    assert not outcome.joins
    assert outcome.pushed_out == ()
    assert outcome.fit.verdict is Verdict.FITS_WITH_EVICTIONS


def test_what_an_outsider_would_keep_out_is_told_with_its_price():
    """Resident all the same, it leaves room for the best of the others, seen resident or not."""
    models = (
        resident(model("high", 12, priority=90, value=9), 0),
        model("small", 4, priority=80, value=3),
    )
    outcome = dry_run(model("new", 14, priority=10), models, host(24))
    assert not outcome.joins
    assert outcome.pushed_out == ()
    assert outcome.absent == ("high",)
    assert outcome.lost_value == 9
    assert {m.name for m in outcome.with_it.members} == {"new", "small"}
    assert outcome.after.members == outcome.before.members


def test_a_brief_dry_run_makes_the_same_choice():
    """For an alternative, who joins and who goes is enough: the set around an outsider is not."""
    models = (resident(model("high", 20, priority=90), 0), model("low", 3, priority=10))
    for newcomer in (model("new", 12, priority=95), model("new", 12, priority=20)):
        whole = dry_run(newcomer, models, host(24))
        brief = dry_run(newcomer, models, host(24), before=whole.before, is_brief=True)
        assert (brief.fit, brief.joins, brief.after) == (whole.fit, whole.joins, whole.after)
        assert brief.pushed_out == whole.pushed_out
        assert brief.with_it == brief.after


def test_a_dry_run_tells_whom_ollama_itself_would_evict():
    """Asked for now, the newcomer pushes out by Ollama's own rule, with Ollama's numbers."""
    models = (
        resident(model("low", 10, priority=10), 0),
        resident(model("high", 8, priority=90), 0),
    )
    outcome = dry_run(model("new", 12, priority=50), models, host(24))
    assert outcome.ollama_evicts[0] == "low"
    assert "12.0 GiB" in outcome.ollama_reason
    assert outcome.forecast is not None
    assert outcome.forecast.predicted_bytes == gib(12)


def test_need_and_forecast_are_both_told():
    """A model that Ollama undercounts shows its forecast beside its larger need."""
    outcome = dry_run(model("vision", 10, forecast=6), (), host(24))
    assert outcome.forecast is not None
    assert outcome.forecast.predicted_bytes == gib(6)
    assert sum(outcome.fit.members[0].upper.values()) == gib(10)


def test_more_memory_can_turn_a_split_into_a_spill():
    """Ollama's own anomaly: 10 counted, 13 needed. Two GPUs of 12 share it."""
    odd = model("vision", 13, forecast=10)
    assert fit([key("vision")], (odd,), host(12, 12)).verdict is Verdict.SPLITS
    assert fit([key("vision")], (odd,), host(12.6, 12.6)).verdict is Verdict.SPILLS
    assert fit([key("vision")], (odd,), host(13, 13)).verdict is Verdict.FITS
