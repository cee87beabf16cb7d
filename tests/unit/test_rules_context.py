"""Context lengths and slots: tiers, clamping, steps after a lack of memory."""

from __future__ import annotations

import pytest

from warmset.core.ollama.context import (
    ONE_SLOT_FAMILIES,
    default_context,
    effective_context,
    next_lower_auto_context,
    server_context,
    slots,
)
from warmset.core.ollama.types import WeightsFile
from warmset.core.units import GIB


@pytest.mark.parametrize(
    ("cards", "tier"),
    [
        ((), 4096),
        ((23 * GIB - 1,), 4096),
        ((23 * GIB,), 32768),
        ((12 * GIB, 11 * GIB), 32768),
        ((47 * GIB - 1,), 32768),
        ((24 * GIB, 23 * GIB), 262144),
    ],
)
def test_the_tier_comes_from_the_sum_of_all_gpus(cards: tuple[int, ...], tier: int) -> None:
    """23 and 47 GiB of the whole host are the borders; no GPU means the smallest."""
    assert default_context(cards) == tier


def test_the_overhead_is_taken_from_each_gpu_and_wraps_below_zero() -> None:
    """Two cards lose it twice; more than a card has wraps to a huge sum, as in Ollama."""
    assert default_context((24 * GIB, 24 * GIB), GIB) == 32768
    assert default_context((8 * GIB,), 9 * GIB) == 262144


def test_a_context_is_clamped_to_the_trained_length_where_that_is_known() -> None:
    """More than the model was trained for is cut; 0 means not known."""
    assert effective_context(262144, 32768) == 32768
    assert effective_context(2048, 32768) == 2048
    assert effective_context(262144, 0) == 262144


def test_the_servers_context_is_all_slots_together() -> None:
    """Clamped first, then times the slots; no slots count as one."""
    file = WeightsFile(file_bytes=1, trained_context=1000)
    assert server_context(4096, file, 4) == 4000
    assert server_context(500, file, 0) == 500


@pytest.mark.parametrize(
    ("context", "lower"),
    [(262144, 32768), (32769, 32768), (32768, 4096), (4097, 4096), (4096, None), (4, None)],
)
def test_an_automatic_context_steps_down_by_tiers(context: int, lower: int | None) -> None:
    """Above 32768 to that, above 4096 to that, then no further."""
    assert next_lower_auto_context(context) == lower


def test_embedders_and_some_families_run_one_slot() -> None:
    """OLLAMA_NUM_PARALLEL does not count for them; for others it is at least one."""
    plain = WeightsFile(file_bytes=1, family="llama")
    assert slots(plain, 4, completes=True) == 4
    assert slots(plain, 0, completes=True) == 1
    assert slots(plain, 4, completes=False) == 1
    for family in ONE_SLOT_FAMILIES:
        assert slots(WeightsFile(file_bytes=1, family=family), 4, completes=True) == 1
