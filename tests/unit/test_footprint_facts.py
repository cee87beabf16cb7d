"""Facts are read with or without prefix, and refused by key where they cannot be used."""

import pytest

from warmset.core.footprint import estimate_footprint
from warmset.core.footprint.shape import read_shape
from warmset.errors import FactsError

LLAMA = {
    "general.architecture": "llama",
    "block_count": 32,
    "embedding_length": 4096,
    "feed_forward_length": 14336,
    "attention.head_count": 32,
    "attention.head_count_kv": 8,
    "context_length": 131072,
    "vocab_size": 128256,
}


def prefixed(facts):
    return {k if k.startswith("general.") else f"llama.{k}": v for k, v in facts.items()}


def refused_key(facts, **options):
    with pytest.raises(FactsError) as refusal:
        estimate_footprint(facts, num_ctx=4096, **options)
    key = refusal.value.context["key"]
    assert str(key) in refusal.value.message
    return key


def test_the_architecture_prefix_does_not_matter():
    """`llama.block_count` and `block_count` describe the same model."""
    assert estimate_footprint(prefixed(LLAMA), num_ctx=4096) == estimate_footprint(
        LLAMA, num_ctx=4096
    )


@pytest.mark.parametrize(
    "key", ["general.architecture", "block_count", "embedding_length", "attention.head_count"]
)
def test_a_missing_fact_that_matters_is_named(key):
    """Without a key that decides the cache there is a refusal that says which."""
    assert refused_key({k: v for k, v in LLAMA.items() if k != key}) == key


def test_an_array_that_was_not_sent_is_missing_and_not_zero():
    """`/api/show` hides arrays as null; a null head count is refused, never read as none."""
    assert refused_key(LLAMA | {"attention.head_count_kv": None}) == "attention.head_count_kv"


def test_an_absent_kv_head_count_means_one_for_each_head():
    """llama.cpp takes multi-head attention where the key is not in the file at all."""
    without = {k: v for k, v in LLAMA.items() if k != "attention.head_count_kv"}
    full = estimate_footprint(LLAMA | {"attention.head_count_kv": 32}, num_ctx=4096)
    assert estimate_footprint(without, num_ctx=4096).kv_bytes == full.kv_bytes


def test_an_unknown_architecture_is_refused():
    """A name we have no rule for is not guessed to be like the others."""
    with pytest.raises(FactsError, match="zork"):
        read_shape(LLAMA | {"general.architecture": "zork"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_count", -1),
        ("block_count", 10**9),
        ("block_count", "32"),
        ("block_count", 0),
        ("embedding_length", float("nan")),
        ("embedding_length", float("inf")),
        ("embedding_length", True),
        ("attention.head_count", 0),
        ("attention.head_count_kv", (8,) * 5),
        ("attention.head_count_kv", (8,) * 100_000),
        ("attention.head_count_kv", ("8",) * 32),
        ("attention.key_length", (128,)),
        ("vocab_size", 10**30),
    ],
)
def test_an_impossible_value_is_refused_by_key(key, value):
    """Negative, huge, wrongly typed and short values all name their key, and never blow up."""
    assert refused_key(LLAMA | {key: value}) == key


def test_a_missing_width_is_noted_and_not_refused():
    """Facts that only decide scratch memory may be absent; `unknowns` then says so."""
    bare = {k: v for k, v in LLAMA.items() if k not in {"vocab_size", "feed_forward_length"}}
    footprint = estimate_footprint(bare, num_ctx=4096)
    noted = " ".join(footprint.unknowns)
    assert "vocab_size" in noted
    assert "feed_forward_length" in noted


def test_the_vocabulary_is_counted_where_only_tokens_are_known():
    """A verbose reply has the token list, whose length is the vocabulary."""
    bare = {k: v for k, v in LLAMA.items() if k != "vocab_size"}
    assert read_shape(bare | {"tokenizer.ggml.tokens": ("a",) * 128256}).vocabulary == 128256


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_ctx", 0),
        ("num_ctx", "4096"),
        ("num_parallel", 0),
        ("gpus", -1),
        ("batch", 0),
        ("gpu_layers", -5),
        ("kv_type", "q3_x"),
        ("kv_type", 8),
        ("flash_attn", "yes"),
        ("device_free_bytes", (1, 2)),
        ("weights_gpu_bytes", -1),
        ("engine", "mlx-1"),
        ("draft_tokens", 1000),
    ],
)
def test_a_bad_argument_is_refused_by_name(name, value):
    """Arguments are checked like facts: the refusal names the argument."""
    options = {"num_ctx": 4096} | {name: value}
    with pytest.raises(FactsError) as refusal:
        estimate_footprint(LLAMA, **options)
    assert refusal.value.context["key"] == name


def test_facts_that_are_no_mapping_are_refused():
    """A list instead of facts is a refusal, not an attribute error."""
    with pytest.raises(FactsError):
        estimate_footprint([1, 2], num_ctx=4096)


def test_a_head_count_is_needed_even_where_key_lengths_are_given():
    """Key lengths do not say how many keys there are."""
    lengths = {"attention.key_length": 128, "attention.value_length": 128}
    bare = {k: v for k, v in LLAMA.items() if k != "attention.head_count"}
    assert refused_key(bare | lengths) == "attention.head_count"
