"""Loads as they were seen on one host, and the whole of them that its next estimates learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

MAX_LOADS: Final = 128
"""The newest loads, from which is learnt; it bounds the time to below a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadKey:
    """What decides the bytes of a load on one host.

    Attributes:
        model: digest of the weights.
        devices: GPUs by id, in the order of the split; empty where only their number is known.
    """

    model: str
    architecture: str
    context: int
    slots: int
    kv_type: str
    batch: int
    flash_attention: bool
    gpus: int
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedLoad:
    """One load, complete on GPUs, with the parts that were predicted for it.

    Attributes:
        epoch: engine, driver and estimator; what one taught is only a first guess in another.
        exact_bytes: weights, cache and state of each GPU; `compute_bytes`, `overhead_bytes`
            likewise, as predicted without calibration.
        driver_bytes: of the process on each GPU; empty where the driver told none.
        ps_bytes: `size_vram` of `/api/ps`.
        runner: the process, which tells one load from another; empty where it cannot be seen.

    Units:
        `at` is Unix seconds.

    Invariants:
        The tuples have one entry for each GPU.
    """

    at: float
    epoch: str
    key: LoadKey
    exact_bytes: tuple[int, ...]
    compute_bytes: tuple[int, ...]
    overhead_bytes: tuple[int, ...]
    driver_bytes: tuple[int, ...] = ()
    ps_bytes: int | None = None
    runner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """All that a host has taught so far.

    Attributes:
        loads: oldest first, only of GPUs that are there now.
        epoch: of the loads that are to be predicted.
    """

    loads: tuple[ObservedLoad, ...] = ()
    epoch: str = ""
