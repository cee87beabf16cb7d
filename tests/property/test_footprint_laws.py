"""Laws of the estimate: sums add up, more needs more, and nothing but a refusal goes wrong."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from warmset.core.footprint import Footprint, estimate_footprint
from warmset.core.footprint.architectures import SCHEMES
from warmset.core.footprint.facts import KEYS
from warmset.errors import FactsError

ENGINES = ("ollama-0.33", "ollama-0.12", "ollama-0.9.6", "llama.cpp-b10809", "llama.cpp-2025")
TYPES = ("f16", "q8_0", "q4_0", "q8_0/f16", "f32")


@st.composite
def dense_models(draw):
    heads = draw(st.sampled_from((8, 16, 32)))
    window = draw(st.sampled_from((0, 512, 4096)))
    model = {
        "general.architecture": draw(st.sampled_from(("llama", "qwen3", "gemma3", "olmo2"))),
        "block_count": draw(st.integers(1, 48)),
        "embedding_length": heads * 128,
        "feed_forward_length": draw(st.integers(1024, 20000)),
        "attention.head_count": heads,
        "attention.head_count_kv": draw(st.sampled_from((1, 2, 4, 8))),
        "vocab_size": draw(st.integers(1000, 300000)),
    }
    return model | ({"attention.sliding_window": window} if window else {})


@st.composite
def loads(draw):
    return {
        "num_ctx": draw(st.integers(1, 300_000)),
        "num_parallel": draw(st.integers(1, 8)),
        "kv_type": draw(st.sampled_from(TYPES)),
        "flash_attn": True,
        "engine": draw(st.sampled_from(ENGINES)),
        "batch": draw(st.sampled_from((128, 512, 2048))),
        "gpus": draw(st.integers(0, 4)),
        "weights_gpu_bytes": draw(st.integers(0, 1 << 38)),
        "weights_cpu_bytes": draw(st.integers(0, 1 << 34)),
    }


@given(dense_models(), loads())
def test_devices_and_tiers_add_up(model, load):
    """The sum over devices is the total, the bound is no less, and no byte is lost in a split."""
    found = estimate_footprint(model, **load)
    assert found.vram_bytes == sum(device.vram_bytes for device in found.devices)
    assert found.vram_bytes <= found.vram_upper_bytes
    assert sum(device.kv_bytes for device in found.devices) <= found.kv_bytes
    assert found.weights_ram_bytes is not None
    assert min(found.kv_bytes, found.recurrent_bytes, found.compute_bytes, found.ram_bytes) >= 0
    assert sum(device.layers for device in found.devices) == found.gpu_layers
    if found.is_fully_on_gpu:
        assert sum(device.kv_bytes for device in found.devices) == found.kv_bytes


@given(dense_models(), loads(), st.integers(0, 100_000))
def test_more_context_never_needs_less(model, load, more):
    """Cache, scratch and sums do not shrink as the context grows."""
    load |= {"gpu_layers": 99}
    small = estimate_footprint(model, **load)
    large = estimate_footprint(model, **load | {"num_ctx": load["num_ctx"] + more})
    assert small.kv_bytes <= large.kv_bytes
    assert small.compute_bytes <= large.compute_bytes
    assert small.vram_bytes <= large.vram_bytes
    assert small.ram_bytes <= large.ram_bytes


@given(dense_models(), loads())
def test_more_slots_never_need_less(model, load):
    """One more slot never frees memory, whatever the engine makes of the context."""
    few = estimate_footprint(model, **load | {"unified_cache": True})
    many = estimate_footprint(
        model, **load | {"num_parallel": load["num_parallel"] + 1, "unified_cache": True}
    )
    assert few.kv_bytes <= many.kv_bytes


@given(dense_models(), loads(), st.integers(0, 60))
def test_layers_move_between_tiers_without_loss(model, load, layers):
    """Whatever is not on a GPU is in RAM: the caches of both tiers make the whole."""
    found = estimate_footprint(model, **load | {"gpu_layers": layers, "gpus": 1})
    whole = estimate_footprint(model, **load | {"gpu_layers": 99, "gpus": 1})
    assert found.kv_bytes == whole.kv_bytes
    assert sum(d.kv_bytes for d in found.devices) <= whole.devices[0].kv_bytes


@given(dense_models(), loads(), st.integers(1, 1 << 36), st.integers(0, 1 << 36))
def test_more_free_memory_never_leaves_fewer_layers_on_gpus(model, load, free, more):
    """The fit is monotone in what is free."""
    load = {k: v for k, v in load.items() if not k.startswith("weights")}
    load |= {"file_bytes": 8 << 30, "gpus": 1}
    some = estimate_footprint(model, device_free_bytes=free, **load)
    most = estimate_footprint(model, device_free_bytes=free + more, **load)
    assert some.gpu_layers <= most.gpu_layers


@given(dense_models(), loads())
def test_the_prefix_of_keys_does_not_matter(model, load):
    """Keys with and without the architecture give one answer."""
    name = model["general.architecture"]
    prefixed = {k if k.startswith("general") else f"{name}.{k}": v for k, v in model.items()}
    assert estimate_footprint(model, **load) == estimate_footprint(prefixed, **load)


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(0, 300),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-1, 300) | st.none() | st.booleans(), max_size=40),
    st.lists(st.lists(st.integers(), max_size=2), max_size=3).map(tuple),
)


@settings(max_examples=400)
@given(
    st.sampled_from(sorted(SCHEMES)),
    st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=12),
    st.sampled_from(ENGINES),
)
def test_hostile_facts_are_answered_or_refused_quickly(architecture, junk, engine):
    """Any value under any key gives a footprint or a refusal that names a key, within a second."""
    facts = {
        "general.architecture": architecture,
        "block_count": 8,
        "embedding_length": 1024,
        "attention.head_count": 8,
        "attention.head_count_kv": (2,) * 8,
        "ssm.inner_size": 512,
        "ssm.state_size": 16,
        "ssm.group_count": 1,
        "ssm.conv_kernel": 4,
        "shortconv.l_cache": 3,
        "wkv.head_size": 64,
    } | junk
    start = time.process_time()
    found = answer_or_refusal(facts, engine)
    assert time.process_time() - start < 1
    if isinstance(found, FactsError):
        assert found.context["key"]
    else:
        assert isinstance(found, Footprint)
        assert found.kv_bytes >= 0


def answer_or_refusal(facts, engine):
    try:
        return estimate_footprint(facts, num_ctx=8192, engine=engine, gpus=2, file_bytes=1 << 30)
    except FactsError as refusal:
        return refusal
