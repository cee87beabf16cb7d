"""Which of a machine's GPUs the server uses, by the environment that it was started in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from warmset.core.host.visible import visible_devices
from warmset.core.model import Device, DeviceId, Reading
from warmset.core.units import GIB


def card(number: int, name: str = "NVIDIA RTX 4090", library: str = "CUDA") -> Device:
    """Returns a GPU; UUIDs differ in their last digits only."""
    memory = Reading(value=24 * GIB, source="nvml")
    return Device(
        id=DeviceId(f"GPU-aaaa000{number}"),
        name=name,
        library=library,
        total_bytes=memory,
        free_bytes=memory,
        index=number,
    )


TWO = (card(0), card(1))


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("0,1", [0, 1]),
        ("1,0", [1, 0]),
        ("1", [1]),
        (" GPU-aaaa0001 , 0", [1, 0]),
        ("gpu-AAAA0001", [1]),
        ("-1", []),
        ("", []),
        ("0,-1,1", [0]),
        ("0,7", [0]),
        ("1,1", [1]),
        ("GPU-aaaa", []),  # the beginning of both
        ("GPU-bbbb,0", []),
        ("none", []),
    ],
)
def test_what_the_variable_names_is_seen_in_its_order(said: str, seen: list[int]) -> None:
    """Indices and beginnings of UUIDs; what follows an entry that is none is not seen."""
    found = visible_devices(TWO, {"CUDA_VISIBLE_DEVICES": said})
    assert [device.index for device in found] == seen


def test_without_the_variable_all_are_seen() -> None:
    """Nor do GPUs of other makers follow it."""
    radeon = card(2, library="ROCm")
    assert visible_devices((*TWO, radeon), {}) == (*TWO, radeon)
    assert visible_devices((*TWO, radeon), {"CUDA_VISIBLE_DEVICES": "-1"}) == (radeon,)
    assert visible_devices((radeon,), {"CUDA_VISIBLE_DEVICES": "0"}) == (radeon,)


def test_an_integrated_gpu_of_the_processor_is_left_alone_unless_ollama_is_told_otherwise() -> None:
    """Its memory is not known, and must not make all of a machine unknown."""
    inner = replace(card(2, "Intel GPU 46a6", library="Vulkan"), integrated=True)
    assert visible_devices((*TWO, inner), {}) == TWO
    assert visible_devices((*TWO, inner), {"OLLAMA_IGPU_ENABLE": "1"}) == (*TWO, inner)
    assert visible_devices((*TWO, inner), {"OLLAMA_IGPU_ENABLE": "false"}) == TWO
    box = replace(card(0, "NVIDIA GB10"), integrated=True)
    assert visible_devices((box,), {}) == (box,)


def test_of_amds_integrated_gpus_ollama_uses_one_kind() -> None:
    """A desktop's processor has a GPU, too: no place for models beside the card."""
    inner = replace(card(2, "AMD GPU 164e", library="ROCm"), integrated=True, compute="gfx1036")
    assert visible_devices((*TWO, inner), {}) == TWO
    assert visible_devices((*TWO, inner), {"OLLAMA_IGPU_ENABLE": "1"}) == (*TWO, inner)
    assert visible_devices((*TWO, replace(inner, compute="")), {}) == TWO
    halo = replace(inner, compute="gfx1151")
    assert visible_devices((halo,), {}) == (halo,)


RADEONS = (card(0, "AMD GPU 744c", "ROCm"), card(1, "AMD GPU 744c", "ROCm"))


@pytest.mark.parametrize(
    ("said", "seen", "is_known"),
    [
        ({"HIP_VISIBLE_DEVICES": "1,0"}, [0, 1], True),
        ({"HIP_VISIBLE_DEVICES": "-1"}, [], True),
        ({"ROCR_VISIBLE_DEVICES": ""}, [], True),
        ({"HIP_VISIBLE_DEVICES": "1"}, [0, 1], False),
        ({"ROCR_VISIBLE_DEVICES": "GPU-9d3a", "HIP_VISIBLE_DEVICES": "0"}, [0, 1], False),
        ({"GGML_VK_VISIBLE_DEVICES": "1"}, [0, 1], True),
        ({"CUDA_VISIBLE_DEVICES": "1"}, [0, 1], True),
    ],
)
def test_other_makers_variables_hide_all_none_or_nobody_knows_which(
    said: dict[str, str], seen: list[int], is_known: bool
) -> None:
    """Their numbers follow no order that can be read here: memory is then unknown, not guessed."""
    found = visible_devices(RADEONS, said)
    assert [device.index for device in found] == seen
    for device in found:
        assert (device.free_bytes.value is not None) == is_known
        if not is_known:
            assert "VISIBLE_DEVICES=" in device.free_bytes.reason


def test_an_order_that_cannot_be_told_makes_unknown_and_no_guess() -> None:
    """Of unlike cards the fastest is the first, and which that is the driver does not say."""
    mixed = (card(0, "NVIDIA RTX 3060"), card(1))
    said = {"CUDA_VISIBLE_DEVICES": "0"}
    found = visible_devices(mixed, said)
    assert [device.free_bytes.value for device in found] == [None, None]
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in found[0].free_bytes.reason
    assert visible_devices(mixed, said | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}) == mixed[:1]
    by_name = {"CUDA_VISIBLE_DEVICES": "GPU-aaaa0001"}
    assert visible_devices(mixed, by_name) == mixed[1:]


def test_parts_of_a_card_are_seen_by_their_name_only() -> None:
    """A number means a whole card."""
    part = replace(card(0), id=DeviceId("MIG-aaaa0007"))
    assert visible_devices((part,), {"CUDA_VISIBLE_DEVICES": "MIG-aaaa0007"}) == (part,)
    (found,) = visible_devices((part,), {"CUDA_VISIBLE_DEVICES": "0"})
    assert found.free_bytes.value is None
