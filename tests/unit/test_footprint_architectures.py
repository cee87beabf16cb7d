"""Caches of the rarer and newer architectures, each against a calculation by hand."""

from __future__ import annotations

import pytest

from warmset.core.footprint import estimate_footprint
from warmset.core.footprint.architectures import SCHEMES
from warmset.core.units import MIB
from warmset.errors import FactsError

CONTEXT = 65536
BLOCK = 2 * 8 * (128 + 128) * CONTEXT  # f16 keys and values of 8 heads of 128, full length
SLICE = 2 * 8 * (128 + 128) * (1024 + 512)  # the same of a window of 1024 and a batch of 512


def model(architecture: str, blocks: int = 8, **more: object) -> dict[str, object]:
    return {
        "general.architecture": architecture,
        "block_count": blocks,
        "embedding_length": 2048,
        "feed_forward_length": 8192,
        "attention.head_count": 16,
        "attention.head_count_kv": 8,
        "vocab_size": 100_000,
    } | {key.replace("__", "."): value for key, value in more.items()}


def cached(facts: dict[str, object], **options: object) -> tuple[int, int]:
    found = estimate_footprint(
        facts, **{"num_ctx": CONTEXT, "batch": 512, "engine": "llama.cpp-b10488"} | options
    )
    return found.kv_bytes, found.recurrent_bytes


def windowed(architecture: str, **more: object) -> int:
    return cached(model(architecture, attention__sliding_window=1024, **more))[0]


@pytest.mark.parametrize(
    ("architecture", "period"),
    [("mellum", 4), ("plamo3", 8), ("laguna", 4), ("olmo2", 4), ("cohere2", 4), ("exaone4", 4)],
)
def test_one_block_of_each_period_sees_everything(architecture: str, period: int) -> None:
    """Eight blocks with the window that the file gives, and none slides where it gives none."""
    full = 8 // period
    assert windowed(architecture) == full * BLOCK + (8 - full) * SLICE
    if not SCHEMES[architecture].needs_window:
        assert cached(model(architecture))[0] == 8 * BLOCK


def test_which_block_of_the_period_sees_everything() -> None:
    """The first for laguna, the last for mellum: it shows where a period is cut short."""
    alone = {"attention__sliding_window": 1024, "blocks": 1}
    assert cached(model("laguna", **alone))[0] == BLOCK
    assert cached(model("mellum", **alone))[0] == SLICE


def test_command_a_moe_tells_its_pattern_itself() -> None:
    """As a period, which begins with a full block, or as a list; without it no file loads."""
    assert windowed("cohere2moe", attention__sliding_window_pattern=4) == 2 * BLOCK + 6 * SLICE
    flags = (0,) + (1,) * 7
    assert windowed("cohere2moe", attention__sliding_window_pattern=flags) == BLOCK + 7 * SLICE
    with pytest.raises(FactsError, match="sliding_window_pattern"):
        windowed("cohere2moe")


@pytest.mark.parametrize("architecture", ["gpt-oss", "gptoss", "cohere2", "gemma3n", "gemma4"])
def test_a_window_that_every_such_file_has_is_required(architecture: str) -> None:
    """Without it the cache could be several times larger or smaller."""
    with pytest.raises(FactsError) as refused:
        cached(model(architecture, attention__sliding_window_pattern=(1, 0)))
    assert refused.value.context["key"] == "attention.sliding_window"


@pytest.mark.parametrize("engine", ["llama.cpp-b10488", "llama.cpp-2025", "ollama-0.33"])
@pytest.mark.parametrize("architecture", ["dream", "llada", "llada-moe", "rnd1"])
def test_text_diffusion_caches_nothing(architecture: str, engine: str) -> None:
    """Every pass sees the whole text afresh."""
    assert cached(model(architecture), engine=engine) == (0, 0)


def test_a_pooling_gemma3_is_an_encoder() -> None:
    """Ollama loads embeddinggemma, which calls itself gemma3, as an embedding model."""
    facts = model("gemma3", attention__sliding_window=1024)
    assert cached(facts, engine="ollama-0.33")[0] > 0
    for key in ("pooling_type", "gemma3.pooling_type"):
        assert cached(facts | {key: 1}, engine="ollama-0.33") == (0, 0)


def test_delta_attention_keeps_three_convolutions_and_a_square_state() -> None:
    """Kimi Linear: three blocks recur, one stores a compressed row; slots multiply the state."""
    facts = model(
        "kimi-linear",
        attention__head_count=32,
        attention__head_count_kv=(0, 0, 0, 32) * 2,
        attention__kv_lora_rank=512,
        attention__key_length_mla=192,
        rope__dimension_count=64,
        kda__head_dim=128,
        ssm__conv_kernel=4,
    )
    state = 4 * 32 * (3 * 3 * 128 + 128 * 128)
    assert cached(facts) == (2 * 2 * 576 * CONTEXT, 6 * state)
    assert cached(facts, num_parallel=4, unified_cache=True)[1] == 4 * 6 * state
    with pytest.raises(FactsError, match=r"kda\.head_dim"):
        cached({key: value for key, value in facts.items() if key != "kda.head_dim"})


def test_plamo2_recurs_where_it_has_no_key_heads() -> None:
    """Mamba blocks without groups, attention in between."""
    facts = model(
        "plamo2",
        attention__head_count_kv=(0, 8) * 4,
        ssm__conv_kernel=4,
        ssm__state_size=64,
        ssm__inner_size=4096,
    )
    assert cached(facts) == (4 * BLOCK, 4 * 4 * (3 * 4096 + 64 * 4096))


@pytest.mark.parametrize("architecture", ["deepseek2-ocr", "glmocr", "hy_v3", "t5", "hunyuan_vl"])
def test_plain_attention_under_another_name(architecture: str) -> None:
    """Every block caches the whole context."""
    assert cached(model(architecture))[0] == 8 * BLOCK


def test_a_next_token_block_caches_only_while_drafting() -> None:
    """It is loaded with the rest, and its cache is of full length."""
    facts = model("hy_v3", blocks=9, nextn_predict_layers=1)
    assert cached(facts)[0] == 8 * BLOCK
    assert cached(facts, draft_tokens=2)[0] == 9 * BLOCK


def test_the_fork_unpacks_a_latent_cache_slice_by_slice() -> None:
    """By hand for DeepSeek R1 at 16384: f16 keys and values, a quarter in f32, and the rest."""
    facts = model("deepseek2", blocks=61) | {
        "embedding_length": 7168,
        "attention.head_count": 128,
        "attention.head_count_kv": 128,
        "attention.key_length": 192,
        "attention.value_length": 128,
        "attention.kv_lora_rank": 512,
        "rope.dimension_count": 64,
        "expert_count": 256,
        "expert_used_count": 8,
        "expert_feed_forward_length": 2048,
    }
    load = {"num_ctx": 16384, "batch": 512, "engine": "ik_llama.cpp-2025", "flash_attn": True}
    found = estimate_footprint(facts, weights_gpu_bytes=10**10, **load)
    held = 2 * 16384 * 128 * (192 + 128)
    piece = 32 * 16384 * (4 * 256 + 2 * 128)
    masks = 16384 * 512 * (4 + 2)
    queries = 4 * 512 * 128 * (192 + 192 + 128)
    assert found.compute_bytes == held + piece + masks + queries
    whole = held + 128 * 16384 * 4 * 256 + masks + queries
    assert found.devices[0].compute_upper_bytes == int(1.15 * whole)  # `-amb 0` is the default
    assert found.devices[0].overhead_bytes < 301 * MIB  # what is unpacked is not counted twice


def test_hidden_expert_widths_widen_the_bound() -> None:
    """The point takes usual experts and says so, the bound those as wide as the embedding."""
    facts = model("qwen3moe", expert_count=128, expert_used_count=8)
    del facts["feed_forward_length"]
    load = {"num_ctx": 4096, "engine": "llama.cpp-b10488", "batch": 2048}
    found = estimate_footprint(facts, **load)
    told = estimate_footprint(facts | {"expert_feed_forward_length": 768}, **load)
    wide = estimate_footprint(facts | {"expert_feed_forward_length": 2048}, **load)
    assert found.compute_bytes == told.compute_bytes < wide.compute_bytes
    assert found.devices[0].compute_upper_bytes == wide.devices[0].compute_upper_bytes
    assert any("expert_feed_forward_length" in note for note in found.unknowns)
