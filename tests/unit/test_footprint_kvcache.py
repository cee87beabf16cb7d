"""Cache and state bytes of every scheme, each against a log line or a hand calculation."""

import pytest

from warmset.core.footprint import estimate_footprint
from warmset.core.footprint.kvcache import parse_cache_types
from warmset.core.units import MIB
from warmset.errors import FactsError


def facts(architecture, blocks, embedding, heads, kv_heads, **more):
    named = {k.replace("__", "."): v for k, v in more.items()}
    return {
        "general.architecture": architecture,
        "block_count": blocks,
        "embedding_length": embedding,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "vocab_size": 151936,
        "feed_forward_length": 4 * embedding,
    } | named


def cache_mib(model, **options):
    options.setdefault("engine", "llama.cpp-b10448")
    footprint = estimate_footprint(model, **options)
    return (footprint.kv_bytes + footprint.recurrent_bytes) / MIB


LLAMA = facts("llama", 32, 4096, 32, 8)
QWEN_27B = facts(
    "qwen35",
    64,
    5120,
    24,
    4,
    attention__key_length=256,
    attention__value_length=256,
    ssm__conv_kernel=4,
    ssm__state_size=128,
    ssm__group_count=16,
    ssm__inner_size=6144,
)
GEMMA4 = facts(
    "gemma4",
    48,
    3840,
    16,
    (8, 8, 8, 8, 8, 1) * 8,
    attention__key_length=512,
    attention__value_length=512,
    attention__key_length_swa=256,
    attention__value_length_swa=256,
    attention__sliding_window=1024,
    attention__sliding_window_pattern=(1, 1, 1, 1, 1, 0),
)
DEEPSEEK = facts(
    "deepseek2",
    61,
    7168,
    128,
    128,
    attention__key_length=192,
    attention__value_length=128,
    attention__kv_lora_rank=512,
    rope__dimension_count=64,
)


@pytest.mark.parametrize(
    ("kv_type", "mib"),
    [
        ("f16", 512),
        ("bf16", 512),
        ("f32", 1024),
        ("q8_0", 272),
        ("q4_0", 144),
        ("q8_0/f16", 392),
        ("K q8_0 / V q4_0", 208),
    ],
)
def test_grouped_heads_store_each_type_with_its_scales(kv_type, mib):
    """Block scales count: q8_0 is 34/32 of a byte, q4_0 18/32, and keys may differ from values."""
    assert cache_mib(LLAMA, num_ctx=4096, kv_type=kv_type) == mib


def test_a_key_length_of_its_own_beats_embedding_over_heads():
    """qwen3 0.6B has heads of 128 although its embedding over heads is 64."""
    model = facts("qwen3", 28, 1024, 16, 8, attention__key_length=128, attention__value_length=128)
    assert cache_mib(model, num_ctx=4096) == 28 * 8 * 256 * 2 * 4096 / MIB


def test_cells_are_padded():
    """Contexts are rounded up to 256 cells, as llama.cpp does."""
    assert cache_mib(LLAMA, num_ctx=4000) == cache_mib(LLAMA, num_ctx=4096)
    assert cache_mib(LLAMA, num_ctx=4097) == cache_mib(LLAMA, num_ctx=4352)


def test_ollama_multiplies_the_context_by_slots_and_llama_cpp_shares_it():
    """`num_ctx` is one slot's for Ollama and everybody's for llama.cpp."""
    both = {"num_ctx": 4096, "num_parallel": 4}
    assert cache_mib(LLAMA, engine="ollama-0.33", **both) == 2048
    assert cache_mib(LLAMA, engine="llama.cpp-b10448", **both) == 512


def test_ollama_clamps_the_context_to_the_trained_length():
    """Asking Ollama for more than the model was trained on reserves the trained length."""
    model = LLAMA | {"context_length": 8192}
    assert cache_mib(model, engine="ollama-0.33", num_ctx=65536) == 1024


@pytest.mark.parametrize(
    ("num_ctx", "slots", "kv_type", "mib"),
    [
        (4096, 1, "q8_0", 289),
        (8192, 4, "q8_0", 833),
        (8192, 1, "q8_0", 323),
        (8192, 1, "q4_0", 171),
        (8192, 1, "f16", 608),
        (16384, 1, "q8_0", 391),
    ],
)
def test_sliding_layers_grow_with_slots_and_not_with_context(num_ctx, slots, kv_type, mib):
    """The six logged caches of a gemma4 12B, which has both kinds of layers and two head sizes."""
    assert cache_mib(GEMMA4, num_ctx=num_ctx, num_parallel=slots, kv_type=kv_type) == mib


def test_separate_streams_hold_a_window_each():
    """Under Ollama's llama-server every slot has its own window and batch."""
    one = estimate_footprint(GEMMA4, num_ctx=8192, num_parallel=1, batch=512)
    four = estimate_footprint(GEMMA4, num_ctx=8192, num_parallel=4, batch=512)
    assert four.kv_bytes == 4 * one.kv_bytes


def test_a_larger_batch_widens_the_window():
    """A sliding cache holds the window and one physical batch."""
    small = cache_mib(GEMMA4, num_ctx=32768, batch=512)
    assert cache_mib(GEMMA4, num_ctx=32768, batch=2048) - small == 40 * 8 * 512 * 2 * 1536 / MIB


def test_runtimes_before_windows_keep_every_layer_full():
    """Ollama 0.9 and ik_llama.cpp cache the whole context in sliding layers too."""
    gemma2 = facts("gemma2", 26, 2304, 8, 4, attention__key_length=256, attention__value_length=256)
    full = 26 * 4 * 512 * 2 * 8192 / MIB
    assert cache_mib(gemma2, num_ctx=8192, engine="ollama-0.5.7") == full
    assert cache_mib(gemma2, num_ctx=8192, engine="ik_llama.cpp-2025") == full
    assert cache_mib(gemma2, num_ctx=8192, batch=512) == full / 2 + full / 2 * 4608 / 8192


def test_the_go_engine_holds_window_and_batch_for_gemma3():
    """Ollama 0.12 logged 38 MiB for gemma3 1B: 4 layers of 4096 cells, 22 of 1024."""
    model = facts(
        "gemma3",
        26,
        1152,
        4,
        1,
        attention__key_length=256,
        attention__value_length=256,
        attention__sliding_window=512,
    )
    assert cache_mib(model, num_ctx=4096, engine="ollama-0.12.6") == 38


def test_a_period_of_one_slides_nothing_and_the_file_may_name_each_layer():
    """A pattern is a period, or a flag for each block."""
    base = facts("gemma3", 4, 1024, 8, 8, attention__sliding_window=512)
    full = cache_mib(base | {"attention.sliding_window_pattern": 1}, num_ctx=8192)
    assert full == 4 * 8 * 256 * 2 * 8192 / MIB
    flags = base | {"attention.sliding_window_pattern": (True, False, False, False)}
    assert full * 3 / 4 < cache_mib(flags, num_ctx=8192) < full


def test_a_pattern_that_only_the_file_knows_is_required():
    """gemma4 has no pattern in code; without the array there is a refusal that names it."""
    bare = {k: v for k, v in GEMMA4.items() if "pattern" not in k}
    with pytest.raises(FactsError, match="sliding_window_pattern"):
        cache_mib(bare, num_ctx=4096)


def test_latent_attention_stores_one_row_where_the_file_allows():
    """61 layers of 576 elements at 32768 are 2196 MiB; old files keep 71 times more."""
    new = DEEPSEEK | {"attention.key_length_mla": 192}
    assert cache_mib(new, num_ctx=32768) == 2196
    assert cache_mib(new, num_ctx=32768, engine="llama.cpp-b6000") == 2196 * (576 + 512) / 576
    old = cache_mib(DEEPSEEK, num_ctx=2048, engine="llama.cpp-2025", flash_attn=False)
    assert old == 9760
    assert old / cache_mib(new, num_ctx=2048) == pytest.approx(71, abs=0.2)


def test_the_fork_compresses_with_flash_attention_unless_told_otherwise():
    """ik_llama.cpp builds the latent matrices itself; a mixed cache or the switch turns it off."""
    on = {"num_ctx": 32768, "engine": "ik_llama.cpp-2025", "flash_attn": True}
    assert cache_mib(DEEPSEEK, **on) == 2196
    assert cache_mib(DEEPSEEK, latent_cache=False, **on) > 100_000
    assert cache_mib(DEEPSEEK, num_ctx=8192, engine="ik_llama.cpp-2025", flash_attn=True,
                     kv_type="q8_0/f16") == 28060  # fmt: skip


def test_sparse_attention_adds_its_index():
    """GLM 5.2 at 768000: 78 latent rows and an index in 21 blocks, 69750 MiB in a log."""
    glm = facts(
        "glm-dsa",
        79,
        6144,
        64,
        64,
        nextn_predict_layers=1,
        attention__kv_lora_rank=512,
        rope__dimension_count=64,
        attention__key_length_mla=256,
        attention__indexer__key_length=128,
        context_length=1 << 20,
    )
    assert cache_mib(glm, num_ctx=768000) == 69750


def test_layers_that_share_a_cache_have_none():
    """gemma3n caches in its first 20 blocks; a key may say how many share."""
    model = facts("gemma3n", 30, 2048, 8, 2, attention__sliding_window=512)
    keyed = model | {"attention.shared_kv_layers": 10}
    assert cache_mib(model, num_ctx=8192) == cache_mib(keyed, num_ctx=8192)
    assert cache_mib(keyed | {"attention.shared_kv_layers": 0}, num_ctx=8192) > cache_mib(
        model, num_ctx=8192
    )


def test_a_hybrid_caches_every_fourth_layer_and_keeps_a_state_for_each_slot():
    """A 27B logs 2048 MiB of cache at 32768 and 149.625 MiB of state for each slot."""
    one = estimate_footprint(QWEN_27B, num_ctx=32768, engine="llama.cpp-b10809")
    two = estimate_footprint(QWEN_27B, num_ctx=32768, num_parallel=2, engine="llama.cpp-b10809")
    assert one.kv_bytes / MIB == 2048
    assert one.recurrent_bytes / MIB == 149.625
    assert two.recurrent_bytes == 2 * one.recurrent_bytes
    assert two.kv_bytes == one.kv_bytes


def test_drafting_caches_the_next_token_block_and_multiplies_the_state():
    """Three drafted tokens need three snapshots of the state, and the block's own cache."""
    model = QWEN_27B | {"block_count": 65, "nextn_predict_layers": 1}
    plain = estimate_footprint(model, num_ctx=32768, engine="llama.cpp-b10809")
    drafting = estimate_footprint(model, num_ctx=32768, engine="llama.cpp-b10809", draft_tokens=3)
    assert plain.kv_bytes / MIB == 2048
    assert drafting.kv_bytes / MIB == 2048 + 128
    assert drafting.recurrent_bytes == 4 * plain.recurrent_bytes
    assert drafting.compute_bytes > plain.compute_bytes
    share = drafting.devices[0]
    assert share.compute_upper_bytes - share.compute_bytes > 1024 * MIB


def test_the_go_engine_keeps_checkpoints_of_the_state():
    """Ollama 0.20 logged 2.6 GiB for qwen3-coder-next: one state and 24 checkpoints."""
    model = facts(
        "qwen3next",
        48,
        2048,
        16,
        2,
        attention__key_length=256,
        attention__value_length=256,
        ssm__conv_kernel=4,
        ssm__state_size=128,
        ssm__group_count=16,
        ssm__inner_size=4096,
    )
    assert cache_mib(model, num_ctx=32768, engine="ollama-0.20.x") == pytest.approx(2652.4, abs=0.1)


def test_blocks_without_key_heads_recur_or_only_feed_forward():
    """In nemotron_h a block without heads recurs, unless it has a feed-forward width."""
    model = facts(
        "nemotron_h",
        4,
        1024,
        8,
        (0, 2, 0, 0),
        ssm__conv_kernel=4,
        ssm__state_size=64,
        ssm__group_count=2,
        ssm__inner_size=2048,
    ) | {"feed_forward_length": (0, 0, 4096, 0)}
    footprint = estimate_footprint(model, num_ctx=4096)
    assert footprint.recurrent_bytes == 2 * 4 * (3 * (2048 + 2 * 2 * 64) + 64 * 2048)
    assert footprint.kv_bytes == 2 * 128 * 2 * 2 * 4096


def test_pure_recurrent_models_have_no_cache():
    """mamba and rwkv do not grow with the context."""
    rwkv = {
        "general.architecture": "rwkv6",
        "block_count": 24,
        "embedding_length": 2048,
        "wkv.head_size": 64,
    }
    footprint = estimate_footprint(rwkv, num_ctx=65536)
    assert footprint.kv_bytes == 0
    assert footprint.recurrent_bytes == 24 * 4 * 2048 * (2 + 64)


def test_a_hybrid_without_its_state_size_is_refused():
    """The state cannot be guessed: the refusal names the key."""
    bare = {k: v for k, v in QWEN_27B.items() if k != "ssm.inner_size"}
    with pytest.raises(FactsError, match=r"ssm\.inner_size"):
        cache_mib(bare, num_ctx=4096)


def test_encoders_stopped_caching():
    """bert logged 9 MiB at 512 in 2024, and nothing since mid 2025."""
    bert = facts("bert", 12, 384, 12, 12)
    assert cache_mib(bert, num_ctx=512, engine="llama.cpp-2024-12") == 9
    assert cache_mib(bert, num_ctx=512, engine="ollama-0.33") == 0


def test_ollama_forces_encoders_and_some_families_to_one_slot():
    """More slots change nothing where Ollama runs one."""
    many = estimate_footprint(QWEN_27B, num_ctx=8192, num_parallel=8, engine="ollama-0.33")
    assert many.slots == 1


def test_quantised_values_need_flash_attention():
    """New runtimes refuse the load, old Ollama keeps f16 in silence."""
    without = {"num_ctx": 4096, "kv_type": "q8_0", "flash_attn": False}
    with pytest.raises(FactsError, match="flash attention"):
        cache_mib(LLAMA, engine="ollama-0.33", **without)
    assert cache_mib(LLAMA, engine="ollama-0.5.7", **without) == 512


def test_cache_types_are_parsed_leniently():
    """Both written forms of a pair mean keys and values."""
    pair = parse_cache_types("q8_0/f16")
    spoken = parse_cache_types("K q8_0 / V f16")
    assert (pair.key, pair.value) == (spoken.key, spoken.value) == (34, 64)
    with pytest.raises(FactsError):
        parse_cache_types("q8_0/f16/f16")


def test_short_convolutions_keep_a_few_rows():
    """lfm2 recurs where a block has no key heads, with `l_cache - 1` rows of the embedding."""
    model = facts("lfm2", 3, 1024, 8, (0, 2, 0), shortconv__l_cache=3)
    assert estimate_footprint(model, num_ctx=4096).recurrent_bytes == 2 * 4 * 1024 * 2


def test_a_state_space_model_without_groups_has_none():
    """mamba has no groups; a delta net cannot do without."""
    mamba = {
        "general.architecture": "mamba",
        "block_count": 2,
        "embedding_length": 1024,
        "ssm.conv_kernel": 4,
        "ssm.state_size": 16,
        "ssm.inner_size": 2048,
    }
    assert estimate_footprint(mamba, num_ctx=4096).recurrent_bytes == 2 * 4 * (3 + 16) * 2048
    bare = {k: v for k, v in QWEN_27B.items() if k != "ssm.group_count"}
    with pytest.raises(FactsError, match=r"ssm\.group_count"):
        cache_mib(bare, num_ctx=4096)


def test_a_period_of_zero_slides_every_layer():
    """llama.cpp reads a period of 0 as: all layers slide."""
    base = facts("gemma3", 4, 1024, 8, 8, attention__sliding_window=512)
    sliding = cache_mib(base | {"attention.sliding_window_pattern": 0}, num_ctx=8192, batch=512)
    assert sliding == 4 * 8 * 256 * 2 * 1024 / MIB


def test_smallthinker_sees_everything_in_the_first_of_four():
    """Its period starts with the full layer, so one block alone does not slide."""
    one = facts("smallthinker", 1, 1024, 8, 8, attention__sliding_window=4096)
    assert cache_mib(one, num_ctx=65536) == 8 * 256 * 2 * 65536 / MIB


def test_the_file_may_list_its_indexers():
    """`attention.indexer.types` goes before what the context tells."""
    glm = facts(
        "glm-dsa",
        4,
        1024,
        8,
        8,
        attention__kv_lora_rank=512,
        rope__dimension_count=64,
        attention__key_length_mla=256,
        attention__indexer__key_length=128,
    )
    every = cache_mib(glm, num_ctx=4096)
    two = cache_mib(glm | {"attention.indexer.types": (1, 0, 1, 0)}, num_ctx=4096)
    assert every - two == 2 * 128 * 2 * 4096 / MIB


def test_falcon_h1_attends_and_recurs_in_every_block():
    """Its blocks have a cache and a state each."""
    model = facts(
        "falcon-h1",
        2,
        1024,
        8,
        2,
        ssm__conv_kernel=4,
        ssm__state_size=64,
        ssm__group_count=1,
        ssm__inner_size=2048,
    )
    footprint = estimate_footprint(model, num_ctx=4096)
    assert footprint.kv_bytes == 2 * 2 * 256 * 2 * 4096
    assert footprint.recurrent_bytes == 2 * 4 * (3 * (2048 + 128) + 64 * 2048)
