"""Apple silicon by sysctl: a share of one pool, always an estimate."""

from __future__ import annotations

import pytest

from warmset.adapters.apple import AppleProbe
from warmset.core.model import Device, HostMemory, Quality, Reading, unknown
from warmset.core.units import GIB


class Ram:
    """A Mac with this much available."""

    def __init__(self, available: int | None) -> None:
        self.available = available

    def read(self) -> HostMemory:
        """Returns the pool."""
        free: Reading[int] = unknown("ram", "not readable")
        if self.available is not None:
            free = Reading(value=self.available, source="ram")
        return HostMemory(total_bytes=Reading(value=64 * GIB, source="ram"), available_bytes=free)


def mac(ram: int, *, wired_mib: int | None = 0, available: int | None = None) -> Device:
    """Returns the device of a Mac."""
    texts = {
        "hw.memsize": str(ram),
        "iogpu.wired_limit_mb": None if wired_mib is None else str(wired_mib),
        "machdep.cpu.brand_string": "Apple M3 Max",
    }
    probe = AppleProbe(
        Ram(ram if available is None else available), sysctl=texts.get, is_apple_silicon=True
    )
    (device,) = probe.read()
    return device


@pytest.mark.parametrize(
    ("ram", "wired_mib", "expected"),
    [
        (24 * GIB, 0, 16 * GIB),
        (36 * GIB, None, 24 * GIB),
        (64 * GIB, 0, 48 * GIB),
        (64 * GIB, 57344, 56 * GIB),
        (64 * GIB, 8192, 8 * GIB),
    ],
)
def test_limit_is_the_sysctl_else_apples_share(
    ram: int, wired_mib: int | None, expected: int
) -> None:
    """The wired limit counts both ways when set; else 2/3 or 3/4 of RAM, as an estimate."""
    device = mac(ram, wired_mib=wired_mib)
    assert device.total_bytes.value == expected
    assert device.total_bytes.quality is Quality.ESTIMATE
    assert device.integrated


def test_free_is_never_above_ram_available() -> None:
    """One pool: what RAM does not have, Metal does not have."""
    assert mac(64 * GIB, available=10 * GIB).free_bytes.value == 10 * GIB
    assert mac(64 * GIB, available=10 * GIB).free_bytes.quality is Quality.ESTIMATE
    assert mac(64 * GIB, available=60 * GIB).free_bytes.value == 48 * GIB


def test_without_a_ram_reading_nothing_is_free_for_sure() -> None:
    """Unknown RAM makes free unknown, not the limit."""
    probe = AppleProbe(Ram(None), sysctl={"hw.memsize": "1"}.get, is_apple_silicon=True)
    assert probe.read()[0].free_bytes.value is None
    alone = AppleProbe(None, sysctl={"hw.memsize": "1"}.get, is_apple_silicon=True)
    assert alone.read()[0].free_bytes.value is None


def test_unreadable_sysctl_is_unknown() -> None:
    """No number where macOS gives none."""
    probe = AppleProbe(Ram(GIB), sysctl=lambda _name: None, is_apple_silicon=True)
    assert probe.read()[0].total_bytes.value is None


def test_other_machines_have_no_apple_gpu() -> None:
    """Elsewhere the probe finds nothing and runs nothing."""
    assert AppleProbe(is_apple_silicon=False).read() == ()
