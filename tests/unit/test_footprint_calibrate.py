"""Estimates corrected by what a host showed: targets, laws and edges."""

from __future__ import annotations

import importlib
import random
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.core.catalogue import CATALOGUE
from warmset.core.footprint import Footprint, estimate_footprint
from warmset.core.footprint.calibrate import Calibration
from warmset.core.footprint.observed import load_key, observe_load
from warmset.core.footprint.residuals import HOST, NOISE_BYTES, Residuals
from warmset.core.loads import MAX_LOADS, LoadKey, ObservedLoad
from warmset.core.model import Entry, ModelKey
from warmset.core.units import GIB, MIB

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
EPOCH = "ollama 0.33.0, driver 570"
NAMES = sorted(CATALOGUE)


@pytest.fixture
def pretended_host(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    return importlib.import_module("pretended_host")


def estimate(name: str, context: int = 4096, **kwargs: object) -> tuple[Footprint, LoadKey]:
    model = CATALOGUE[name]
    found = estimate_footprint(
        model.facts, num_ctx=context, file_bytes=model.file_bytes, **{"gpus": 1, **kwargs}
    )
    devices = [f"GPU-{n}" for n in range(len(found.devices))]
    return found, load_key(found, model=model.key, architecture=model.arch, devices=devices)


class Host:
    """A twin host with realistic noise: what every load of it truly takes.

    Its own context size per GPU, compute buffers off by some per cent for each architecture, each
    model off by up to half a per cent, and an allocator's slack of a few MiB at every load.
    """

    def __init__(self, seed: int, *, deviation: float = 0.005) -> None:
        self.rng = random.Random(seed)
        self.context = self.rng.uniform(140, 550) * MIB
        self.deviation = deviation
        self.model: dict[str, float] = {}
        self.graph: dict[str, float] = {}

    def load(self, found: Footprint, key: LoadKey) -> tuple[int, ...]:
        ratio = self.model.setdefault(key.model, 1 + self.deviation * self.rng.uniform(-1, 1))
        graph = self.graph.setdefault(key.architecture, self.rng.gauss(1, 0.06))
        return tuple(
            int(
                ratio * (d.weights_bytes + d.kv_bytes + d.recurrent_bytes)
                + graph * d.compute_bytes
                + self.context
                + abs(self.rng.gauss(0, 8)) * MIB
            )
            for d in found.devices
        )

    def observe(self, found: Footprint, key: LoadKey, at: float, epoch: str = EPOCH):
        load = observe_load(found, key, at=at, epoch=epoch, driver_bytes=self.load(found, key))
        assert load is not None
        return load


def shapes(rng: random.Random, count: int) -> list[tuple[str, int]]:
    return [(rng.choice(NAMES), rng.choice((2048, 4096, 8192, 16384))) for _ in range(count)]


def test_five_loads_bring_the_median_error_below_one_per_cent() -> None:
    """On 40 noisy twin hosts, for shapes never seen there; seen shapes are within 50 MiB."""
    errors, seen, missed, total, excess = [], [], 0, 0, 0
    for seed in range(40):
        host = Host(seed)
        taught = shapes(host.rng, 5)
        loads = [host.observe(*estimate(*shape), at=at) for at, shape in enumerate(taught)]
        calibration = Calibration(loads, EPOCH)
        for shape in [s for s in shapes(host.rng, 12) if s not in taught]:
            cold, key = estimate(*shape)
            found, truth = calibration.apply(cold, key), sum(host.load(cold, key))
            errors.append(abs(found.vram_bytes - truth) / truth)
            missed += found.vram_upper_bytes < truth
            excess += found.vram_upper_bytes - truth
            total += truth
        for shape in taught:
            cold, key = estimate(*shape)
            found, truth = calibration.apply(cold, key), sum(host.load(cold, key))
            seen.append(abs(found.vram_bytes - truth))
            assert found.basis == "observed"
    assert median(errors) <= 0.01
    assert max(seen) <= 50 * MIB
    assert missed <= 0.05 * len(errors)
    assert excess <= 0.08 * total


def test_the_bound_tightens_with_evidence_and_still_holds() -> None:
    """The gap between point and bound shrinks from none to 5 to 60 loads; 95 % stay below it."""
    gaps = {0: 0.0, 5: 0.0, 60: 0.0}
    missed = count = 0
    for seed in range(10):
        host = Host(seed)
        loads = [host.observe(*estimate(*s), at=at) for at, s in enumerate(shapes(host.rng, 60))]
        for taught in gaps:
            calibration = Calibration(loads[:taught], EPOCH)
            for shape in shapes(host.rng, 10):
                cold, key = estimate(*shape)
                found = calibration.apply(cold, key)
                gaps[taught] += found.vram_upper_bytes - found.vram_bytes
                if taught == 60:
                    missed += found.vram_upper_bytes < sum(host.load(cold, key))
                    count += 1
    assert gaps[0] > 1.3 * gaps[5] > 3 * gaps[60]
    assert missed <= 0.1 * count


def test_nothing_seen_changes_nothing() -> None:
    """The cold estimate stands, with the cold bound."""
    cold, key = estimate("llama3.1:8b")
    assert Calibration([], EPOCH).apply(cold, key) == cold


def test_one_load_teaches_the_host_and_its_model_more_than_others() -> None:
    """The residual of one load is shrunk for other models, and says how it was come by."""
    cold, key = estimate("qwen2.5:7b")
    load = observe_load(cold, key, at=0, epoch=EPOCH, driver_bytes=[cold.vram_bytes + 200 * MIB])
    calibration = Calibration([load], EPOCH)
    assert calibration.load_count == 1
    other, other_key = estimate("llama3.2:3b")
    same, same_key = estimate("qwen2.5:7b", 8192)
    for_other = calibration.apply(other, other_key)
    for_same = calibration.apply(same, same_key)
    assert for_other.vram_bytes - other.vram_bytes > 50 * MIB
    assert for_other.vram_bytes - other.vram_bytes < for_same.vram_bytes - same.vram_bytes
    assert for_same.vram_bytes - same.vram_bytes < 200 * MIB
    assert for_other.grounds.endswith("calibrated by 1 load on this host")
    assert for_same.grounds.endswith("calibrated by 1 load on this host, 1 of this model")
    gap = for_other.vram_upper_bytes - for_other.vram_bytes
    assert [term.name for term in for_other.terms][-2:] == ["learnt here", "margin"]
    assert for_other.terms[-1].size_bytes == gap


def test_the_parts_add_up_after_the_correction() -> None:
    """On several GPUs, where less is held than predicted as well as where more is."""
    cold, key = estimate("qwen2.5:32b", gpus=3)
    for factor in (0.8, 0.97, 1.04):
        shown = [int(d.vram_bytes * factor) for d in cold.devices]
        load = observe_load(cold, key, at=0, epoch=EPOCH, driver_bytes=shown)
        found = Calibration([load, load], EPOCH).apply(cold, key)
        assert [d.vram_bytes for d in found.devices] == shown
        assert found.vram_bytes == sum(shown)
        for share in found.devices:
            assert min(share.overhead_bytes, share.compute_bytes) >= 0
            assert share.vram_upper_bytes > share.vram_bytes
            parts = share.weights_bytes + share.kv_bytes + share.compute_bytes
            if factor > 0.9:
                assert parts + share.overhead_bytes == share.vram_bytes


def test_other_gpus_of_the_host_are_near_not_seen() -> None:
    """A measurement counts for its own GPUs, and for a question that names none."""
    cold, key = estimate("llama3.1:8b")
    load = observe_load(cold, key, at=0, epoch=EPOCH, driver_bytes=[cold.vram_bytes + 90 * MIB])
    calibration = Calibration([load], EPOCH)
    assert calibration.apply(cold, replace(key, devices=("GPU-9",))).basis == "calibrated"
    found = calibration.apply(cold, replace(key, devices=()))
    assert found.vram_bytes == cold.vram_bytes + 90 * MIB


def test_an_upgrade_is_learnt_anew() -> None:
    """Old measurements stop counting; what they taught is a first guess that new ones overrule."""
    host, cold_key = Host(3), estimate("qwen2.5:14b")
    cold, key = cold_key
    old = [
        replace(host.observe(cold, key, at=at), driver_bytes=(cold.vram_bytes + 300 * MIB,))
        for at in range(20)
    ]
    after = Calibration(old, "ollama 0.34.0, driver 570")
    assert after.load_count == 0
    assert after.apply(cold, key) == cold
    new = replace(old[0], at=30, epoch="new", driver_bytes=(cold.vram_bytes - 100 * MIB,))
    both = Calibration([*old, new], "new")
    assert both.load_count == 1
    assert both.apply(cold, key).vram_bytes == cold.vram_bytes - 100 * MIB
    near, near_key = estimate("qwen2.5:14b", 8192)
    alone = Calibration([new], "new").apply(near, near_key).vram_bytes
    assert abs(both.apply(near, near_key).vram_bytes - alone) < 120 * MIB


def test_a_foreign_reading_does_not_spoil_the_host() -> None:
    """One load that shows 20 GiB too much moves others by less than half a GiB."""
    host = Host(1)
    loads = [host.observe(*estimate(*s), at=at) for at, s in enumerate(shapes(host.rng, 6))]
    cold, key = estimate("llama3.2:1b", 2048)
    wild = observe_load(cold, key, at=9, epoch=EPOCH, driver_bytes=[20 * GIB])
    other, other_key = estimate("mistral:7b", 8192)
    before = Calibration(loads, EPOCH).apply(other, other_key).vram_bytes
    after = Calibration([*loads, wild], EPOCH).apply(other, other_key).vram_bytes
    assert abs(after - before) < 512 * MIB


def test_a_lone_strange_reading_is_believed_when_a_second_says_so() -> None:
    """A neighbour's 2 GiB do not become the model's own, unless they are there again."""
    host = Host(1)
    loads = [host.observe(*estimate(*s), at=at) for at, s in enumerate(shapes(host.rng, 6))]
    cold, key = estimate("mistral:7b", 2048)
    shown = cold.vram_bytes + 2 * GIB
    strange = observe_load(cold, key, at=9, epoch=EPOCH, driver_bytes=[shown])
    once = Calibration([*loads, strange], EPOCH).apply(cold, key)
    assert once.basis != "observed"
    assert once.vram_bytes < cold.vram_bytes + GIB
    twice = Calibration([*loads, strange, replace(strange, at=10)], EPOCH).apply(cold, key)
    assert twice.vram_bytes == shown


def test_a_host_of_another_form_is_learnt_in_five_loads(pretended_host) -> None:
    """Sixty hosts whose truth has floors, pages, kernels and wrong readings, none of them ours."""
    scores = pretended_host.learn(60, 5)
    assert median(scores.unseen) <= 0.01
    assert median(scores.unseen) < 0.6 * median(scores.cold)
    assert sum(distance <= 50 * MIB for distance in scores.seen) >= 0.98 * len(scores.seen)
    assert scores.missed <= 0.05 * len(scores.unseen)
    assert scores.excess_bytes <= 0.08 * scores.truth_bytes
    assert scores.dangerous <= 0.002 * len(scores.unseen)


def test_ollamas_own_sum_teaches_upwards_only() -> None:
    """`size_vram` leaves parts out: less than predicted says nothing, more does."""
    cold, key = estimate("llama3.1:8b")
    buffers = cold.buffer_bytes
    low = observe_load(cold, key, at=0, epoch=EPOCH, ps_bytes=buffers // 2)
    high = observe_load(cold, key, at=0, epoch=EPOCH, ps_bytes=buffers + 200 * MIB)
    assert Calibration([low], EPOCH).apply(cold, key).vram_bytes == cold.vram_bytes
    assert Calibration([high], EPOCH).apply(cold, key).vram_bytes > cold.vram_bytes + 20 * MIB


def test_a_projectors_graph_stays_in_the_bound() -> None:
    """What comes with the first image is not measured by a load without one."""
    cold, key = estimate("gemma3:12b", projector_bytes=800 * MIB)
    load = observe_load(cold, key, at=0, epoch=EPOCH, driver_bytes=[cold.vram_bytes])
    found = Calibration([load], EPOCH).apply(cold, key)
    assert found.vram_upper_bytes >= found.vram_bytes + GIB


@pytest.mark.parametrize(
    "change",
    [
        {"driver_bytes": []},
        {"driver_bytes": [1, 2]},
        {"driver_bytes": [0]},
        {"driver_bytes": [3 * GIB]},
    ],
)
def test_loads_that_teach_nothing_are_not_kept(change: dict) -> None:
    """Nothing measured, another number of GPUs, no bytes, or less than the weights take."""
    cold, key = estimate("llama3.1:8b")
    assert observe_load(cold, key, at=0, epoch=EPOCH, **change) is None


def test_partly_offloaded_and_weightless_loads_are_not_kept() -> None:
    """How many layers went to RAM is not told; unknown weights have no residual."""
    partly, key = estimate("llama3.1:8b", gpu_layers=10)
    assert observe_load(partly, key, at=0, epoch=EPOCH, driver_bytes=[GIB]) is None
    facts = CATALOGUE["llama3.1:8b"].facts
    unknown = estimate_footprint(facts, num_ctx=4096)
    key = load_key(unknown, model="m", architecture="llama")
    assert observe_load(unknown, key, at=0, epoch=EPOCH, driver_bytes=[GIB]) is None
    on_cpu = estimate_footprint(facts, num_ctx=4096, gpus=0, file_bytes=GIB)
    assert observe_load(on_cpu, key, at=0, epoch=EPOCH, ps_bytes=5) is None


def test_a_measurement_stands_in_for_unknown_weights() -> None:
    """The shape has been seen, so its bytes are known; other shapes of it stay unknown."""
    cold, key = estimate("llama3.1:8b")
    shown = cold.vram_bytes + 99 * MIB
    load = observe_load(cold, key, at=0, epoch=EPOCH, driver_bytes=[shown])
    calibration = Calibration([load], EPOCH)
    facts = CATALOGUE["llama3.1:8b"].facts
    unknown = estimate_footprint(facts, num_ctx=4096, batch=cold.batch)
    assert unknown.vram_bytes is None
    assert calibration.apply(unknown, key).vram_bytes == shown
    other = replace(key, context=99)
    assert calibration.apply(unknown, other).vram_bytes is None


def test_the_estimator_knows_entries_by_their_facts() -> None:
    """The planner's estimates are corrected; facts of no entry stay cold."""
    model = CATALOGUE["llama3.1:8b"]
    entry = Entry(
        key=ModelKey(model.key),
        names=(model.name,),
        manifest_digests={},
        file_bytes=model.file_bytes,
        facts=model.facts,
    )
    cold, key = estimate(model.name)
    load = observe_load(cold, key, at=0, epoch=EPOCH, driver_bytes=[cold.vram_bytes + 99 * MIB])
    asked = {"num_ctx": 4096, "file_bytes": model.file_bytes}
    estimator = Calibration([load], EPOCH).estimator([entry])
    assert estimator(entry.facts, **asked).vram_bytes == cold.vram_bytes + 99 * MIB
    assert estimator(dict(model.facts), **asked) == cold


def test_a_long_history_costs_no_second() -> None:
    """A thousand loads of many models on two GPUs; only the newest are learnt from."""
    host = Host(5)
    loads = [
        host.observe(*estimate(name, context, gpus=2), at=at)
        for at, (name, context) in enumerate(shapes(host.rng, 300))
    ]
    many = [
        replace(load, at=load.at + 300 * n, key=replace(load.key, model=f"m{i}"))
        for n in range(4)
        for i, load in enumerate(loads)
    ]
    begun = time.process_time()
    calibration = Calibration(many, EPOCH)
    assert time.process_time() - begun < 3
    assert calibration.load_count == MAX_LOADS


@given(st.permutations(range(6)), st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(order: list[int], seed: int) -> None:
    """Loads are taken by their time, however they are listed."""
    host = Host(seed)
    loads = [host.observe(*estimate(*s), at=at) for at, s in enumerate(shapes(host.rng, 6))]
    cold, key = estimate("qwen3:8b")
    shuffled = [loads[i] for i in order]
    assert Calibration(shuffled, EPOCH).apply(cold, key) == Calibration(loads, EPOCH).apply(
        cold, key
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "c"]),
            st.integers(0, 40 * GIB),
            st.integers(0, 4 * GIB),
            st.integers(1, 60 * GIB),
        ),
        max_size=30,
    )
)
def test_any_history_gives_a_point_below_its_bound(history: list[tuple]) -> None:
    """Whatever was read, numbers stay finite, not negative, and ordered."""
    cold, key = estimate("llama3.1:8b")
    loads = [
        ObservedLoad(
            at=at,
            epoch=EPOCH,
            key=replace(key, model=model),
            exact_bytes=(exact,),
            compute_bytes=(compute,),
            overhead_bytes=(0,),
            driver_bytes=(shown,),
        )
        for at, (model, exact, compute, shown) in enumerate(history)
    ]
    found = Calibration(loads, EPOCH).apply(cold, key)
    assert found.vram_upper_bytes >= found.vram_bytes
    assert all(d.overhead_bytes >= 0 for d in found.devices)


def test_effects_shrink_by_evidence() -> None:
    """One residual is halved at equal doubt; many of the same are believed; doubt comes back."""
    residuals = Residuals()
    spread = residuals.predict({HOST: 1.0})[1]
    residuals.learn({HOST: 1.0, ("gpu", "a"): 1.0}, 100 * MIB)
    once = residuals.predict({HOST: 1.0})
    assert 0 < once[0] < 100 * MIB
    assert once[1] < spread
    for _ in range(50):
        residuals.learn({HOST: 1.0}, 100 * MIB)
    mean, deviation = residuals.predict({HOST: 1.0})
    assert mean == pytest.approx(100 * MIB, rel=0.05)
    assert deviation < 1.1 * NOISE_BYTES
    residuals.doubt()
    again = residuals.predict({HOST: 1.0})
    assert again[0] == mean
    assert again[1] == pytest.approx(spread)
