"""Hosts that are only supposed, parts of sets that fit, and the memory that would be enough."""

from __future__ import annotations

from dataclasses import replace

import pytest
from planner_hosts import gpu, host, model, resident

from warmset.core.model import HostMemory, Observation, Reading
from warmset.core.ollama.env import ServerEnv
from warmset.core.planner import admission, extra
from warmset.core.planner.extra import Remedy, find_extra
from warmset.core.planner.holding import NO, YES, Holding, can_hold
from warmset.core.planner.subsets import fits_together, maximal_subsets
from warmset.core.settings import Settings
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.twin.sidecar_view import observe_twin
from warmset.core.units import GIB
from warmset.errors import ConfigError, UnknownModel
from warmset.shell.suppose import parse_gpus, suppose


def workstation(*loaded: str) -> Observation:
    spec = named_host("workstation")
    twin = TwinHost(spec, physics_of(spec), Timeline(0.0))
    for name in loaded:
        twin.use(name, 0.1)
        twin.timeline.advance(twin.timeline.now + 60)
    return observe_twin(twin)


def supposed(
    *what_ifs: str,
    seen: Observation | None = None,
    on: str | None = None,
    gpus: str | None = None,
):
    return suppose(
        workstation() if seen is None else seen,
        Settings(),
        on=on,
        gpus=gpus,
        what_ifs=what_ifs,
        environ={},
    )


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("2x48GiB", (48 * GIB, 48 * GIB)),
        ("24GiB", (24 * GIB,)),
        ("24", (24 * GIB,)),
        ("1x80GiB, 2x24g", (80 * GIB, 24 * GIB, 24 * GIB)),
        ("24564MiB", (24564 << 20,)),
    ],
)
def test_gpus_are_named_as_people_write_them(text, sizes):
    """A count is optional, and so is the unit, which is GiB."""
    assert parse_gpus(text) == sizes


@pytest.mark.parametrize(
    "text", ["", "0x24GiB", "2x0", "-1x24", "2x", "many", "2x9999GiB", "99x24"]
)
def test_gpus_that_cannot_be_are_refused_by_name(text):
    """The part that makes no sense is shown, with the form that would."""
    with pytest.raises(ConfigError) as caught:
        parse_gpus(text)
    assert "2x48GiB" in caught.value.message or "at most" in caught.value.message


@pytest.mark.parametrize("said", [{"gpus": ""}, {"on": ""}])
def test_an_empty_word_is_no_wish_for_the_host_as_it_is(said):
    """`--gpus "$UNSET"` must not answer for the real GPUs as if they had been asked for."""
    with pytest.raises(ConfigError):
        supposed(**said)


def test_a_number_beyond_all_is_refused_with_its_bounds():
    """It is a number from 1; that was not what is wrong."""
    with pytest.raises(ConfigError, match="from 1 to 100000000"):
        supposed("resize llama3.1:8b to 99999999999")


def test_other_gpus_are_empty_and_the_models_the_same():
    """What is resident here is not resident there."""
    seen = workstation("llama3.1:8b")
    there = supposed(seen=seen, gpus="2x48GiB").observation
    assert there.residents == ()
    assert [d.free_bytes.value for d in there.devices] == [48 * GIB, 48 * GIB]
    assert there.entries == seen.entries


def test_a_twins_hardware_comes_with_its_settings():
    """GPUs, RAM and the server's environment are those of the twin."""
    found = supposed(on="twin://2x24")
    there = found.observation
    assert len(there.devices) == 2
    assert there.settings.context_length == 32768
    (words,) = found.words
    assert words.startswith("the hardware of twin://2x24, empty, with its server's ")
    assert "context_length = 32768" in words


def test_a_dropped_model_gives_its_bytes_back():
    """It is neither installed nor resident, and what it held is free."""
    seen = workstation("llama3.1:8b")
    held = sum(seen.located[next(iter(seen.located))].values())
    there = supposed("drop llama3.1:8b", seen=seen).observation
    assert all("llama3.1:8b" not in entry.names for entry in there.entries)
    assert there.residents == ()
    assert there.devices[0].free_bytes.value == seen.devices[0].free_bytes.value + held


def test_a_resized_model_has_the_context():
    """The words of one model change, those of others do not."""
    there = supposed("resize llama3.1:8b to 32768", "pin qwen2.5:14b")
    assert there.settings.policy_for(("llama3.1:8b",)).context == 32768
    assert there.settings.policy_for(("qwen2.5:14b",)).pin
    assert there.words == ("llama3.1:8b at a context of 32768", "qwen2.5:14b pinned")


@pytest.mark.parametrize(
    "text", ["", "paint it", "drop", "resize llama3.1:8b to many", "slots 0", "resize llama3.1:8b"]
)
def test_what_is_not_understood_is_answered_with_the_forms(text):
    """Nothing is guessed."""
    with pytest.raises(ConfigError):
        supposed(text)


def test_an_unknown_model_is_answered_with_the_nearest():
    """A typing error in a name is no other model."""
    with pytest.raises(UnknownModel, match="not installed"):
        supposed("drop lama3.1:8b")


def test_two_machines_at_once_are_refused():
    """`--on` and `--gpus` exclude each other."""
    with pytest.raises(ConfigError, match="--gpus"):
        supposed(on="twin://2x24", gpus="24GiB")


def test_unknown_memory_stays_unknown():
    """What could not be read is not made up by a dropped model."""
    seen = workstation("llama3.1:8b")
    total = seen.memory.total_bytes
    blind = replace(seen, memory=HostMemory(total_bytes=total, available_bytes=total))
    assert supposed("drop llama3.1:8b", seen=blind).observation.memory.available_bytes == total
    assert isinstance(total, Reading)


def test_the_extra_memory_is_enough_and_no_gib_less_is():
    """With it all models are held together; the plan's evictions end."""
    models = [model("a", 14), model("b", 9), model("c", 5)]
    machine = host(24)
    remedy = find_extra(machine, models)
    found = {way.gpu: way.extra_bytes for way in remedy.ways}
    assert all(way.is_least for way in remedy.ways)
    assert not remedy.unknown
    more = found["GPU 0"] // GIB
    assert can_hold(host(24 + more), models).is_possible is True
    assert can_hold(host(24 + more - 1), models).is_possible is False
    assert found[""] in {8 * GIB, 12 * GIB}


def test_no_memory_helps_where_the_maximum_is_the_limit():
    """Two models on a server that loads one: GPUs do not matter."""
    assert find_extra(host(24, maximum=1), [model("a", 14), model("b", 14)]) == Remedy()


def test_where_all_fit_nothing_is_missing():
    """A resident counts as a model to be held like any other."""
    assert find_extra(host(24), [resident(model("a", 8), 0), model("b", 4)]) == Remedy()


def test_maximal_subsets_are_all_and_the_most_valuable_comes_first():
    """Of three models of which two fit, the pairs are listed by priority, then value."""
    trio = [model("a", 12, priority=90), model("b", 8, value=1), model("c", 9, value=5)]
    machine = host(24)
    subsets = maximal_subsets(trio, lambda some: fits_together(machine, some))
    assert subsets.is_all
    assert not subsets.unknown
    named = [[c.name for c in subset] for subset in subsets.fitting]
    assert named == [["a", "c"], ["a", "b"], ["b", "c"]]


def unread(number, size):
    return gpu(number, size, usable_bytes=None, unknown="free memory: the driver does not say")


def test_what_might_lie_on_an_unread_gpu_is_not_known():
    """Two models of which the GPU that is read holds one: that is no `no`."""
    machine = host(gpus=(gpu(0, 24), unread(1, 24)))
    pair = [model("a", 14), model("b", 14)]
    answer = can_hold(machine, pair)
    assert answer.is_possible is None
    assert answer.unknown == "GPU 1: free memory: the driver does not say"
    assert can_hold(machine, pair[:1]).is_possible is True
    assert can_hold(machine, [model("c", 60)]).is_possible is False  # more than both could be
    few = replace(machine, env=ServerEnv(max_loaded_models=1))
    assert can_hold(few, pair).is_possible is False


def test_a_model_of_unknown_need_is_not_known_to_fit():
    """The reason names it."""
    blank = replace(model("a", 14), on_one=None, spread=None, unknown="no metadata")
    assert can_hold(host(24), [blank]) == Holding(is_possible=None, unknown="a: no metadata")
    assert find_extra(host(24), [blank, model("b", 4)]) == Remedy(uncounted=("a: no metadata",))


def test_an_order_that_was_not_found_in_time_is_not_known(monkeypatch):
    """Neither a subset nor an amount of memory counts as too little for lack of steps."""
    monkeypatch.setattr(admission, "MAX_WORLDS", 0)
    machine = host(24, 24)
    pair = [model("a", 14, spread=None), model("b", 14, spread=None)]
    answer = can_hold(machine, pair)
    assert answer.is_possible is None
    assert "in time" in answer.unknown
    remedy = find_extra(machine, pair)
    assert remedy.ways == ()
    assert remedy.unknown == answer.unknown


def test_subsets_of_which_it_is_not_known_are_told_as_such():
    """The largest are listed with the reason, and what fits inside them still counts."""
    trio = [model("a", 12), model("b", 8), model("c", 9)]
    doubtful = Holding(is_possible=None, unknown="no time")

    def fits(some):
        return doubtful if {c.name for c in some} >= {"a", "b"} else NO if len(some) > 1 else YES

    subsets = maximal_subsets(trio, fits)
    assert [([c.name for c in some], why) for some, why in subsets.unknown] == [
        (["a", "b"], "no time")
    ]
    assert [[c.name for c in some] for some in subsets.fitting] == [["a"], ["c"], ["b"]]


def test_memory_that_is_known_to_be_enough_may_not_be_the_least(monkeypatch):
    """Where less is not known to be too little, that is said."""
    asked = extra.can_hold

    def blurred(machine, models):
        answer = asked(machine, models)
        return Holding(is_possible=None, unknown="no time") if answer == NO else answer

    monkeypatch.setattr(extra, "can_hold", blurred)
    remedy = find_extra(host(24), [model("a", 14), model("b", 14)])
    assert {way.gpu: way.is_least for way in remedy.ways}["GPU 0"] is False
    assert remedy.unknown == "no time"
