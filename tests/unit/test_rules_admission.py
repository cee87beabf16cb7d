"""Whether Ollama lets a load in, its count limit, and when it gives up mmap."""

from __future__ import annotations

from dataclasses import replace

import pytest

from warmset.core.ollama.admission import (
    Forecast,
    forecast_load,
    is_partial_offload,
    max_loaded,
    mmap_off_reason,
)
from warmset.core.ollama.types import Gpu, LoadShape, RunnerOptions, WeightsFile
from warmset.core.units import GIB, MIB

CARD = Gpu(library="CUDA", id="0", total_bytes=24 * GIB, free_bytes=20 * GIB)


def shape(**options: object) -> LoadShape:
    return LoadShape(options=RunnerOptions(num_ctx=4096, **options), num_batch_auto=True)


def file_of(gib: float) -> WeightsFile:
    return WeightsFile(file_bytes=int(gib * GIB), block_count=32)


def forecast(file: WeightsFile, wanted: LoadShape | None = None, **words: object) -> Forecast:
    said = {"gpus": (CARD,), "parallel": 1, "completes": True, "others_loaded": True, **words}
    return forecast_load(file, wanted or shape(), **said)


def test_the_limit_of_models_is_the_setting_or_three_for_each_gpu() -> None:
    """A total, not per GPU; automatic counts a host without GPUs as one."""
    assert [max_loaded(0, gpus) for gpus in (0, 1, 2, 8)] == [3, 3, 6, 24]
    assert max_loaded(5, 8) == 5


def test_beside_others_a_load_must_fit_into_four_fifths() -> None:
    """Up to 80 % of the free memory goes in, one byte more must evict."""
    assert forecast(file_of(16)).admits
    over = forecast(replace(file_of(16), file_bytes=16 * GIB + 1))
    assert (over.fits, over.is_checked, over.admits) == (False, True, False)


@pytest.mark.parametrize(
    "words",
    [
        {"others_loaded": False},
        {"gpus": ()},
        {"wanted": shape(num_gpu=0)},
        {"wanted": shape(num_gpu=1)},
        {"wanted": shape(num_gpu=32)},
    ],
    ids=str,
)
def test_some_loads_are_never_held_up(words: dict[str, object]) -> None:
    """The first model, a host without GPUs, and a named part of the layers are not checked."""
    found = forecast(file_of(99), **words)
    assert not found.fits
    assert found.admits


def test_all_layers_by_name_are_checked_like_automatic_ones() -> None:
    """`num_gpu` of all blocks and the output is no partial offload."""
    assert not forecast(file_of(99), shape(num_gpu=33)).admits
    assert not forecast(file_of(99), shape(num_gpu=-1)).admits


@pytest.mark.parametrize(
    ("layers", "partial"), [(-1, False), (0, False), (1, True), (32, True), (33, False)]
)
def test_a_partial_offload_leaves_layers_out(layers: int, partial: bool) -> None:
    """The output layer counts as one beyond the blocks."""
    assert is_partial_offload(shape(num_gpu=layers), file_of(1)) is partial


def test_without_layers_on_the_gpu_nothing_is_placed() -> None:
    """`num_gpu` 0 goes to the CPU even where a GPU is free."""
    assert forecast(file_of(1), shape(num_gpu=0)).placement.gpus == ()


def test_the_batch_is_chosen_only_where_nobody_named_it() -> None:
    """An automatic batch grows with the context and costs its surcharge; a named one stays."""
    large = shape()
    large = replace(large, options=replace(large.options, num_ctx=65536))
    automatic = forecast(file_of(4), large)
    assert automatic.shape.options.num_batch == 2048
    assert automatic.surcharge_bytes == 2 * GIB
    assert automatic.total_bytes == automatic.predicted_bytes + 2 * GIB
    named = forecast(file_of(4), replace(large, num_batch_auto=False))
    assert (named.shape.options.num_batch, named.surcharge_bytes) == (512, 0)


def test_embedders_keep_their_batch_and_pay_nothing() -> None:
    """A model that does not generate has neither automatic batch nor surcharge."""
    found = forecast(file_of(1), shape(num_batch=2048), completes=False)
    assert (found.shape.options.num_batch, found.surcharge_bytes) == (2048, 0)


def test_slots_multiply_the_cache() -> None:
    """Four slots are predicted with four times the cells."""
    file = replace(file_of(1), head_count_max=32, embedding_length=4096)
    caches = [forecast(file, parallel=n).predicted_bytes - GIB for n in (1, 4)]
    assert caches[1] == 4 * caches[0] > 0


def reason(
    loaded: LoadShape | None = None,
    *,
    size: float = 10,
    free: int = 30,
    total: int = 32,
    mapped: int = 0,
    **words: object,
) -> str:
    file = file_of(size)
    return mmap_off_reason(
        forecast(file, loaded, **words),
        file,
        mapped_bytes=mapped * GIB,
        system_total_bytes=total * GIB,
        system_free_bytes=free * GIB,
    )


def test_mmap_stays_where_ram_is_plenty() -> None:
    """The file, what is mapped already and the headroom fit into the free RAM."""
    assert reason() == ""


def test_mmap_is_given_up_under_host_pressure() -> None:
    """Less free RAM than file, mapped models and 8 GB (or a tenth of the RAM) together."""
    assert reason(free=17) == "host memory pressure"
    assert reason(free=18) == ""
    assert reason(free=18, mapped=1) == "host memory pressure"
    assert reason(free=18, total=100) == "host memory pressure"


@pytest.mark.parametrize(
    "words",
    [{"gpus": ()}, {"loaded": shape(num_gpu=0)}, {"gpus": (replace(CARD, library="cpu"),)}],
    ids=str,
)
def test_mmap_is_given_up_on_the_cpu(words: dict[str, object]) -> None:
    """Loads without a GPU read the file into memory."""
    assert reason(**words) == "cpu"


@pytest.mark.parametrize(
    "words",
    [
        {"loaded": shape(use_mmap=True)},
        {"loaded": shape(use_mmap=False)},
        {"free": 0},
        {"size": 0},
        {"gpus": (replace(CARD, integrated=True),)},
        {"size": 17},
    ],
    ids=str,
)
def test_pressure_does_not_count_for_some_loads(words: dict[str, object]) -> None:
    """Said by the client, unknown RAM or file, shared memory, or a GPU that is tight anyway."""
    assert reason(**{"free": 1, **words}) == ""


def test_only_the_main_gpu_decides_about_shared_memory() -> None:
    """An integrated GPU beside the chosen discrete one does not matter."""
    shared = replace(CARD, id="1", integrated=True)
    assert reason(shape(main_gpu=0), free=1, gpus=(CARD, shared)) == "host memory pressure"
    assert reason(shape(main_gpu=9), free=1, gpus=(CARD, shared)) == ""


def test_headroom_is_in_decimal_gigabytes() -> None:
    """8 GB are 8e9 bytes: a little less than 7.5 GiB."""
    file = file_of(10)
    border = file.file_bytes + 8 * 1000**3
    words = {"mapped_bytes": 0, "system_total_bytes": 32 * GIB}
    found = forecast(file)
    assert mmap_off_reason(found, file, system_free_bytes=border, **words) == ""
    assert mmap_off_reason(found, file, system_free_bytes=border - 1, **words) != ""
    assert 7630 * MIB > 8 * 1000**3
