"""Ollama's forecast: prediction, batch, surcharge, flash attention, GGUF keys."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from warmset.core.model import Entry, FactValue, ModelKey
from warmset.core.ollama.predict import (
    FlashAttention,
    automatic_batch,
    batch_surcharge,
    fit_limit,
    flash_attention,
    predict_vram,
)
from warmset.core.ollama.types import Gpu, WeightsFile
from warmset.core.units import GIB, MIB

LLAMA_8B = WeightsFile(
    file_bytes=4_920_738_944,
    block_count=32,
    head_count_max=32,
    head_count_kv_min=8,
    embedding_length=4096,
    trained_context=131072,
)
CARD = Gpu(library="CUDA", id="0", total_bytes=24 * GIB, free_bytes=24 * GIB)


def test_the_prediction_is_the_file_and_a_dense_cache() -> None:
    """8 heads of 128 in 32 layers, twice, two bytes each: 1 GiB of cache per 8192 cells."""
    assert predict_vram(LLAMA_8B, 8192) == LLAMA_8B.file_bytes + GIB
    assert predict_vram(LLAMA_8B, 0) == LLAMA_8B.file_bytes


def test_absent_head_counts_count_as_one_and_none_at_all_as_no_cache() -> None:
    """Zero KV heads count as one; without attention heads there is no head to multiply."""
    one = replace(LLAMA_8B, head_count_kv_min=1)
    assert predict_vram(replace(LLAMA_8B, head_count_kv_min=0), 8192) == predict_vram(one, 8192)
    assert predict_vram(replace(LLAMA_8B, head_count_max=0), 8192) == LLAMA_8B.file_bytes


def test_the_fit_limit_is_four_fifths_cut_down() -> None:
    """80 % in whole bytes."""
    assert (fit_limit(10), fit_limit(11), fit_limit(0)) == (8, 8, 0)


@pytest.mark.parametrize(
    ("change", "supported"),
    [
        ({}, True),
        ({"library": "cpu"}, True),
        ({"library": "Metal"}, True),
        ({"library": "ROCm"}, True),
        ({"library": "Vulkan"}, True),
        ({"library": "oneAPI"}, False),
        ({"library": "other", "name": "Metal"}, True),
        ({"compute_major": 5, "compute_minor": 2}, False),
        ({"compute_major": 7, "compute_minor": 2}, False),
        ({"compute_major": 7, "compute_minor": 5}, True),
        ({"driver_major": 6}, False),
        ({"driver_major": 0}, True),
    ],
    ids=str,
)
def test_flash_attention_needs_every_gpu(change: dict[str, object], supported: bool) -> None:
    """One GPU that cannot do it turns it off for all; otherwise the mode is automatic."""
    other = replace(CARD, id="1", **change)
    expected = FlashAttention.AUTO if supported else FlashAttention.DISABLED
    assert flash_attention((CARD, other)) is expected


def test_the_operators_word_on_flash_attention_counts_alone() -> None:
    """OLLAMA_FLASH_ATTENTION forces it on or off, whatever the GPUs can."""
    old = replace(CARD, compute_major=5)
    assert flash_attention((old,), True) is FlashAttention.ENABLED
    assert flash_attention((CARD,), False) is FlashAttention.DISABLED


@pytest.mark.parametrize(
    ("batch", "surcharge"), [(512, 0), (1023, 0), (1024, 768 * MIB), (2048, 2 * GIB)]
)
def test_large_batches_cost_a_surcharge(batch: int, surcharge: int) -> None:
    """Generating models pay 768 MiB from 1024 and 2 GiB from 2048; embedders nothing."""
    assert batch_surcharge(batch) == surcharge
    assert batch_surcharge(batch, completes=False) == 0


@pytest.mark.parametrize(
    ("cells", "predicted", "available", "batch"),
    [
        (4096, 1, 100 * GIB, 512),
        (4097, 1, 100 * GIB, 1024),
        (32768, 1, 100 * GIB, 1024),
        (32769, 1, 100 * GIB, 2048),
        (65536, 60 * GIB, 100 * GIB, 2048),
        (65536, 60 * GIB + 1, 100 * GIB, 1024),
        (65536, 75 * GIB, 100 * GIB, 1024),
        (65536, 75 * GIB + 1, 100 * GIB, 512),
        (65536, 81 * GIB, 100 * GIB, 512),
        (8192, 7 * GIB, 10 * GIB, 1024),
        (8192, 7 * GIB + 512 * MIB, 10 * GIB, 512),
        (65536, 0, 100 * GIB, 2048),
        (65536, 60 * GIB, 0, 2048),
    ],
)
def test_the_batch_follows_the_context_while_there_is_headroom(
    cells: int, predicted: int, available: int, batch: int
) -> None:
    """The wanted batch is halved while the prediction leaves it too little room."""
    assert automatic_batch(cells, predicted, available, FlashAttention.AUTO, (CARD,)) == batch


@pytest.mark.parametrize(
    ("cells", "total", "free", "batch"),
    [
        (4096, 8 * GIB, 8 * GIB, 512),
        (4097, 8 * GIB, 8 * GIB, 256),
        (4097, 24 * GIB, 8 * GIB, 256),
        (4097, 24 * GIB, 9 * GIB, 512),
        (4097, 8 * GIB, 0, 256),
        (4097, 8 * GIB, 9 * GIB, 256),
        (4097, 0, 0, 512),
    ],
)
def test_cuda_without_flash_attention_has_small_batches(
    cells: int, total: int, free: int, batch: int
) -> None:
    """512, and 256 beyond 4096 cells where a CUDA card has 8 GiB at most."""
    card = replace(CARD, total_bytes=total, free_bytes=free)
    assert automatic_batch(cells, 1, 100 * GIB, FlashAttention.DISABLED, (card,)) == batch


def test_other_backends_without_flash_attention_keep_their_batch() -> None:
    """Only CUDA cards are held back, and a small card of another backend does not count."""
    vulkan = replace(CARD, library="Vulkan", free_bytes=GIB)
    assert automatic_batch(65536, 1, 100 * GIB, FlashAttention.DISABLED, (vulkan,)) == 2048
    assert automatic_batch(65536, 1, 100 * GIB, FlashAttention.DISABLED, (CARD, vulkan)) == 512


@pytest.mark.parametrize(
    ("value", "heads"),
    [
        (8, 8),
        (8.0, 8),
        ((8, 4, 16), 4),
        ((), 1),
        (None, 1),
        ("8", 1),
        (True, 1),
        (-1, 1),
        (math.inf, 1),
        (math.nan, 1),
        ((math.inf, 6, "x", math.nan), 6),
    ],
    ids=str,
)
def test_head_counts_are_read_from_any_metadata(value: FactValue, heads: int) -> None:
    """A number or the smallest of an array; anything else counts as absent, never an error."""
    facts = {"general.architecture": "llama", "llama.attention.head_count_kv": value}
    assert WeightsFile.from_facts(1, facts).head_count_kv_min == heads


def test_gguf_keys_are_read_with_and_without_their_prefix() -> None:
    """Either form of the keys gives the same file."""
    keys = {
        "block_count": 32,
        "attention.head_count": (16, 32),
        "attention.head_count_kv": 8,
        "embedding_length": 4096,
        "context_length": 131072,
    }
    prefixed = {"general.architecture": "llama", **{f"llama.{k}": v for k, v in keys.items()}}
    expected = replace(LLAMA_8B, family="llama")
    assert WeightsFile.from_facts(LLAMA_8B.file_bytes, prefixed) == expected
    assert WeightsFile.from_facts(LLAMA_8B.file_bytes, keys) == LLAMA_8B
    assert WeightsFile.from_facts(1, {}) == WeightsFile(file_bytes=1)


def test_an_entrys_file_is_its_blob_else_the_sum_of_its_layers() -> None:
    """Without the blob's size the manifest's serves; without any there is no file."""
    entry = Entry(key=ModelKey("k"), names=("a",), manifest_digests={}, file_bytes=7, size_bytes=9)
    assert WeightsFile.of_entry(entry) == WeightsFile(file_bytes=7)
    assert WeightsFile.of_entry(replace(entry, file_bytes=None)) == WeightsFile(file_bytes=9)
    assert WeightsFile.of_entry(replace(entry, file_bytes=None, size_bytes=None)) is None
