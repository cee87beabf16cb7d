"""Loads as they were seen on one host, and the whole of them that its next estimates learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MAX_LOADS: Final = 128
"""The newest loads, from which is learnt; it bounds the time to below a second."""

START_SECONDS: Final = 1.0
"""Of a runner before the first byte is read. Source: 0.5 to 2.0 s on common hosts, as public
traces of cold starts and the planner's rule for what nobody has measured have it."""


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
class GapCounts:
    """What is known of the idle gaps of one model, by bins of age (`demand.measured`).

    Attributes:
        reached: gaps that lasted into each bin, old ones counting less.
        ended: those of them that ended in it.

    Invariants:
        Both are equally long; bins that no gap reached are left out at the end.
    """

    reached: tuple[float, ...] = ()
    ended: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.reached) == len(self.ended), self


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """All that a host has taught so far.

    Attributes:
        loads: oldest first, only of GPUs that are there now.
        epoch: of the loads that are to be predicted.
        requests_per_day: weights -> as seen over a day or more; it counts before the operator's.
        load_seconds: weights -> as measured.
        load_bytes_per_second: what files are read with here; `None`: no load told.
        gaps: weights -> its idle gaps; empty where nothing is decided by them.
    """

    loads: tuple[ObservedLoad, ...] = ()
    epoch: str = ""
    requests_per_day: Mapping[str, float] = field(default_factory=dict)
    load_seconds: Mapping[str, float] = field(default_factory=dict)
    load_bytes_per_second: float | None = None
    gaps: Mapping[str, GapCounts] = field(default_factory=dict)

    def expect_load_seconds(self, weights: str, file_bytes: int | None) -> float | None:
        """Returns what a load takes: measured, else reckoned; `None` if nothing is known."""
        measured = self.load_seconds.get(weights)
        if measured is not None:
            return measured
        if not file_bytes or not self.load_bytes_per_second:
            return None
        return START_SECONDS + file_bytes / self.load_bytes_per_second
