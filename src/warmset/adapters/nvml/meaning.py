"""What each NVML return code means for a person, and when to try again.

Source: devices.md section 8, row by row.
"""

from __future__ import annotations

from typing import Final

from warmset.adapters.nvml import library as nvml
from warmset.core.host.readings import Severity, Trouble
from warmset.core.model import DeviceId

RETRY_SECONDS: Final = {nvml.LIBRARY_NOT_FOUND: 300.0}
"""Pause before the next attempt to open NVML; a minute for every other failure."""

OTHER_RETRY_SECONDS: Final = 60.0

PERMISSION_HINT: Final = (
    "run as a user who may open /dev/nvidia*, or give the container this GPU (--gpus)"
)


def explain_no_session(code: int, call: str) -> Trouble:
    """Returns why NVML could not be opened at all."""
    if code == nvml.LIBRARY_NOT_FOUND:
        return Trouble(
            code="no-driver-library",
            message="no NVIDIA driver library on this machine",
            hint="fine without an NVIDIA GPU; else install the driver",
            severity=Severity.INFO,
        )
    if code == nvml.DRIVER_NOT_LOADED:
        return Trouble(
            code="driver-not-loaded",
            message="the NVIDIA driver library is here, its kernel module is not loaded",
            hint="modprobe nvidia, or look into dmesg",
        )
    if code == nvml.LIB_RM_VERSION_MISMATCH:
        return Trouble(
            code="driver-updated",
            message="the NVIDIA driver was updated under the running kernel module",
            hint="reboot, or unload and reload the nvidia modules",
            severity=Severity.ERROR,
            blocks_loads=True,
        )
    return Trouble(
        code="driver-error",
        message=f"NVML cannot be opened: {call} returned code {code}",
        hint="see whether nvidia-smi works",
        severity=Severity.ERROR,
        blocks_loads=True,
    )


def explain_device(code: int, call: str, device: DeviceId | None, name: str) -> Trouble:
    """Returns why a device, or one field of it, cannot be read."""
    if code in nvml.LOST_CODES:
        wants = "wants a reset" if code == nvml.RESET_REQUIRED else "has fallen off the bus"
        return Trouble(
            code="gpu-reset-required" if code == nvml.RESET_REQUIRED else "gpu-lost",
            message=f"{name} {wants} ({call})",
            hint="nvidia-smi --gpu-reset, or reboot; see dmesg for an Xid",
            severity=Severity.ERROR,
            device=device,
        )
    if code == nvml.NO_PERMISSION:
        return Trouble(
            code="not-permitted",
            message=f"{name}: {call} is not permitted",
            hint=PERMISSION_HINT,
            device=device,
        )
    if code == nvml.NOT_SUPPORTED:
        return Trouble(
            code="not-reported",
            message=f"{name} does not report this: {call}",
            severity=Severity.INFO,
            device=device,
        )
    if code == nvml.FUNCTION_NOT_FOUND:
        return Trouble(
            code="driver-too-old",
            message=f"{name}: this driver has no {call}",
            hint="update the NVIDIA driver to r515 or newer",
            device=device,
        )
    return Trouble(
        code="driver-error",
        message=f"{name}: {call} returned code {code}",
        severity=Severity.ERROR,
        device=device,
    )
