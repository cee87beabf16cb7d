"""Which GPUs the server may use, in its own order, by its environment.

Source: CUDA C++ Programming Guide, "CUDA Environment Variables": CUDA_VISIBLE_DEVICES takes
indices and beginnings of UUIDs, and whatever follows an invalid entry is not seen; indices count
the fastest first unless CUDA_DEVICE_ORDER=PCI_BUS_ID. AMD ROCm documentation, "GPU isolation
techniques": ROCR_VISIBLE_DEVICES and, among what that leaves, HIP_VISIBLE_DEVICES take the driver's
own numbers; GGML_VK_VISIBLE_DEVICES those of Vulkan. Ollama hands all of them on to what asks the
driver (ollama-behaviour section 5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from warmset.core.model import Device, unknown
from warmset.core.replacing import replace

VARIABLE: Final = "CUDA_VISIBLE_DEVICES"
IGPU_VARIABLE: Final = "OLLAMA_IGPU_ENABLE"
"""Without it Ollama leaves a GPU alone that shares RAM, CUDA's and one of ROCm's excepted. Most
processors have one. Source: devices.md section 7."""

_USED_SHARING: Final = {"CUDA": None, "Metal": None, "ROCm": "gfx1151"}
_OTHER_VARIABLES: Final = {
    "ROCm": ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL"),
    "Vulkan": ("GGML_VK_VISIBLE_DEVICES",),
}
_YES: Final = {"1", "t", "true"}
"""Source: Go `strconv.ParseBool`, in any case."""

_REASON: Final = (
    f"{VARIABLE} counts GPUs in an order that cannot be told here; set "
    "CUDA_DEVICE_ORDER=PCI_BUS_ID for the server too, or name the GPUs by UUID"
)


def visible_devices(
    devices: Sequence[Device], environment: Mapping[str, str]
) -> tuple[Device, ...]:
    """Returns the GPUs that the server sees; their memory is unknown if it cannot be told which.

    Args:
        devices: all of the machine, in the order of their PCI addresses.
        environment: the server's.
    """
    if environment.get(IGPU_VARIABLE, "").strip("\"' ").lower() not in _YES:
        devices = [device for device in devices if _is_used_unasked(device)]
    for library, names in _OTHER_VARIABLES.items():
        for name in names:
            if name in environment:
                devices = _restricted(devices, library, name, _words(environment[name]))
    text = environment.get(VARIABLE)
    ours = [device for device in devices if device.library == "CUDA"]
    others = [device for device in devices if device.library != "CUDA"]
    if text is None or not ours:
        return tuple(devices)
    words = _words(text)
    counts = any(word.isdecimal() for word in words)
    if counts and not _is_order_known(ours, environment):
        return (*(_in_doubt(device, _REASON) for device in ours), *others)
    seen: list[Device] = []
    for word in words:
        found = _find(word, ours)
        if found is None or found in seen:
            break
        seen.append(found)
    return (*seen, *others)


def _is_used_unasked(device: Device) -> bool:
    """Returns whether Ollama uses a GPU without being told to."""
    if not device.integrated:
        return True
    kind = _USED_SHARING.get(device.library, "")
    return kind is None or (kind != "" and device.compute == kind)


def _restricted(
    devices: Sequence[Device], library: str, name: str, words: Sequence[str]
) -> list[Device]:
    """Returns what a list of numbers leaves of one library's GPUs.

    Their numbers need not follow the addresses: unless it is all or none of them, it cannot be
    told which are meant.
    """
    ours = [device for device in devices if device.library == library]
    others = [device for device in devices if device.library != library]
    numbers = {int(word) for word in words if word.isdecimal()}
    if numbers >= set(range(len(ours))):
        return list(devices)
    if not numbers and all(word in ("", "-1") for word in words):
        return others
    reason = f"{name}={','.join(words)} names GPUs in an order that cannot be told here"
    return [*others, *(_in_doubt(device, reason) for device in ours)]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.strip("\"' ").split(",")]


def _is_order_known(devices: Sequence[Device], environment: Mapping[str, str]) -> bool:
    """Cards that are alike are equally fast, and then the address decides; parts have no number."""
    if any(device.id.startswith("MIG-") for device in devices):
        return False
    is_alike = len({device.name for device in devices}) == 1
    return is_alike or environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"


def _find(word: str, devices: Sequence[Device]) -> Device | None:
    if word.isdecimal():
        return devices[int(word)] if int(word) < len(devices) else None
    if not word.upper().startswith(("GPU-", "MIG-")):
        return None
    named = [device for device in devices if device.id.lower().startswith(word.lower())]
    return named[0] if len(named) == 1 else None


def _in_doubt(device: Device, reason: str) -> Device:
    source = device.free_bytes.source
    return replace(device, total_bytes=unknown(source, reason), free_bytes=unknown(source, reason))
