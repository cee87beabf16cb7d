"""The twin's small parts: clock, discovery, loads of bytes and seconds, named hosts, scores."""

from __future__ import annotations

from dataclasses import replace

import pytest
from loop_hosts import words

from warmset.core.catalogue import CATALOGUE, known_model
from warmset.core.model import FOREVER
from warmset.core.ollama.belief import RunnerView
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.types import LoadShape, RunnerOptions, WeightsFile
from warmset.core.twin.cards import Cards
from warmset.core.twin.clock import Timeline
from warmset.core.twin.demand import Arrival
from warmset.core.twin.discovery import DriverDiscovery, RunnerDiscovery
from warmset.core.twin.hosts import HOSTS, named_host, physics_of
from warmset.core.twin.physics import OUT_OF_MEMORY, FootprintPhysics
from warmset.core.twin.replay import Answer, Part, Score, replay
from warmset.core.twin.runner import LoadOrder, TwinModel
from warmset.core.units import GIB, MIB
from warmset.errors import ConfigError

CARDS = HOSTS["2x24"].gpus


def test_actions_run_at_their_moment_in_the_order_of_their_making() -> None:
    """Earlier first, ties in the order of making, actions of actions included."""
    line, seen = Timeline(100.0), []
    line.at(103.0, lambda: seen.append(("c", line.now)))
    line.at(101.0, lambda: line.after(1.0, lambda: seen.append(("b", line.now))))
    line.after(1.0, lambda: seen.append(("a", line.now)))
    line.at(50.0, lambda: seen.append(("past", line.now)))
    line.advance(102.0)
    assert seen == [("past", 100.0), ("a", 101.0), ("b", 102.0)]
    assert (line.now, line.next_at) == (102.0, 103.0)


def test_a_cancelled_action_never_happens() -> None:
    """Cancelling is possible before, harmless after, and leaves no moment behind."""
    line, seen = Timeline(), []
    timer = line.after(1.0, lambda: seen.append(1))
    timer.cancel()
    assert line.next_at == float("inf")
    kept = line.after(1.0, lambda: seen.append(2))
    line.advance(5.0)
    kept.cancel()
    assert seen == [2]


def test_time_never_steps_back() -> None:
    """Advancing to the past changes nothing."""
    line = Timeline(10.0)
    line.advance(5.0)
    assert line.now == 10.0


def order(name: str, *, free: int, gpus: int = 1, **options: object) -> LoadOrder:
    known = known_model(name)
    shape = LoadShape(options=RunnerOptions(**{"num_ctx": 8192, **options}))
    return LoadOrder(
        model=TwinModel(
            key=known.key, name=name, file=WeightsFile.from_facts(known.file_bytes, known.facts)
        ),
        shape=shape,
        parallel=1,
        gpus=CARDS[:gpus],
        must_be_full=False,
        free_bytes={gpu.device: free for gpu in CARDS[:gpus]},
    )


def physics(**words: object) -> FootprintPhysics:
    return FootprintPhysics({m.key: m.facts for m in CATALOGUE.values()}, **words)


def test_a_load_takes_its_footprint_with_a_deviation_of_its_own() -> None:
    """The same seed gives the same bytes, another seed others, all near the estimate."""
    wanted = order("llama3.1:8b", free=24 * GIB)
    (exact,) = physics(deviation_ratio=0.0).load(wanted).by_position
    taken = [physics(seed=seed).load(wanted).by_position[0] for seed in (1, 1, 2)]
    assert taken[0] == taken[1] != taken[2]
    assert all(abs(n - exact) <= 0.02 * exact + 1 for n in taken)
    assert exact > known_model("llama3.1:8b").file_bytes


def test_a_load_takes_start_up_and_reading_time() -> None:
    """Seconds are the start-up and the file over the bandwidth."""
    found = physics(bytes_per_second=1e9, start_seconds=2.0).load(
        order("llama3.1:8b", free=24 * GIB)
    )
    assert found.seconds == pytest.approx(2.0 + known_model("llama3.1:8b").file_bytes / 1e9)


def test_what_is_shown_leaves_out_the_driver_context() -> None:
    """`/api/ps` under-reports: parsed buffers only, and equal totals on full offload."""
    found = physics().load(order("llama3.1:8b", free=24 * GIB))
    assert 0 < found.total_bytes < sum(found.by_position)


def test_a_small_card_spills_to_ram_and_layers_by_name_run_out_of_memory() -> None:
    """The automatic fit lowers the layers; a forced number of them fails instead."""
    fitted = physics().load(order("llama3.1:8b", free=4 * GIB))
    assert fitted.error == ""
    assert fitted.by_position[0] <= 4 * GIB
    assert fitted.total_bytes > fitted.by_position[0]
    forced = physics().load(order("llama3.1:8b", free=4 * GIB, num_gpu=33))
    assert (forced.error, forced.by_position) == (OUT_OF_MEMORY, ())


def test_on_the_cpu_all_of_it_is_ram() -> None:
    """Without GPUs no position has bytes, and the total is not nothing."""
    found = physics(kv_type="").load(order("llama3.2:3b", free=0, gpus=0))
    assert found.by_position == ()
    assert found.total_bytes >= known_model("llama3.2:3b").file_bytes


def test_a_large_model_is_split_over_the_group() -> None:
    """Each GPU of the order has its share."""
    found = physics().load(order("llama3.3:70b", free=24 * GIB, gpus=2))
    assert len(found.by_position) == 2
    assert all(count > GIB for count in found.by_position)


def test_the_drivers_discovery_is_the_truth_and_can_stand_still() -> None:
    """Frozen it repeats a moment; thawed it tells the truth again, under the right names."""
    held = Cards(Timeline(), CARDS)
    found = DriverDiscovery(held)
    found.freeze()
    held.allocate(1, {"CUDA:1": GIB})
    assert [gpu.free_bytes for gpu in found.refresh(())] == [g.total_bytes for g in CARDS]
    found.thaw()
    assert found.refresh(())[1].free_bytes == CARDS[1].total_bytes - GIB
    alone = replace(order("llama3.2:3b", free=GIB), gpus=CARDS[1:])
    assert found.view(alone, [7]) == RunnerView(gpus=("CUDA:1",), bytes_by_gpu={"CUDA:1": 7})


def test_ollamas_discovery_loses_the_names_and_rounds_the_free_memory() -> None:
    """Alone on the second GPU nothing is known; on the first, whole MiB of free memory are."""
    found = RunnerDiscovery(Cards(Timeline(), CARDS))
    first = replace(order("llama3.2:3b", free=GIB + 5), gpus=CARDS[:1])
    assert found.view(first, [7]) == RunnerView(
        gpus=("CUDA:0",), bytes_by_gpu={"CUDA:0": 7}, free_at_load={"CUDA:0": 1024 * MIB}
    )
    second = replace(first, gpus=CARDS[1:], free_bytes={gpu.device: GIB + 5 for gpu in CARDS})
    assert found.view(second, [7]) == RunnerView(gpus=("CUDA:1",))


def test_what_discovery_found_is_its_next_stale_value() -> None:
    """Asked for by runners, the belief stays even after the truth has changed."""
    held = Cards(Timeline(), CARDS[:1])
    found = RunnerDiscovery(held)
    view = RunnerView(gpus=("CUDA:0",), bytes_by_gpu={"CUDA:0": GIB})
    held.set_foreign("CUDA:0", 20 * GIB)
    assert found.refresh([view])[0].free_bytes == CARDS[0].total_bytes - GIB
    assert found.refresh([])[0].free_bytes == CARDS[0].total_bytes - 20 * GIB


def test_runners_are_asked_in_the_order_that_is_given() -> None:
    """The newest first unless said otherwise: the last that is asked has the word."""
    views = [
        RunnerView(gpus=("CUDA:0", "CUDA:1"), bytes_by_gpu={"CUDA:0": GIB}),
        RunnerView(gpus=("CUDA:0",), bytes_by_gpu={"CUDA:0": 2 * GIB}),
    ]
    held = Cards(Timeline(), CARDS)
    newest, oldest = RunnerDiscovery(held), RunnerDiscovery(held, ask_order=lambda runners: runners)
    total = CARDS[0].total_bytes
    assert newest.refresh(views)[0].free_bytes == total - GIB
    assert oldest.refresh(views[::-1])[0].free_bytes == total - GIB
    assert oldest.refresh(views)[0].free_bytes == total - GIB


@pytest.mark.parametrize("name", HOSTS)
def test_every_named_host_can_load_each_of_its_models(name: str) -> None:
    """Alone on the host, every model comes up, at least partly where it is told to."""
    spec = named_host(name)
    arrivals = [
        Arrival(at=600.0 * i, model=model.name, seconds=1.0, keep_alive=0.0)
        for i, model in enumerate(spec.models)
    ]
    score = replay(spec, physics_of(spec), arrivals)
    assert score.failed == 0
    assert len(score.answers) == score.loads == len(spec.models)


def test_unknown_hosts_and_models_are_named_with_what_there_is() -> None:
    """The error says the name and the known ones."""
    with pytest.raises(ConfigError, match="toaster") as no_host:
        named_host("toaster")
    assert "workstation" in no_host.value.hint
    with pytest.raises(ConfigError, match="gpt-9") as no_model:
        known_model("gpt-9")
    assert "llama3.1:8b" in no_model.value.hint


def test_the_catalogues_facts_are_ggufs() -> None:
    """Keys carry their architecture; embedders are marked by pooling; keys differ."""
    assert len({model.key for model in CATALOGUE.values()}) == len(CATALOGUE)
    plain, embedder = known_model("llama3.1:8b"), known_model("nomic-embed-text:latest")
    assert plain.facts["llama.attention.head_count_kv"] == 8
    assert "llama.pooling_type" not in plain.facts
    assert embedder.facts["nomic-bert.pooling_type"] == 1
    assert known_model("gemma3:12b").facts["gemma3.attention.sliding_window"] == 1024


def answers(*waits: float) -> Part:
    return Part(answers=tuple(Answer(model="m", waited_seconds=w, is_cold=w > 0) for w in waits))


def test_a_part_of_a_score_sums_up_its_models() -> None:
    """Requests, cold starts and waits of the models that are asked for, nothing of others."""
    score = Score(answers=[Answer(model=m, waited_seconds=2.0, is_cold=True) for m in "aab"])
    assert score.of(["a"]).requests == 2
    assert score.of(["a", "b"]).waited_seconds == 6.0
    assert score.of([]).cold_starts == 0


def test_the_p95_wait_is_that_of_the_slowest_twentieth() -> None:
    """Of twenty the last; of few the largest; of none nothing."""
    assert answers(*([0.0] * 19), 7.0).wait_p95_seconds == 7.0
    assert answers(*([0.0] * 20), 7.0).wait_p95_seconds == 0.0
    assert answers(3.0).wait_p95_seconds == 3.0
    assert answers().wait_p95_seconds == 0.0


def test_a_refused_request_is_counted_as_failed() -> None:
    """A full queue costs requests, and the score says so."""
    spec = replace(named_host("cpu"), env=ServerEnv(max_queue=1))
    arrivals = [Arrival(at=0.0, model=m.name, seconds=1.0) for m in spec.models[:3]]
    score = replay(spec, physics_of(spec), arrivals)
    assert (len(score.answers), score.failed) == (2, 1)


def test_nobodys_demand_costs_nothing() -> None:
    """An empty demand ends with an empty score."""
    assert replay(named_host("cpu"), physics_of(named_host("cpu")), []) == Score()


def test_the_sidecar_preloads_what_is_wanted_and_pings_embedders_without_options() -> None:
    """Wanted models come up in a calm host and are renewed after a client's short value."""
    spec = named_host("workstation")
    embedder, chat = "nomic-embed-text:latest", "llama3.1:8b"
    arrivals = [
        Arrival(at=600.0, model=embedder, seconds=1.0, keep_alive=60.0),
        Arrival(at=700.0, model=chat, seconds=1.0, keep_alive=60.0),
        Arrival(at=2000.0, model=embedder, seconds=1.0),
    ]
    score = replay(
        spec, physics_of(spec), arrivals, words({embedder: {"pin": True}, chat: {"pin": True}})
    )
    assert (score.preloads, score.loads, score.evictions) == (2, 2, 0)
    assert score.pings >= 2
    assert not any(answer.is_cold for answer in score.answers)


def test_the_sidecar_leaves_a_clients_for_ever_alone() -> None:
    """What somebody else keeps for ever is not pinged."""
    spec = named_host("cpu")
    chat = "llama3.2:3b"
    arrivals = [Arrival(at=1.0, model=chat, seconds=1.0, keep_alive=FOREVER)]
    score = replay(spec, physics_of(spec), arrivals, words({chat: {"preload": False}}))
    assert (score.pings, score.preloads, score.evictions) == (0, 0, 0)


def test_the_sidecars_ping_of_a_small_embedder_does_not_reload_it() -> None:
    """An embedder with fewer than 2048 cells is pinged without a context."""
    spec = named_host("cpu")
    small = tuple(replace(m, parameters={"num_ctx": 512}) for m in spec.models if not m.completes)
    spec = replace(spec, models=small)
    arrivals = [Arrival(at=1.0, model=small[0].name, seconds=1.0, keep_alive=60.0)]
    score = replay(spec, physics_of(spec), arrivals, words({small[0].name: {"preload": False}}))
    assert score.pings >= 1
    assert score.loads == 1


def test_the_sidecar_never_preloads_beyond_the_count_limit() -> None:
    """Where Ollama would evict for the count, a wanted model stays out."""
    spec = replace(
        named_host("workstation"), env=ServerEnv(max_loaded_models=1, context_length=8192)
    )
    names = ["llama3.1:8b", "nomic-embed-text:latest"]
    score = replay(spec, physics_of(spec), [], words({name: {} for name in names}))
    assert (score.preloads, score.evictions) == (1, 0)
