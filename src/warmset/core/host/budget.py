"""How much of a reading may be promised to a new load.

Rule: nothing is promised from a guess. Unknown and stale readings promise nothing.
"""

from __future__ import annotations

from typing import Final

from warmset.core.host.readings import STALE_AFTER_SECONDS
from warmset.core.model import HostMemory, Quality, Reading, unknown
from warmset.core.units import GIB, MIB

MARGINS: Final = {
    Quality.EXACT: (3, 512 * MIB),
    Quality.ESTIMATE: (10, 1 * GIB),
}
"""Percent and floor held back by quality, the larger counts. Source: devices.md section 8."""


def promise_bytes(free: Reading[int], *, reserve_bytes: int = 0) -> int:
    """Returns the bytes of `free` that a load may count on, 0 if none.

    Invariants:
        Never negative, whatever the reading; 0 for unknown, stale or aged readings.
    """
    margin = MARGINS.get(free.quality)
    if free.value is None or margin is None or free.age_seconds > STALE_AFTER_SECONDS:
        return 0
    percent, floor = margin
    held_back = max(free.value * percent // 100, floor) + max(0, reserve_bytes)
    return max(0, free.value - held_back)


def if_fresh(reading: Reading[int]) -> Reading[int]:
    """Returns a reading that may be acted on, or `unknown` in place of one that is too old.

    Source: devices.md section 8: with memory that is stale for more than 10 s nothing is moved.
    """
    if reading.value is None or reading.age_seconds <= STALE_AFTER_SECONDS:
        return reading
    reason = reading.reason or "it does not answer"
    return unknown(reading.source, f"last read over {STALE_AFTER_SECONDS:.0f} s ago ({reason})")


def charge_mapped_weights(memory: HostMemory, mapped_bytes: int) -> Reading[int]:
    """Returns RAM available once the weights of CPU models are charged to it.

    Mapped GGUF pages are page cache, which the kernel counts as available although a CPU model
    needs them hot. The reading becomes an estimate, and never falls below zero.

    Source: devices.md section 5.
    """
    available = memory.available_bytes
    if available.value is None or mapped_bytes <= 0:
        return available
    quality = Quality.STALE if available.quality is Quality.STALE else Quality.ESTIMATE
    return Reading(
        value=max(0, available.value - mapped_bytes),
        source=f"{available.source}, less mapped weights",
        quality=quality,
        age_seconds=available.age_seconds,
        reason=available.reason,
    )
