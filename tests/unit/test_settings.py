"""Budgets of GPUs and policies of models, as values."""

import pytest

from warmset.core.model import Device, DeviceId, Reading
from warmset.core.settings import (
    Budget,
    GpuBudget,
    ModelPolicy,
    Settings,
    normalise_gpu,
)
from warmset.core.units import GIB


def gpu(name: str, index: int, pci_id: str = "") -> Device:
    total = Reading(value=24 * GIB, source="test")
    return Device(
        id=DeviceId(name),
        name="A GPU",
        library="CUDA",
        total_bytes=total,
        free_bytes=total,
        index=index,
        pci_id=pci_id,
    )


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        (GpuBudget(), 23 * GIB),
        (GpuBudget(vram_reserve_bytes=0), 24 * GIB),
        (GpuBudget(vram_limit_ratio=0.5), 12 * GIB),
        (GpuBudget(vram_limit_ratio=1.0, vram_reserve_bytes=4 * GIB), 20 * GIB),
        (GpuBudget(vram_limit_bytes=10 * GIB), 10 * GIB),
        (GpuBudget(vram_limit_bytes=80 * GIB), 23 * GIB),
        (GpuBudget(vram_reserve_bytes=99 * GIB), 0),
    ],
)
def test_limit_and_reserve_both_hold(budget: GpuBudget, expected: int) -> None:
    """The budget is the smaller of the limit and what the reserve leaves, and never negative."""
    assert budget.bytes_of(24 * GIB) == expected


def test_a_gpu_has_one_kind_of_limit() -> None:
    """A share and a size at once would leave open which of them counts."""
    with pytest.raises(AssertionError):
        GpuBudget(vram_limit_ratio=0.5, vram_limit_bytes=GIB)


def test_the_best_name_of_a_gpu_counts() -> None:
    """UUID before PCI address before index; other GPUs have the common budget."""
    by = [GpuBudget(vram_reserve_bytes=n) for n in (1, 2, 3, 4)]
    budget = Budget(default=by[0], gpus={"gpu-a": by[1], "0000:01:00.0": by[2], "0": by[3]})
    assert budget.of("GPU-A", index=0, pci_id="00000000:01:00.0") is by[1]
    assert budget.of("GPU-B", index=0, pci_id="00000000:01:00.0") is by[2]
    assert budget.of("GPU-B", index=0) is by[3]
    assert budget.of("GPU-B", index=1) is by[0]
    assert budget.budget_bytes("GPU-B", 0, 100) == 96


def test_overrides_that_name_no_gpu_are_found() -> None:
    """A mistyped UUID would otherwise do nothing, silently."""
    budget = Budget(gpus={"gpu-a": GpuBudget(), "gpu-x": GpuBudget(), "1": GpuBudget()})
    devices = (gpu("GPU-A", 0), gpu("GPU-B", 1))
    assert budget.strangers(devices) == ("gpu-x",)
    assert budget.strangers(()) == ("gpu-a", "gpu-x", "1")


@pytest.mark.parametrize(
    ("name", "normal"),
    [
        ("GPU-ABC", "gpu-abc"),
        (" 01 ", "1"),
        ("00000000:0A:00.0", "0000:0a:00.0"),
        ("0000:0A:00.0", "0000:0a:00.0"),
        ("CUDA:0", "cuda:0"),
    ],
)
def test_gpu_names_have_one_form(name: str, normal: str) -> None:
    """However a tool writes it, a GPU is found."""
    assert normalise_gpu(name) == normal


def test_a_model_without_a_section_has_the_default_policy() -> None:
    """It is named after its entry, and may be fetched and may go."""
    assert Settings().policy_for(("b:1", "a:1")) == ModelPolicy(name="b:1")


def test_of_several_names_the_pin_counts_then_the_priority() -> None:
    """One set of weights under two names is wanted if it is wanted under either."""
    models = {
        "a:latest": ModelPolicy(name="A", priority=90),
        "b:latest": ModelPolicy(name="b", priority=10, pin=True),
        "c:latest": ModelPolicy(name="c", priority=95),
    }
    settings = Settings(models=models)
    assert settings.policy_for(("A", "b", "c")).name == "b"
    assert settings.policy_for(("c", "a", "other")).name == "c"
