"""Compute buffers by era, each against a line of a public log."""

import pytest

from warmset.core.footprint import estimate_footprint
from warmset.core.model import Tensor
from warmset.core.units import GIB, MIB

LLAMA3 = {
    "general.architecture": "llama",
    "block_count": 32,
    "embedding_length": 4096,
    "feed_forward_length": 14336,
    "attention.head_count": 32,
    "attention.head_count_kv": 8,
    "vocab_size": 128256,
}
MISTRAL = LLAMA3 | {"vocab_size": 32768}
QWEN_27B = {
    "general.architecture": "qwen35",
    "block_count": 64,
    "embedding_length": 5120,
    "feed_forward_length": 17408,
    "attention.head_count": 24,
    "attention.head_count_kv": 4,
    "attention.key_length": 256,
    "attention.value_length": 256,
    "vocab_size": 248320,
    "ssm.conv_kernel": 4,
    "ssm.state_size": 128,
    "ssm.group_count": 16,
    "ssm.inner_size": 6144,
}


def compute_mib(facts, **options):
    return estimate_footprint(facts, **options).compute_bytes / MIB


@pytest.mark.parametrize(
    ("facts", "context", "logged"),
    [(MISTRAL, 2048, 164.0), (MISTRAL, 32768, 2144.0), (LLAMA3, 4096, 296.0)],
)
def test_without_flash_attention_the_scores_decide(facts, context, logged):
    """Three logged buffers of 7B and 8B models, exact."""
    options = {"flash_attn": False, "engine": "llama.cpp-2025-01", "batch": 512}
    assert compute_mib(facts, num_ctx=context, **options) == pytest.approx(logged, abs=0.05)


def test_with_flash_attention_the_logits_decided_until_2026():
    """A qwen3 1.7B logged 300 MiB in build b8211: a whole batch of output rows."""
    qwen = LLAMA3 | {"block_count": 28, "embedding_length": 2048, "vocab_size": 151936}
    logged = compute_mib(qwen, num_ctx=4096, flash_attn=True, engine="llama.cpp-b8211")
    assert logged == pytest.approx(300, rel=0.03)


def test_lean_builds_reserve_the_feed_forward_block_and_one_mask():
    """A 27B logged 38.50 MiB at 32768 with a batch of 128: 3 ff + 2 embeddings, f16 mask."""
    exact = compute_mib(QWEN_27B, num_ctx=32768, batch=128, engine="llama.cpp-b10809")
    assert exact == pytest.approx(38.5, abs=0.01)


def test_a_short_batch_shrinks_everything():
    """Buffers are linear in the physical batch, which a short context bounds."""
    lean = {"engine": "llama.cpp-b10809", "num_ctx": 65536}
    assert compute_mib(LLAMA3, batch=1024, **lean) == 2 * compute_mib(LLAMA3, batch=512, **lean)
    assert estimate_footprint(LLAMA3, num_ctx=256, batch=2048, engine="llama.cpp-b1").batch == 256


@pytest.mark.parametrize(("context", "batch"), [(4096, 512), (32768, 1024), (65536, 2048)])
def test_ollama_picks_its_batch_by_context(context, batch):
    """512, 1024 and 2048 by total context, in versions that start llama-server."""
    assert estimate_footprint(LLAMA3, num_ctx=context).batch == batch
    assert estimate_footprint(LLAMA3, num_ctx=context, engine="ollama-0.9.6").batch == 512


def test_ollama_takes_a_smaller_batch_where_memory_is_short():
    """Its own prediction against free memory lowers the batch."""
    known = {"num_ctx": 65536, "file_bytes": 5 * GIB}
    assert estimate_footprint(LLAMA3, device_free_bytes=80 * GIB, **known).batch == 2048
    assert estimate_footprint(LLAMA3, device_free_bytes=16 * GIB, **known).batch < 2048


def test_embedders_get_the_large_batch():
    """An encoder runs a batch of 2048, cut to its context."""
    bert = LLAMA3 | {"general.architecture": "bert", "context_length": 8192}
    assert estimate_footprint(bert, num_ctx=8192).batch == 2048


def test_a_decoder_that_pools_embeds_in_ollama():
    """One slot, a batch of 2048, and an output row for each token: a qwen3 embedder is not lean."""
    qwen = LLAMA3 | {"general.architecture": "qwen3", "vocab_size": 151936}
    pooling = qwen | {"qwen3.pooling_type": 3}
    load = {"num_ctx": 8192, "num_parallel": 4}
    chat, embedder = (estimate_footprint(facts, **load) for facts in (qwen, pooling))
    assert (chat.slots, embedder.slots, embedder.batch) == (4, 1, 2048)
    assert embedder.kv_bytes == chat.kv_bytes / 4
    assert embedder.compute_bytes == 4 * 2048 * (151936 + 2 * 4096)
    server = {"engine": "llama.cpp-b10809", "num_ctx": 8192}
    assert estimate_footprint(pooling, **server) == estimate_footprint(qwen, **server)


def test_further_slots_of_a_hybrid_cost_an_output_buffer_each():
    """Readings of 492, 1388 and 3220 MiB at 2, 4 and 8 slots against 36 at one."""
    lean = {"num_ctx": 8192, "engine": "llama.cpp-2026-06", "batch": 512}
    one, four = (compute_mib(QWEN_27B, num_parallel=n, **lean) for n in (1, 4))
    assert (four - one) / 3 == pytest.approx(485, abs=5)
    llama = (compute_mib(LLAMA3, num_parallel=n, **lean) for n in (1, 4))
    assert max(llama) < 250


def test_several_gpus_hold_copies_of_the_inputs():
    """Pipelines keep masks four times on every GPU; partial offload has none."""
    many = {"num_ctx": 131072, "engine": "llama.cpp-b10809", "batch": 512}
    one = estimate_footprint(LLAMA3, **many)
    two = estimate_footprint(LLAMA3, gpus=2, **many)
    mask = 2 * 512 * 131072
    row = 4 * 512 * 4096
    assert two.devices[1].compute_bytes - one.compute_bytes == 3 * (mask + row)
    part = estimate_footprint(LLAMA3, gpus=2, gpu_layers=20, **many)
    assert part.devices[1].compute_bytes < two.devices[1].compute_bytes


def test_experts_in_ram_are_staged_but_not_in_the_fork():
    """Mainline copies an expert matrix over, the fork only for huge batches."""
    mixture = LLAMA3 | {
        "general.architecture": "qwen3moe",
        "expert_count": 128,
        "expert_used_count": 8,
        "expert_feed_forward_length": 1536,
    }
    held = {"num_ctx": 4096, "weights_gpu_bytes": 8 * GIB, "flash_attn": True, "batch": 512}
    near = estimate_footprint(mixture, weights_cpu_bytes=GIB // 2, engine="llama.cpp-2025", **held)
    far = estimate_footprint(mixture, weights_cpu_bytes=40 * GIB, engine="llama.cpp-2025", **held)
    fork = estimate_footprint(mixture, weights_cpu_bytes=40 * GIB, engine="ik_llama.cpp-1", **held)
    staged = far.compute_bytes - near.compute_bytes
    assert staged > 256 * MIB
    # the bound holds two of them: what the first leaves free may not do for the second
    assert far.devices[0].compute_upper_bytes == int(1.15 * far.compute_bytes) + staged
    assert fork.compute_bytes <= near.compute_bytes


def test_a_quantised_cache_is_unpacked_for_one_layer():
    """CUDA's flash attention keeps an f16 copy of one layer, which no buffer line shows."""
    known = {"num_ctx": 131072, "file_bytes": GIB, "engine": "llama.cpp-b10448"}
    plain = estimate_footprint(LLAMA3, kv_type="f16", **known)
    packed = estimate_footprint(LLAMA3, kv_type="q4_0", **known)
    assert packed.overhead_bytes - plain.overhead_bytes == 2 * 131072 * 2048


def test_an_integrated_gpu_needs_ram_and_vram_from_one_pool():
    """Where memory is shared both tiers count against it."""
    shared = estimate_footprint(
        LLAMA3, num_ctx=4096, weights_gpu_bytes=4 * GIB, weights_cpu_bytes=GIB, integrated=True
    )
    assert shared.is_integrated
    assert shared.pool_bytes == shared.vram_bytes + shared.ram_bytes


def sums_by_tier(footprint):
    tiers = dict.fromkeys(("gpu", "ram", "bound"), 0)
    for term in footprint.terms:
        tiers[term.tier] += term.size_bytes
        assert term.formula
        assert term.source
        assert term.size_bytes != 0
    return tiers


@pytest.mark.parametrize(
    "load",
    [
        {},
        {"gpus": 0},
        {"gpus": 2, "kv_type": "q8_0", "num_parallel": 3},
        {"gpu_layers": 20, "projector_bytes": GIB, "adapter_bytes": MIB},
        {"gpus": 1, "gpu_layers": 0, "engine": "llama.cpp-b10488"},
        {"gpus": 3, "gpu_layers": 40, "batch": 64, "draft_tokens": 2},
    ],
)
def test_the_terms_explain_the_sums(load):
    """Every byte on GPUs, in RAM and in the bound belongs to a term, whatever the load."""
    tensors = [Tensor(name="token_embd.weight", type="F16", shape=(5120, 248320))]
    tensors += [
        Tensor(name=f"blk.{i}.ffn_up.weight", type="Q4_K", shape=(5120, 17408)) for i in range(64)
    ]
    footprint = estimate_footprint(QWEN_27B, num_ctx=8192, tensors=tensors, **load)
    tiers = sums_by_tier(footprint)
    assert tiers["gpu"] == footprint.vram_bytes
    assert tiers["ram"] == footprint.ram_bytes
    assert tiers["bound"] == footprint.vram_upper_bytes - footprint.vram_bytes


def test_a_term_is_no_surer_than_what_it_stands_on():
    """Weights by the file's size are derived, by the tensor table exact; a driver's context is
    a prior."""
    known = {"num_ctx": 8192, "file_bytes": 16 * GIB}
    by_size = {t.name: t for t in estimate_footprint(QWEN_27B, **known).terms}
    assert (by_size["weights"].certainty, by_size["weights"].source) == (
        "derived",
        "size of the file",
    )
    assert by_size["kv cache"].certainty == by_size["recurrent state"].certainty == "exact"
    assert by_size["process overhead"].certainty == by_size["margin"].certainty == "prior"
    given = estimate_footprint(QWEN_27B, num_ctx=8192, weights_gpu_bytes=16 * GIB)
    assert {t.name: t.certainty for t in given.terms}["weights"] == "exact"


def test_the_forecast_is_ollamas_and_not_ours():
    """Ollama ignores cache types and hybrids: file plus a dense f16 cache over all blocks."""
    footprint = estimate_footprint(QWEN_27B, num_ctx=8192, kv_type="q4_0", file_bytes=16 * GIB)
    dense = 2 * 64 * 4 * (5120 // 24) * 8192 * 2
    assert footprint.ollama_forecast_bytes == 16 * GIB + dense


def test_without_flash_attention_ollama_keeps_the_small_batch():
    """Its large batches are for flash attention only."""
    assert estimate_footprint(LLAMA3, num_ctx=65536, flash_attn=False).batch == 512
