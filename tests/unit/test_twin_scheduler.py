"""The queue of the twin's Ollama: order, limits, victims, reloads, cancelling."""

from __future__ import annotations

from dataclasses import replace

import pytest
from twin_rig import LOAD_SECONDS, Rig, cards, model

from warmset.core.model import FOREVER
from warmset.core.ollama.types import Gpu
from warmset.core.twin.discovery import DriverDiscovery, RunnerDiscovery
from warmset.core.twin.events import Granted, LoadEnded
from warmset.core.twin.loading import LOAD_CANCELED
from warmset.core.twin.scheduler import QUEUE_FULL
from warmset.core.units import GIB

A, B, C, D = (model(name, 6) for name in "abcd")
ONE_CARD = cards(24)


def test_loads_are_made_one_at_a_time_in_the_order_of_asking() -> None:
    """Models that would fit together still load one after the other."""
    rig = Rig(A, B, gpus=cards(80))
    first, second = rig.ask("a"), rig.ask("b")
    rig.wait(LOAD_SECONDS)
    assert (rig.answer(first), rig.answer(second)) == ("granted", "waiting")
    assert rig.scheduler.loading is not None
    rig.wait(LOAD_SECONDS)
    assert rig.answer(second) == "granted"
    assert rig.loads == ["a", "b"]


def test_residents_are_served_at_once_while_a_load_is_in_progress() -> None:
    """A load does not hold up requests for what is resident, however many."""
    rig = Rig(A, B, gpus=cards(80))
    rig.use("a")
    rig.ask("b")
    rig.wait(1.0)
    assert [rig.answer(rig.ask("a")) for _ in range(5)] == ["granted"] * 5
    assert rig.runner("a").refs == 5


def test_the_head_of_the_queue_blocks_what_would_fit() -> None:
    """A load that waits for a busy victim holds up a small model behind it."""
    small = model("s", 1)
    rig = Rig(A, replace(B, file=replace(B.file, file_bytes=20 * GIB)), small, gpus=ONE_CARD)
    busy = rig.ask("a")
    rig.wait(LOAD_SECONDS)
    large, little = rig.ask("b"), rig.ask("s")
    rig.wait(3600.0)
    assert (rig.answer(large), rig.answer(little)) == ("waiting", "waiting")
    assert rig.scheduler.waiting == 2
    rig.scheduler.finish(busy)
    rig.wait(60.0)
    assert rig.loads == ["a", "b", "s"]
    assert (rig.answer(large), rig.answer(little)) == ("granted", "granted")


def test_a_second_request_for_the_model_that_loads_shares_its_runner() -> None:
    """It queues behind the load and is then served by it."""
    rig = Rig(A, gpus=ONE_CARD)
    rig.ask("a")
    second = rig.ask("a")
    assert rig.answer(second) == "waiting"
    rig.wait(LOAD_SECONDS)
    assert rig.answer(second) == "granted"
    assert rig.loads == ["a"]
    grants = [event for _, event in rig.events if isinstance(event, Granted)]
    assert [grant.was_cold for grant in grants] == [True, False]


def test_a_full_queue_refuses_with_ollamas_text() -> None:
    """The head is not counted; one place takes one more, the next is refused at once."""
    rig = Rig(A, B, C, gpus=ONE_CARD, max_queue=1)
    answers = [rig.answer(rig.ask(name)) for name in "abc"]
    assert answers == ["waiting", "waiting", QUEUE_FULL]


def test_a_queue_of_no_length_takes_a_load_only_when_none_is_in_progress() -> None:
    """OLLAMA_MAX_QUEUE 0 hands over directly; residents are still served."""
    rig = Rig(A, B, gpus=cards(80), max_queue=0)
    rig.use("a")
    rig.ask("b")
    assert rig.answer(rig.ask("b")) == QUEUE_FULL
    assert rig.answer(rig.ask("a")) == "granted"


def test_the_maximum_counts_every_model_and_is_fixed_at_the_first_load() -> None:
    """Automatic: three for each GPU found then, and CPU-only runners count."""
    tiny = [model(name, 1) for name in "abcdefg"]
    rig = Rig(*tiny, gpus=ONE_CARD, keep_alive=FOREVER)
    for name in "abc":
        rig.use(name, num_gpu=0)
    rig.use("d")
    assert sorted(rig.resident) == ["b", "c", "d"]


def test_the_automatic_maximum_counts_gpus_even_if_the_first_load_wants_none() -> None:
    """A first load to the CPU looks for GPUs all the same."""
    tiny = [model(name, 1) for name in "abcdefg"]
    rig = Rig(*tiny, gpus=cards(24, 24), keep_alive=FOREVER)
    rig.use("a", num_gpu=0)
    for name in "bcdef":
        rig.use(name)
    assert len(rig.resident) == 6
    rig.use("g")
    assert len(rig.resident) == 6


def test_a_maximum_that_is_set_counts_from_the_start() -> None:
    """OLLAMA_MAX_LOADED_MODELS is a total, on any number of GPUs."""
    rig = Rig(A, B, gpus=cards(24, 24), max_loaded_models=1)
    rig.use("a")
    rig.use("b")
    assert rig.resident == ["b"]


def test_without_gpus_three_models_stay() -> None:
    """A host without GPUs counts as one."""
    rig = Rig(A, B, C, D, keep_alive=FOREVER)
    for name in "abcd":
        rig.use(name)
    assert rig.resident == ["b", "c", "d"]


def test_the_victim_is_the_idle_one_with_the_smallest_duration() -> None:
    """Not the oldest, not the largest; a busy one is spared while another is idle."""
    rig = Rig(A, B, C, D, gpus=ONE_CARD)
    rig.use("a", 900.0)
    rig.use("b", 600.0)
    rig.use("c", 300.0)
    rig.ask("c")
    rig.use("d", 100.0)
    assert rig.gone == ["b"]


def test_a_model_too_large_for_the_host_evicts_all_one_by_one() -> None:
    """Then it is loaded all the same, with a part in RAM."""
    rig = Rig(A, B, model("huge", 40), gpus=ONE_CARD)
    rig.use("a", FOREVER)
    rig.use("b", 300.0)
    rig.use("huge")
    assert rig.gone == ["b", "a"]
    assert rig.runner("huge").vram_bytes == 24 * GIB < rig.runner("huge").total_bytes


def test_a_victim_on_one_gpu_goes_although_another_needs_room() -> None:
    """The order knows no GPU: what is evicted first need not help."""
    rig = Rig(model("a", 18), model("b", 10), model("c", 18), gpus=cards(24, 24))
    rig.use("b", 1000.0)
    rig.use("a", 900.0)
    rig.use("c", 500.0)
    assert rig.gone == ["a"]
    assert rig.runner("c").gpus[0].id != rig.runner("b").gpus[0].id


def test_other_load_options_reload_and_keep_the_key() -> None:
    """Another explicit context stops the runner and starts a new one, of the default duration."""
    rig = Rig(A, gpus=ONE_CARD)
    rig.use("a", 50000.0, num_ctx=2048)
    before = rig.runner("a").pid
    rig.use("a", num_ctx=8192)
    assert (rig.loads, rig.gone) == (["a", "a"], ["a"])
    assert rig.runner("a").pid != before
    assert rig.runner("a").duration == 300.0


def test_a_reload_waits_until_the_resident_is_idle() -> None:
    """The running request ends undisturbed; then the model is unloaded and loaded."""
    rig = Rig(A, gpus=ONE_CARD)
    running = rig.ask("a", num_ctx=2048)
    rig.wait(LOAD_SECONDS)
    other = rig.ask("a", num_ctx=8192)
    rig.wait(100.0)
    assert rig.answer(other) == "waiting"
    rig.scheduler.finish(running)
    rig.wait(60.0)
    assert rig.answer(other) == "granted"


def test_a_context_is_stored_as_clamped() -> None:
    """More than the trained length is loaded, and shown, as the trained length."""
    short = replace(A, file=replace(A.file, trained_context=2048))
    rig = Rig(short, gpus=ONE_CARD, num_parallel=2)
    rig.use("a", num_ctx=99999)
    assert rig.runner("a").shape.options.num_ctx == 2048
    assert rig.bench.orders[0].shape.options.num_ctx == 99999
    assert rig.runner("a").parallel == 2


def test_names_of_one_blob_share_a_runner_unless_their_files_differ() -> None:
    """A second tag on the same weights is served; with another adapter each turn reloads."""
    twin, other = replace(A, name="twin"), replace(A, name="other", adapters=("sha256:x",))
    rig = Rig(A, twin, other, gpus=ONE_CARD)
    rig.use("a")
    rig.use("twin")
    assert rig.loads == ["a"]
    for name in ("other", "a"):
        rig.use(name)
    assert rig.loads == ["a", "other", "a"]


def test_a_cancelled_request_in_the_queue_is_skipped_silently() -> None:
    """Nothing is loaded for it, and it gets no answer."""
    rig = Rig(A, B, C, gpus=cards(80))
    rig.ask("a")
    gone, last = rig.ask("b"), rig.ask("c")
    rig.scheduler.cancel(gone)
    rig.wait(60.0)
    assert (rig.answer(gone), rig.answer(last)) == ("waiting", "granted")
    assert rig.loads == ["a", "c"]


def test_a_cancelled_load_is_aborted_and_gives_its_memory_back() -> None:
    """The process ends at once with the client; the next in the queue is loaded."""
    rig = Rig(A, B, gpus=ONE_CARD)
    leaver, last = rig.ask("a"), rig.ask("b")
    rig.wait(1.0)
    assert rig.cards.free("CUDA:0") == 18 * GIB
    rig.scheduler.cancel(leaver)
    assert rig.answer(leaver) == LOAD_CANCELED
    rig.wait(LOAD_SECONDS)
    assert rig.answer(last) == "granted"
    assert rig.resident == ["b"]
    assert [e.error for _, e in rig.events if isinstance(e, LoadEnded)] == [LOAD_CANCELED, ""]


def test_a_cancelled_head_still_waits_and_starts_a_load_that_is_stopped_at_once() -> None:
    """Ollama does not look at the client while it waits for a victim."""
    rig = Rig(A, model("b", 20), gpus=ONE_CARD)
    busy = rig.ask("a")
    rig.wait(LOAD_SECONDS)
    head = rig.ask("b")
    rig.scheduler.cancel(head)
    rig.wait(100.0)
    assert rig.scheduler.waiting == 1
    rig.scheduler.finish(busy)
    rig.wait(60.0)
    assert rig.answer(head) == LOAD_CANCELED
    assert (rig.resident, rig.scheduler.waiting) == ([], 0)


def test_a_cancelled_head_whose_model_came_back_leaves_no_trace() -> None:
    """It is attached and detached in one go; the timer starts afresh."""
    rig = Rig(A, gpus=ONE_CARD)
    rig.use("a", num_ctx=2048)
    running = rig.ask("a", num_ctx=2048)
    head = rig.ask("a", num_ctx=8192)
    behind = rig.ask("a", num_ctx=8192)
    rig.scheduler.cancel(behind)
    rig.scheduler.finish(running)
    rig.wait(60.0)
    assert rig.answer(head) == "granted"
    assert rig.runner("a").refs == 1


def test_cancelling_a_granted_request_ends_it() -> None:
    """A disconnect during inference is the end of the exchange."""
    rig = Rig(A, gpus=ONE_CARD)
    number = rig.ask("a", 10.0)
    rig.wait(LOAD_SECONDS)
    assert rig.scheduler.runner_of(number) is rig.runner("a")
    rig.scheduler.cancel(number)
    assert rig.runner("a").refs == 0
    rig.wait(11.0)
    assert rig.resident == []


def test_ending_or_cancelling_an_unknown_request_changes_nothing() -> None:
    """Calls that come twice or for nobody are harmless."""
    rig = Rig(A, gpus=ONE_CARD)
    number = rig.use("a")
    for call in (rig.scheduler.finish, rig.scheduler.cancel):
        call(number)
        call(99)
    rig.scheduler.unload("sha256:nobody")
    rig.scheduler.kill("sha256:nobody")
    assert rig.runner("a").refs == 0


def test_a_broken_file_fails_its_request_and_evicts_nobody() -> None:
    """A file that cannot be read is an error before anything is placed."""
    rig = Rig(A, model("b", 20, broken="invalid file magic"), gpus=ONE_CARD)
    rig.use("a")
    number = rig.ask("b")
    assert rig.answer(number) == "invalid file magic"
    assert rig.resident == ["a"]


def test_an_embedder_runs_one_slot_and_others_as_many_as_set() -> None:
    """OLLAMA_NUM_PARALLEL is for models that generate."""
    embedder = model("e", 1, completes=False, embeds=True)
    rig = Rig(A, embedder, gpus=ONE_CARD, num_parallel=4)
    rig.use("a")
    rig.use("e")
    assert [order.parallel for order in rig.bench.orders] == [4, 1]
    assert rig.bench.orders[1].shape.options.num_batch == 2048


def test_a_dead_runner_is_replaced_at_the_next_request() -> None:
    """A process that died is noticed by the health check, not before."""
    rig = Rig(A, gpus=ONE_CARD)
    rig.use("a", FOREVER)
    rig.scheduler.kill("sha256:a")
    rig.scheduler.kill("sha256:a")
    assert (rig.resident, rig.cards.free("CUDA:0")) == (["a"], 24 * GIB)
    rig.use("a")
    assert rig.loads == ["a", "a"]
    assert rig.runner("a").duration == 300.0


def test_a_shutdown_forgets_all_and_answers_nobody() -> None:
    """Processes die with their memory, the queue and timers are gone."""
    rig = Rig(A, B, C, gpus=cards(80))
    rig.use("a", 10.0)
    held, loading, queued = rig.ask("a"), rig.ask("b"), rig.ask("c")
    rig.wait(1.0)
    rig.scheduler.shutdown()
    rig.wait(3600.0)
    assert (rig.answer(held), rig.answer(loading), rig.answer(queued)) == (
        "granted",
        "waiting",
        "waiting",
    )
    assert (rig.resident, rig.scheduler.waiting, rig.scheduler.is_working) == ([], 0, False)
    assert rig.cards.free("CUDA:0") == 80 * GIB
    rig.scheduler.finish(held)


def test_host_memory_pressure_loads_without_mmap_and_pings_still_match() -> None:
    """What Ollama disables by itself is no difference to a later request without a word."""
    rig = Rig(A, gpus=ONE_CARD, system_free=8 * GIB)
    rig.use("a")
    assert rig.bench.orders[0].shape.options.use_mmap is False
    rig.use("a")
    assert rig.loads == ["a"]
    rig.use("a", use_mmap=True)
    assert rig.loads == ["a", "a"]


@pytest.mark.parametrize("spread", [False, True])
def test_a_small_model_takes_one_gpu_unless_spread(spread: bool) -> None:
    """OLLAMA_SCHED_SPREAD starts it on all of them."""
    rig = Rig(A, gpus=cards(24, 24), sched_spread=spread)
    rig.use("a")
    assert len(rig.runner("a").gpus) == 1 + spread
    assert rig.bench.orders[0].shape.options.main_gpu == (None if spread else 0)


def test_a_model_alone_on_a_later_gpu_is_overlooked_and_the_gpu_overpacked() -> None:
    """With Ollama's own accounting its bytes count as nothing, so a second one is let in."""
    gpus: tuple[Gpu, ...] = cards(10, 24)

    def loads(discovery: object) -> list[str]:
        rig = Rig(model("a", 18), model("b", 7.5), model("c", 18), gpus=gpus, discovery=discovery)
        for name in "abc":
            rig.use(name, FOREVER)
        return rig.gone

    assert loads(RunnerDiscovery) == []
    assert loads(DriverDiscovery) == ["a"]
