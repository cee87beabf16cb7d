"""From one look at a host to what the planner weighs."""

from dataclasses import replace

from warmset.core.model import (
    Device,
    DeviceId,
    Entry,
    HostMemory,
    ModelKey,
    Observation,
    Quality,
    Reading,
    Resident,
    ServerSettings,
    unknown,
)
from warmset.core.planner import build_candidates, build_host, plan
from warmset.core.settings import Budget, GpuBudget, ModelPolicy, Settings
from warmset.core.units import GIB

FACTS = {
    "general.architecture": "llama",
    "llama.block_count": 32,
    "llama.embedding_length": 4096,
    "llama.feed_forward_length": 14336,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
    "llama.context_length": 131072,
    "llama.vocab_size": 128256,
}
OPEN = Budget(default=GpuBudget(vram_reserve_bytes=0))


def read(value):
    return Reading(value=value, source="test")


def device(number=0, *, total=24 * GIB, free=24 * GIB, **fields):
    return Device(
        id=DeviceId(f"GPU-{number}"),
        name="card",
        library="CUDA",
        total_bytes=total if isinstance(total, Reading) else read(total),
        free_bytes=free if isinstance(free, Reading) else read(free),
        index=number,
        compute="8.9",
        **fields,
    )


def entry(name="m:8b", **fields):
    return Entry(
        key=ModelKey(f"sha256:{name}"),
        names=(name,),
        manifest_digests={name: "d"},
        file_bytes=fields.pop("file_bytes", 5 * GIB),
        facts=fields.pop("facts", FACTS),
        capabilities=fields.pop("capabilities", frozenset({"completion"})),
        **fields,
    )


def resident(name="m:8b", *, vram=6 * GIB, size=6 * GIB, key=None, context=4096):
    return Resident(
        name=name,
        manifest_digest="d",
        key=key or ModelKey(f"sha256:{name}"),
        size_bytes=size,
        size_vram_bytes=vram,
        context=context,
        expires_at=None,
    )


def look(*, entries=None, residents=(), devices=None, ram=64 * GIB, **fields):
    return Observation(
        at=0.0,
        server_url="http://127.0.0.1:11434",
        is_local=True,
        version="0.33.0",
        entries=(entry(),) if entries is None else entries,
        residents=residents,
        devices=(device(),) if devices is None else devices,
        memory=HostMemory(
            total_bytes=read(128 * GIB),
            available_bytes=ram if isinstance(ram, Reading) else read(ram),
        ),
        **fields,
    )


def settings(budget=OPEN, **models):
    policies = {name: replace(policy, name=name) for name, policy in models.items()}
    return Settings(budget=budget, models={f"{n}:latest": p for n, p in policies.items()})


def built(observation, words=None, **fields):
    words = Settings(budget=OPEN) if words is None else words
    host, where = build_host(observation, words, **fields)
    return host, build_candidates(observation, words, host, where)


def test_other_programs_take_from_what_models_may_have():
    """8 of 24 GiB held by others leave 16 for models."""
    host, _ = built(look(devices=(device(free=16 * GIB),)))
    assert host.gpus[0].usable_bytes == 16 * GIB


def test_a_resident_does_not_count_against_its_own_place():
    """What our model holds is room that the plan may use again."""
    observation = look(residents=(resident(),), devices=(device(free=18 * GIB),))
    host, candidates = built(observation)
    assert host.gpus[0].usable_bytes == 24 * GIB
    assert candidates[0].located == {DeviceId("GPU-0"): 6 * GIB}


def test_the_budget_limits_what_is_free():
    """A limit of half a card holds even if all of it is free."""
    words = Settings(budget=Budget(default=GpuBudget(vram_reserve_bytes=0, vram_limit_ratio=0.5)))
    host, _ = built(look(), words)
    assert host.gpus[0].usable_bytes == 12 * GIB


def test_of_an_estimate_a_tenth_is_not_promised():
    """At least 1 GiB of it; what our models hold is no estimate, and never less than nothing."""
    guess = Reading(value=20 * GIB, source="test", quality=Quality.ESTIMATE)
    host, _ = built(look(devices=(device(free=guess),)))
    assert host.gpus[0].usable_bytes == 18 * GIB
    assert host.gpus[0].gpu.free_bytes == 20 * GIB  # Ollama does not think so far
    small = replace(guess, value=GIB // 2)
    host, _ = built(look(residents=(resident(),), devices=(device(free=small),)))
    assert host.gpus[0].usable_bytes == 6 * GIB


def test_an_unreadable_gpu_has_no_usable_bytes_and_a_reason():
    """Unknown is not zero: the GPU stays, with the reason of the reading."""
    dark = device(free=unknown("nvml", "timed out"))
    host, candidates = built(look(devices=(dark,)))
    assert host.gpus[0].usable_bytes is None
    assert "timed out" in host.gpus[0].unknown
    assert plan(candidates, host).members == ()


def test_need_has_a_bound_above_its_estimate_and_the_forecast_its_own_sum():
    """Need comes from the footprint, Ollama's forecast from the file: both are there."""
    _, (candidate,) = built(look())
    assert candidate.on_one is not None
    assert candidate.on_one.upper_bytes > candidate.on_one.point_bytes > 5 * GIB
    assert candidate.file is not None
    assert candidate.file.file_bytes == 5 * GIB


def test_the_operators_context_counts_before_what_is_loaded():
    """The policy's context shapes need and forecast; without it, the resident's own does."""
    policy = ModelPolicy(name="m", context=16384)
    named = look(entries=(entry("m:latest"),), residents=(resident("m:latest"),))
    _, (stated,) = built(named, settings(m=policy))
    _, (there,) = built(named)
    _, (absent,) = built(look())
    assert stated.shape.options.num_ctx == 16384
    assert there.shape.options.num_ctx == 4096
    assert absent.shape.options.num_ctx == 32768  # the tier of a host with 24 GiB


def test_unknown_facts_make_a_candidate_without_a_need():
    """A model nobody can estimate is carried along with the reason."""
    _, (candidate,) = built(look(entries=(entry(facts={}),)))
    assert candidate.on_one is None
    assert candidate.unknown


def test_what_is_resident_needs_no_facts():
    """A resident of unknown facts is charged with what it holds."""
    observation = look(entries=(entry(facts={}),), residents=(resident(),))
    _, (candidate,) = built(observation)
    assert candidate.on_one is not None
    assert candidate.on_one.point_bytes == 6 * GIB


def test_residents_that_no_entry_stands_for_are_strangers():
    """A deleted model that is still loaded counts towards the maximum, and its bytes as foreign."""
    gone = resident("gone:1b", key=ModelKey("sha256:gone"), vram=4 * GIB)
    observation = look(residents=(gone,), devices=(device(free=20 * GIB),))
    host, _ = built(observation)
    assert host.strangers == 1
    assert host.gpus[0].usable_bytes == 20 * GIB


def test_residents_that_could_not_be_read_are_not_taken_for_none():
    """A timeout is said, and leads to no action."""
    host, candidates = built(look(residents=None))
    assert not host.knows_residents
    assert plan(candidates, host).actions == ()
    assert any("not known" in note for note in host.notes)


def test_on_several_gpus_the_place_is_inferred_from_what_is_taken_and_said():
    """Where Ollama names no GPU, the one with enough unexplained bytes is taken."""
    devices = (device(0), device(1, free=17 * GIB))
    host, candidates = built(look(residents=(resident(),), devices=devices))
    assert candidates[0].located == {DeviceId("GPU-1"): 6 * GIB}
    assert any("inferred" in note for note in host.notes)


def test_what_the_driver_tells_of_a_place_is_believed():
    """A location that was told replaces the inference."""
    key = ModelKey("sha256:m:8b")
    devices = (device(0, free=17 * GIB), device(1, free=17 * GIB))
    told = {key: {DeviceId("GPU-1"): 7 * GIB}}
    _, candidates = built(look(residents=(resident(),), devices=devices), located=told)
    assert candidates[0].located == {DeviceId("GPU-1"): 7 * GIB}


def test_who_holds_nothing_of_a_gpu_lies_in_ram():
    """A runner may be there and have found no room. Where Ollama and the driver do not agree, it
    is left where the driver has it, and is charged there."""
    key, gpu = ModelKey("sha256:m:8b"), DeviceId("GPU-0")
    for vram, located in ((0, {}), (6 * GIB, {gpu: 0})):
        _, (candidate,) = built(look(residents=(resident(vram=vram),)), located={key: {gpu: 0}})
        assert candidate.located == located


def test_who_lies_in_ram_may_stay_there():
    """A resident that found no room on a GPU takes nothing from those who did: both stay."""
    names = ("low:8b", "high:8b")
    rows = (resident("low:8b", vram=0), resident("high:8b", vram=20 * GIB, size=20 * GIB))
    seen = look(
        entries=tuple(entry(name) for name in names),
        residents=rows,
        devices=(device(free=4 * GIB),),
    )
    host, candidates = built(seen)
    held = replace(
        candidates[1].on_one, point_bytes=20 * GIB, upper_bytes=20 * GIB, basis="observed"
    )
    made = plan((candidates[0], replace(candidates[1], on_one=held)), host)
    assert {member.name for member in made.members} == set(names)
    assert made.changes == ()


def test_an_embedder_has_one_slot_and_no_batch_of_its_own():
    """Embedders do not complete, so Ollama adds no surcharge for them."""
    embedder = entry(capabilities=frozenset({"embedding"}))
    words = replace(Settings(budget=OPEN), server=ServerSettings(num_parallel=4))
    _, (candidate,) = built(look(entries=(embedder,)), words)
    assert not candidate.completes
    assert candidate.parallel == 1
    assert not candidate.shape.num_batch_auto


def test_ram_is_what_is_available_and_what_models_already_hold_in_it():
    """The part of a resident in RAM is room that the plan may use; the limit counts first."""
    split = resident(vram=4 * GIB, size=6 * GIB)
    host, _ = built(look(residents=(split,), ram=10 * GIB))
    assert host.ram_bytes == 12 * GIB
    words = Settings(budget=replace(OPEN, ram_limit_bytes=8 * GIB))
    host, _ = built(look(residents=(split,), ram=10 * GIB), words)
    assert host.ram_bytes == 8 * GIB


def test_on_unified_memory_a_resident_is_counted_once():
    """Its GPU bytes have left the RAM that is available; the plan may use that room again."""
    free = 128 * GIB - 60 * GIB
    shared = device(total=128 * GIB, free=free, integrated=True)
    observation = look(
        residents=(resident(vram=60 * GIB, size=60 * GIB),), devices=(shared,), ram=free
    )
    host, _ = built(observation)
    assert host.gpus[0].usable_bytes == 128 * GIB
    assert host.ram_bytes == 128 * GIB


def test_value_is_seconds_of_waiting_by_stated_or_neutral_demand():
    """Ten requests a day are worth ten load times; without a word it is one a day."""
    policy = ModelPolicy(name="m", requests_per_day=10.0)
    named = look(entries=(entry("m:latest"),))
    _, (stated,) = built(named, settings(m=policy))
    _, (neutral,) = built(named)
    assert stated.value == 10 * stated.load_seconds
    assert neutral.value == neutral.load_seconds
