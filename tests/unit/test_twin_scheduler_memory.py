"""Lack of memory in the twin's Ollama: at a load, with and without others, and at run time."""

from __future__ import annotations

from dataclasses import replace

from twin_rig import LOAD_SECONDS, OOM, Rig, cards, model

from warmset.core.model import FOREVER
from warmset.core.twin.events import Granted

A, B, C = (model(name, 2) for name in "abc")
BIG_CARD = cards(80)


def contexts(rig: Rig, name: str) -> list[int]:
    """Returns the contexts that a model's loads were started with."""
    return [o.shape.options.num_ctx for o in rig.bench.orders if o.model.name == name]


def test_an_automatic_context_steps_down_once_and_evicts_the_others_first() -> None:
    """The next lower tier is tried once, alone on the host."""
    rig = Rig(A, B, C, gpus=BIG_CARD, default_num_ctx=262144)
    rig.use("a", FOREVER)
    rig.use("b", FOREVER)
    rig.bench.errors["c"] = [OOM]
    rig.use("c")
    assert contexts(rig, "c") == [262144, 32768]
    assert sorted(rig.gone) == ["a", "b"]
    assert rig.resident == ["c"]
    assert rig.runner("c").shape.num_ctx_auto


def test_the_smaller_context_serves_later_requests_of_the_automatic_kind() -> None:
    """Automatic matches automatic, so the step down does not reload at every request."""
    rig = Rig(A, gpus=BIG_CARD, default_num_ctx=262144)
    rig.bench.errors["a"] = [OOM]
    rig.use("a")
    rig.use("a")
    assert rig.loads == ["a", "a"]
    assert rig.runner("a").shape.options.num_ctx == 32768


def test_a_first_model_steps_down_without_anybody_to_evict() -> None:
    """The retry comes at once."""
    rig = Rig(A, gpus=BIG_CARD, default_num_ctx=32768)
    rig.bench.errors["a"] = [OOM]
    number = rig.ask("a")
    rig.wait(2 * LOAD_SECONDS)
    assert rig.answer(number) == "granted"
    assert contexts(rig, "a") == [32768, 4096]


def test_there_is_only_one_step() -> None:
    """A second lack of memory fails the request, with the driver's text."""
    rig = Rig(A, B, gpus=BIG_CARD, default_num_ctx=262144)
    rig.use("a", FOREVER)
    rig.bench.errors["b"] = [OOM, OOM, OOM]
    number = rig.ask("b")
    rig.wait(60.0)
    assert rig.answer(number) == OOM
    assert contexts(rig, "b") == [262144, 32768]
    assert rig.resident == []
    assert rig.scheduler.waiting == 0


def test_the_lowest_tier_cannot_step_down_but_evicts_the_others() -> None:
    """With the smallest automatic context the retry is the same load, alone."""
    rig = Rig(A, B, gpus=BIG_CARD)
    rig.use("a", FOREVER)
    rig.bench.errors["b"] = [OOM]
    rig.use("b")
    assert (rig.gone, contexts(rig, "b")) == (["a"], [4096, 4096])


def test_the_lowest_tier_alone_fails() -> None:
    """Nothing to step down to and nobody to evict: one attempt."""
    rig = Rig(A, gpus=BIG_CARD)
    rig.bench.errors["a"] = [OOM, OOM]
    number = rig.ask("a")
    rig.wait(60.0)
    assert rig.answer(number) == OOM
    assert rig.loads == ["a"]


def test_a_tier_clamped_to_the_trained_length_steps_below_that() -> None:
    """From an effective 8192 the step goes to 4096, not to 32768."""
    short = replace(A, file=replace(A.file, trained_context=8192))
    rig = Rig(short, gpus=BIG_CARD, default_num_ctx=262144)
    rig.bench.errors["a"] = [OOM]
    rig.use("a")
    assert contexts(rig, "a") == [262144, 4096]


def test_an_explicit_context_is_kept_and_all_others_go() -> None:
    """What a client asked for is not lowered; the retry is made on an empty host."""
    rig = Rig(A, B, C, gpus=BIG_CARD)
    rig.use("a", FOREVER)
    rig.use("b", FOREVER)
    rig.bench.errors["c"] = [OOM]
    rig.use("c", num_ctx=65536)
    assert contexts(rig, "c") == [65536, 65536]
    assert sorted(rig.gone) == ["a", "b"]


def test_an_explicit_context_alone_fails_at_once() -> None:
    """Nobody to evict, nothing to lower."""
    rig = Rig(A, gpus=BIG_CARD)
    rig.bench.errors["a"] = [OOM]
    number = rig.ask("a", num_ctx=65536)
    rig.wait(60.0)
    assert rig.answer(number) == OOM


def test_an_unload_during_the_load_is_counted_among_those_of_the_retry() -> None:
    """Ollama counts events, not models: the retry comes early, and evicts all once more."""
    rig = Rig(A, B, C, gpus=BIG_CARD)
    for name in "ab":
        rig.use(name, FOREVER)
    running = rig.ask("b")
    rig.bench.errors["c"] = [OOM]
    number = rig.ask("c")
    rig.wait(1.0)
    rig.scheduler.unload(A.key)
    rig.cards.set_foreign("CUDA:0", 76 << 30)
    rig.wait(600.0)
    assert (rig.answer(number), rig.resident) == ("waiting", ["b"])
    rig.scheduler.finish(running)
    rig.wait(60.0)
    assert (rig.answer(number), rig.resident) == ("granted", ["c"])


def test_evicting_all_waits_for_those_in_flight() -> None:
    """The retry starts only when every other model is gone."""
    rig = Rig(A, B, C, gpus=BIG_CARD)
    rig.use("a", FOREVER)
    rig.use("b", FOREVER)
    running = rig.ask("b")
    rig.bench.errors["c"] = [OOM]
    number = rig.ask("c")
    rig.wait(100.0)
    assert (rig.answer(number), rig.resident) == ("waiting", ["b"])
    rig.scheduler.finish(running)
    rig.wait(60.0)
    assert (rig.answer(number), rig.resident) == ("granted", ["c"])


def test_another_failure_evicts_nobody() -> None:
    """A crash without lack of memory fails the request and leaves the rest alone."""
    rig = Rig(A, B, gpus=BIG_CARD)
    rig.use("a")
    rig.bench.errors["b"] = ["llama-server process has terminated: exit status 2"]
    number = rig.ask("b")
    rig.wait(60.0)
    assert "exit status 2" in rig.answer(number)
    assert rig.resident == ["a"]
    assert rig.cards.free("CUDA:0") == 78 << 30


def test_a_failed_load_does_not_block_the_queue() -> None:
    """The next request is considered at once."""
    rig = Rig(A, B, gpus=BIG_CARD)
    rig.bench.errors["a"] = ["broken"]
    rig.ask("a")
    second = rig.ask("b")
    rig.wait(2 * LOAD_SECONDS)
    assert rig.answer(second) == "granted"


def test_a_client_that_leaves_during_the_retry_ends_it() -> None:
    """The step down goes on for nobody no longer than until the client's leaving is seen."""
    rig = Rig(A, gpus=BIG_CARD, default_num_ctx=32768)
    rig.bench.errors["a"] = [OOM]
    number = rig.ask("a")
    rig.wait(LOAD_SECONDS + 1.0)
    assert contexts(rig, "a") == [32768, 4096]
    rig.scheduler.cancel(number)
    assert rig.resident == []
    assert rig.scheduler.loading is None
    assert not any(isinstance(event, Granted) for _, event in rig.events)


def test_lack_of_memory_at_run_time_lets_every_model_go() -> None:
    """For-ever keep-alives do not protect; those in flight go after their last request."""
    rig = Rig(A, B, C, gpus=BIG_CARD)
    for name in "abc":
        rig.use(name, FOREVER)
    running = rig.ask("b")
    rig.scheduler.runtime_oom()
    rig.wait(20.0)
    assert rig.resident == ["b"]
    assert rig.runner("b").duration == 0.0
    rig.scheduler.finish(running)
    rig.wait(6.0)
    assert rig.resident == []


def test_lack_of_memory_at_run_time_with_nothing_resident_is_nothing() -> None:
    """There is nobody to let go."""
    rig = Rig(A, gpus=BIG_CARD)
    rig.scheduler.runtime_oom()
    assert rig.events == []
