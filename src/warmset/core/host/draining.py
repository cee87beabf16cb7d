"""Bytes of runners that are gone and whose memory the driver does not show as free yet.

While they are on their way they are charged, and no second model is sent away because the bytes
of the first are late.

Source: ollama-behaviour.md 3.7: Ollama waits until three quarters are back, at most 5 s;
devices.md section 3: memory that the OS manages may stay counted much longer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from warmset.core.model import DeviceId

RETURNED_SHARE: Final = 0.75
PATIENCE_SECONDS: Final = 5.0
OS_MANAGED_PATIENCE_SECONDS: Final = 60.0
"""Our own choice: no published figure exists for NUMA-managed GPU memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """A runner that went, on one device.

    Units:
        `since` in the caller's seconds; only differences count.
    """

    device: DeviceId
    pid: int
    name: str
    used_bytes: int
    unattributed_before_bytes: int  # what nobody owned on the device while it still ran
    since: float


def draining_bytes(leaving: Iterable[Leaving], device: DeviceId, rest_bytes: int) -> int:
    """Returns how much of `rest_bytes`, which no process owns, belongs to runners that went.

    What nobody owned before they went is not theirs.

    Invariants:
        Between 0 and the smaller of `rest_bytes` and what they held.
    """
    here = [one for one in leaving if one.device == device]
    if not here:
        return 0
    expected = sum(max(0, one.used_bytes) for one in here)
    before = min(one.unattributed_before_bytes for one in here)
    return max(0, min(rest_bytes - max(0, before), expected, rest_bytes))


def keep_leaving(
    leaving: Iterable[Leaving],
    device: DeviceId,
    rest_bytes: int | None,
    *,
    now: float,
    patience_seconds: float = PATIENCE_SECONDS,
) -> tuple[Leaving, ...]:
    """Returns those on `device` that are still waited for.

    Args:
        leaving: All that are waited for so far.
        device: The device.
        rest_bytes: Bytes there that no process owns now; `None` if that cannot be read.
        now: The caller's seconds.
        patience_seconds: After this their bytes are nobody's.
    """
    here = tuple(
        one for one in leaving if one.device == device and now - one.since <= patience_seconds
    )
    if rest_bytes is None:
        return here
    expected = sum(one.used_bytes for one in here)
    left = draining_bytes(here, device, rest_bytes)
    return here if left > (1 - RETURNED_SHARE) * expected else ()
