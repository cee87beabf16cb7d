"""Where Ollama puts a load, and what it counts as available there."""

from __future__ import annotations

from dataclasses import replace

from warmset.core.ollama.placement import Available, Placement, available_for, select_placement
from warmset.core.ollama.types import Gpu
from warmset.core.units import GIB


def gpu(name: str, free: int, *, integrated: bool = False) -> Gpu:
    library, _, number = name.partition(":")
    total = max(free, 24) * GIB
    return Gpu(
        library=library,
        id=number,
        total_bytes=total,
        free_bytes=free * GIB,
        integrated=integrated,
    )


def placed(*gpus: Gpu, need: int = 8, **words: object) -> tuple[list[str], int | None]:
    placement = select_placement(gpus, predicted_bytes=need * GIB, **words)
    return [g.device for g in placement.gpus], placement.main_gpu


A, B, C, D = gpu("CUDA:0", 10), gpu("CUDA:1", 20), gpu("CUDA:2", 15), gpu("ROCm:0", 22)


def test_no_or_one_gpu_is_passed_through() -> None:
    """With nothing to choose, nothing is chosen, and `main_gpu` stays as said."""
    assert placed() == ([], None)
    assert placed(A, need=99) == (["CUDA:0"], None)
    assert placed(A, main_gpu=3) == (["CUDA:0"], 3)


def test_a_single_gpu_with_the_most_free_is_taken_if_it_holds_the_model() -> None:
    """Of all GPUs of all backends where 80 % suffice, the most free one, alone."""
    assert placed(A, B, C) == (["CUDA:1"], 0)
    assert placed(A, B, C, D) == (["ROCm:0"], 0)


def test_exactly_four_fifths_still_fit() -> None:
    """The border belongs to the single GPU."""
    assert placed(A, C, need=12) == (["CUDA:2"], 0)
    assert placed(A, C, need=13) == (["CUDA:0", "CUDA:2"], None)


def test_else_all_gpus_of_the_best_backend() -> None:
    """There is no "two of three", and backends are never mixed."""
    assert placed(A, B, C, D, need=30) == (["CUDA:0", "CUDA:1", "CUDA:2"], None)
    assert placed(A, D, need=30) == (["ROCm:0"], None)


def test_spreading_takes_the_whole_group_even_for_a_small_model() -> None:
    """OLLAMA_SCHED_SPREAD skips the single GPU."""
    assert placed(A, B, spread=True, need=1) == (["CUDA:0", "CUDA:1"], None)


def test_a_prediction_of_nothing_takes_the_group() -> None:
    """Where the file's size is not known no single GPU is chosen."""
    assert placed(A, B, need=0) == (["CUDA:0", "CUDA:1"], None)


def test_discrete_comes_before_integrated_whatever_is_free() -> None:
    """An integrated GPU with more memory loses, alone and as a group."""
    shared = gpu("Vulkan:0", 90, integrated=True)
    assert placed(shared, A, need=5) == (["CUDA:0"], 0)
    assert placed(shared, A, need=50) == (["Vulkan:0"], 0)
    assert placed(shared, A, need=85) == (["CUDA:0"], None)


def test_system_memory_limits_integrated_gpus() -> None:
    """An integrated GPU counts for no more than the RAM that is free."""
    shared = (gpu("CUDA:0", 60, integrated=True), gpu("CUDA:1", 50, integrated=True))
    assert placed(*shared, need=45)[0] == ["CUDA:0"]
    assert placed(*shared, need=45, system_free_bytes=40 * GIB)[0] == ["CUDA:0", "CUDA:1"]


def test_the_first_of_equals_is_taken() -> None:
    """Ties go to the GPU that comes first."""
    assert placed(gpu("CUDA:0", 20), gpu("CUDA:1", 20)) == (["CUDA:0"], 0)


def test_main_gpu_is_an_index_inside_each_backend() -> None:
    """The best of the backends' GPUs at that index is used alone, whether or not it fits."""
    assert placed(A, B, D, main_gpu=0, need=99) == (["ROCm:0"], 0)
    assert placed(A, B, D, main_gpu=1) == (["CUDA:1"], 0)


def test_a_main_gpu_that_no_backend_has_is_passed_on_with_the_group() -> None:
    """Too large or negative: the best group, and the number as it was said."""
    assert placed(A, B, D, main_gpu=7) == (["CUDA:0", "CUDA:1"], 7)
    assert placed(A, B, D, main_gpu=-1) == (["CUDA:0", "CUDA:1"], -1)


def test_no_layers_on_the_gpu_choose_nothing() -> None:
    """With num_gpu 0 the list is passed through."""
    assert placed(A, B, num_gpu=0) == (["CUDA:0", "CUDA:1"], None)


def test_available_is_the_main_gpus_or_the_sum_of_all() -> None:
    """A placement with a main GPU counts on that one only."""
    assert available_for(Placement(gpus=(A, B))).available_bytes == 30 * GIB
    assert available_for(Placement(gpus=(A, B), main_gpu=1)).available_bytes == 20 * GIB
    assert available_for(Placement(gpus=(A, B), main_gpu=9)).available_bytes == 30 * GIB
    assert available_for(Placement(gpus=())) == Available(available_bytes=0, gpu_free_bytes=0)


def test_shared_memory_is_limited_by_the_system_and_discrete_memory_is_not() -> None:
    """Integrated GPUs together count for the free RAM at most, beside all discrete memory."""
    shared = replace(C, integrated=True)
    found = available_for(Placement(gpus=(A, shared)), 4 * GIB)
    assert found == Available(
        available_bytes=14 * GIB, gpu_free_bytes=25 * GIB, is_system_limited=True
    )
    alone = available_for(Placement(gpus=(shared,), main_gpu=0), 4 * GIB)
    assert (alone.available_bytes, alone.is_system_limited) == (4 * GIB, True)
    assert not available_for(Placement(gpus=(A,), main_gpu=0), 4 * GIB).is_system_limited
