"""What the loads of one epoch showed, and how far off each was when it came.

An epoch is one combination of engine, driver and estimator: its measurements say nothing of
another one's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median, pvariance
from typing import Final, Literal

from warmset.core.footprint.residuals import NOISE_BYTES
from warmset.core.loads import LoadKey, ObservedLoad

Known = Literal["seen", "near", "host"]
"""How a load is known: its shape was seen, its model was, or others on this host were."""

UPPER_QUANTILE: Final = 0.95
"""The share of loads that shall stay below the upper bound. Our choice."""

COLD_DEVIATIONS: Final = 2.0
"""The bound, in deviations, until there are errors enough: of a normal law 97.7 % lie below."""

_LEAST_DEVIATIONS: Final = 1.0


@dataclass(slots=True)
class Epoch:
    """Loads by shape and by model, and errors in units of the deviation expected then."""

    loads: int = 0
    _seen: dict[tuple[object, ...], list[ObservedLoad]] = field(default_factory=dict)
    _models: dict[str, int] = field(default_factory=dict)
    _errors: dict[Known, list[float]] = field(default_factory=dict)

    def keep(self, load: ObservedLoad) -> None:
        """Adds a load; only one that the driver counted is a measurement of its shape."""
        if load.driver_bytes:
            self._seen.setdefault(_shape(load.key), []).append(load)
        self._models[load.key.model] = self._models.get(load.key.model, 0) + 1
        self.loads += 1

    def keep_error(self, how: Known, deviations: float) -> None:
        """Adds how far above its point a load was that was known in this way."""
        self._errors.setdefault(how, []).append(deviations)

    def of_shape(self, key: LoadKey) -> list[ObservedLoad]:
        """Returns the loads of this very shape, on the same GPUs if both are known."""
        found = self._seen.get(_shape(key), [])
        here = [load for load in found if load.key.devices == key.devices]
        return here if here or key.devices else found

    def of_model(self, key: LoadKey) -> int:
        """Returns how many loads of its model there were."""
        return self._models.get(key.model, 0)

    def deviations(self, how: Known) -> float:
        """Returns how many deviations the upper bound lies above the point."""
        errors = self._errors.get(how, [])
        if _rank(errors) > len(errors):
            errors = [error for group in self._errors.values() for error in group]
        errors = sorted(errors)
        rank = _rank(errors)
        if rank > len(errors):
            return max(COLD_DEVIATIONS, errors[-1] if errors else 0.0)
        return max(errors[rank - 1], _LEAST_DEVIATIONS)


def middle_of(own: Sequence[ObservedLoad], gpu: int) -> tuple[float, float]:
    """Returns the middle of measurements on a GPU, and the deviation of the next. Units: bytes."""
    shown = [load.driver_bytes[gpu] for load in own]
    spread = pvariance(shown) if len(shown) > 1 else 0.0
    return median(shown), math.sqrt((NOISE_BYTES**2 + spread) * (1 + 1 / len(shown)))


def _rank(errors: Sequence[float]) -> int:
    """Source: Vovk, Gammerman, Shafer 2005; see `calibrate`."""
    return math.ceil(UPPER_QUANTILE * (len(errors) + 1))


def _shape(key: LoadKey) -> tuple[object, ...]:
    return (
        key.model,
        key.context,
        key.slots,
        key.kv_type,
        key.batch,
        key.flash_attention,
        key.gpus,
    )
