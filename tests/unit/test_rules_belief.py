"""What Ollama believes to be free: runners' answers, stale values, the zero-count defect."""

from __future__ import annotations

from dataclasses import replace

from warmset.core.ollama.belief import (
    RunnerView,
    looked_up,
    refresh_free,
    runner_report,
    subtract_known,
)
from warmset.core.ollama.types import Gpu

GPUS = tuple(Gpu(library="CUDA", id=str(n), total_bytes=100, free_bytes=70) for n in range(3))
ON_FIRST = RunnerView(gpus=("CUDA:0",), bytes_by_gpu={"CUDA:0": 30}, free_at_load={"CUDA:0": 90})


def free(gpus: tuple[Gpu, ...]) -> list[int]:
    return [gpu.free_bytes for gpu in gpus]


def test_a_runner_alone_on_a_later_gpu_counts_as_nothing() -> None:
    """Filed under `CUDA:0`, looked up under its host name: not found (issue #18349)."""
    assert looked_up(GPUS[1:2], [50]) == {}
    assert looked_up(GPUS[:1], [50]) == {"CUDA:0": 50}


def test_a_runner_over_several_gpus_is_found_where_the_names_meet() -> None:
    """On the first two both are right; on the last two only the name that exists twice is."""
    assert looked_up(GPUS[:2], [50, 60]) == {"CUDA:0": 50, "CUDA:1": 60}
    assert looked_up(GPUS[1:], [50, 60]) == {"CUDA:1": 60}


def test_a_runner_reports_the_lower_of_two_accounts() -> None:
    """Total less its bytes, and what was free when it loaded less its bytes; never below 0."""
    assert runner_report(GPUS[0], ON_FIRST) == 60
    assert runner_report(GPUS[0], replace(ON_FIRST, free_at_load={})) == 70
    assert runner_report(GPUS[0], replace(ON_FIRST, bytes_by_gpu={"CUDA:0": 200})) == 0
    assert runner_report(GPUS[0], replace(ON_FIRST, free_at_load={"CUDA:0": 10})) == 0
    assert runner_report(GPUS[1], RunnerView(gpus=("CUDA:1",))) == 100


def test_the_driver_is_not_asked_while_runners_cover_every_gpu() -> None:
    """Memory that other programs take meanwhile is invisible."""
    found = refresh_free(GPUS[:1], [ON_FIRST], {"CUDA:0": 1})
    assert free(found) == [60]


def test_one_gpu_without_a_runner_asks_the_driver_for_all() -> None:
    """The driver's answers replace the runners' too; a device that is silent stays as it was."""
    assert free(refresh_free(GPUS, [ON_FIRST], {"CUDA:0": 1, "CUDA:2": 3})) == [1, 70, 3]
    assert free(refresh_free(GPUS, [], {"CUDA:9": 5})) == [70, 70, 70]
    assert refresh_free((), [ON_FIRST], {"CUDA:0": 1}) == ()


def test_a_later_runner_is_asked_only_for_a_gpu_not_yet_answered_for() -> None:
    """It then overwrites earlier answers; where nothing is left to ask, the asking ends."""
    both = RunnerView(gpus=("CUDA:0", "CUDA:1"), bytes_by_gpu={"CUDA:0": 80, "CUDA:1": 40})
    assert free(refresh_free(GPUS[:2], [ON_FIRST, both], {})) == [20, 60]
    assert free(refresh_free(GPUS[:2], [both, ON_FIRST], {})) == [20, 60]
    again = replace(ON_FIRST, bytes_by_gpu={"CUDA:0": 99})
    assert free(refresh_free(GPUS[:2], [ON_FIRST, again, both], {})) == [20, 60]


def test_runners_without_gpus_have_no_answer() -> None:
    """A runner on the CPU or on a device that is gone is skipped."""
    strangers = [RunnerView(gpus=()), RunnerView(gpus=("ROCm:0",))]
    assert free(refresh_free(GPUS[:1], strangers, {"CUDA:0": 8})) == [8]


def test_known_bytes_lower_the_free_memory_but_never_raise_it() -> None:
    """Free is at most the total less all runners' known bytes, and at least 0."""
    other = RunnerView(gpus=("CUDA:0", "CUDA:1"), bytes_by_gpu={"CUDA:0": 20, "CUDA:1": 200})
    assert free(subtract_known(GPUS, [ON_FIRST, other])) == [50, 0, 70]
    assert free(subtract_known(GPUS, iter([ON_FIRST]))) == [70, 70, 70]
