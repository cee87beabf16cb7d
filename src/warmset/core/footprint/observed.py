"""From an estimate and what was measured to an observed load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from warmset.core.footprint.result import Footprint
from warmset.core.loads import LoadKey, ObservedLoad

_LEAST_SHARE: Final = 0.75
"""A complete load shows at least this share of its exact parts: a file's size counts an input
table that stays in RAM, a quarter of the smallest models (llama3.2:1b in Q4: 0.2 of 1.3 GB)."""


def load_key(
    footprint: Footprint, *, model: str, architecture: str, devices: Sequence[str] = ()
) -> LoadKey:
    """Returns the key of an estimated load."""
    return LoadKey(
        model=model,
        architecture=architecture,
        context=footprint.context,
        slots=footprint.slots,
        kv_type=footprint.kv_type,
        batch=footprint.batch,
        flash_attention=footprint.flash_attention,
        gpus=len(footprint.devices),
        devices=tuple(devices),
    )


def observe_load(
    footprint: Footprint,
    key: LoadKey,
    *,
    at: float,
    epoch: str,
    driver_bytes: Sequence[int] = (),
    ps_bytes: int | None = None,
    runner: str = "",
) -> ObservedLoad | None:
    """Returns what a load teaches, `None` where it teaches nothing.

    That is a load partly in RAM, since how many layers went there is not told; one whose weights
    were not known; one on other GPUs than estimated; one of which nothing was measured; and one
    that shows too little to be complete.

    Args:
        footprint: as estimated without calibration.
        key: of the load.
        at: Unix seconds.
        epoch: engine, driver and estimator.
        driver_bytes: of the process on each GPU, in the order of the split.
        ps_bytes: `size_vram` of `/api/ps`.
        runner: names the process.
    """
    devices = footprint.devices
    driver = tuple(driver_bytes)
    if not devices or not footprint.is_fully_on_gpu or footprint.vram_bytes is None:
        return None
    if (driver and (len(driver) != len(devices) or min(driver) <= 0)) or not (driver or ps_bytes):
        return None
    exact = tuple((d.weights_bytes or 0) + d.kv_bytes + d.recurrent_bytes for d in devices)
    if driver and sum(driver) < _LEAST_SHARE * sum(exact):
        return None
    return ObservedLoad(
        at=at,
        epoch=epoch,
        key=key,
        exact_bytes=exact,
        compute_bytes=tuple(d.compute_bytes for d in devices),
        overhead_bytes=tuple(d.overhead_bytes for d in devices),
        driver_bytes=driver,
        ps_bytes=ps_bytes,
        runner=runner,
    )
