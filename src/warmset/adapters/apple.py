"""Apple silicon: how much of the unified memory Metal may use, by sysctl.

Metal's own number needs a framework binding; the kernel's limit, or Apple's rule for it, is close
enough to plan with and is called an estimate.
"""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from warmset.core.host.readings import GpuReading, GpuSurvey, MemoryKind
from warmset.core.model import Device, DeviceId, Quality, Reading, unknown
from warmset.core.units import GIB, MIB
from warmset.ports import HostProbe

SOURCE: Final = "sysctl"
SYSCTL_PROGRAM: Final = "/usr/sbin/sysctl"
SYSCTL_SECONDS: Final = 2.0
SMALL_MAC_BYTES: Final = 36 * GIB


class AppleProbe:
    """Reads the GPU of an Apple silicon Mac; elsewhere it finds no device.

    Args:
        host: Reads RAM, the pool that the GPU shares.
        sysctl: Returns the text of a sysctl, `None` if there is none of that name.
        is_apple_silicon: Found out if `None`.
    """

    def __init__(
        self,
        host: HostProbe | None = None,
        *,
        sysctl: Callable[[str], str | None] | None = None,
        is_apple_silicon: bool | None = None,
    ) -> None:
        self._host = host
        self._sysctl = sysctl or read_sysctl
        self._is_here = _runs_here() if is_apple_silicon is None else is_apple_silicon

    def read(self) -> tuple[Device, ...]:
        """Returns the one device, or none."""
        return tuple(reading.device for reading in self.survey().devices)

    def survey(self) -> GpuSurvey:
        """Returns the one GPU with its share of RAM. Metal tells nothing about processes."""
        if not self._is_here:
            return GpuSurvey(source=SOURCE)
        total = self._read_limit()
        reason = "Metal does not tell"
        reading = GpuReading(
            device=Device(
                id=DeviceId("Metal:0"),
                name=self._sysctl("machdep.cpu.brand_string") or "Apple GPU",
                library="Metal",
                total_bytes=total,
                free_bytes=self._read_free(total),
                index=0,
                integrated=True,
            ),
            memory_kind=MemoryKind.UNIFIED,
            used_bytes=unknown(SOURCE, reason),
            reserved_bytes=unknown(SOURCE, reason),
            processes=unknown(SOURCE, reason),
            utilization=unknown(SOURCE, reason),
        )
        return GpuSurvey(source=SOURCE, devices=(reading,))

    def _read_limit(self) -> Reading[int]:
        """Returns what Metal recommends as the most to use.

        Source: devices.md section 3: the wired limit if set, else 2/3 of RAM up to 36 GB, 3/4
        above (reported 65-84 %, so the lower end).
        """
        wired_mib = _parse(self._sysctl("iogpu.wired_limit_mb"))
        if wired_mib:
            return Reading(
                value=wired_mib * MIB, source="iogpu.wired_limit_mb", quality=Quality.ESTIMATE
            )
        ram = _parse(self._sysctl("hw.memsize"))
        if not ram:
            return unknown(SOURCE, "hw.memsize cannot be read")
        share = ram * 2 // 3 if ram <= SMALL_MAC_BYTES else ram * 3 // 4
        return Reading(value=share, source="Apple's usual share", quality=Quality.ESTIMATE)

    def _read_free(self, total: Reading[int]) -> Reading[int]:
        """Returns the lesser of the limit and RAM available: both are one pool."""
        if total.value is None:
            return total
        if self._host is None:
            return unknown(SOURCE, "the host's RAM is not read here")
        available = self._host.read().available_bytes
        if available.value is None:
            return unknown(SOURCE, available.reason)
        if available.value >= total.value:
            return total
        stale = available.quality is Quality.STALE
        return replace(available, quality=Quality.STALE if stale else Quality.ESTIMATE)


def read_sysctl(name: str) -> str | None:
    """Returns the text of a sysctl, or `None`."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program and our own names
            [SYSCTL_PROGRAM, "-n", name],
            check=False,
            capture_output=True,
            text=True,
            timeout=SYSCTL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _parse(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def _runs_here() -> bool:
    return platform.system() == "Darwin" and platform.machine() == "arm64"
