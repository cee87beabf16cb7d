"""Estimates corrected by the loads that were seen on this host.

- A shape seen before has its own measurement: the middle of what the driver showed. A lone one
  far from what was expected (a neighbour's bytes, a load not done) waits for a second.
- Others get the estimate plus the residual expected of them (`residuals`), shrunk by how little
  is known of their model, their group and this host.
- The upper bound is split-conformal: the `UPPER_QUANTILE` of past errors, each made before its
  load was learnt, in units of the deviation expected then. Until there are enough for that rank
  it is `COLD_DEVIATIONS`, or the worst error seen if that is more. It is no wider than the cold
  bound unless errors here were larger than expected.
- A new driver, engine or estimator begins a new epoch: measurements and errors of the last one
  are dropped, its residuals stay as a first guess with a newcomer's doubt.

Source: Vovk, Gammerman, Shafer 2005 (rank `ceil(q * (n + 1))` of `n` errors bounds the next one
with probability q if they are exchangeable).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from statistics import median, pvariance
from typing import Any, Final

from warmset.core.footprint.estimate import estimate_footprint
from warmset.core.footprint.observed import load_key
from warmset.core.footprint.overhead import (
    COMPUTE_UPPER_RATIO,
    CONTEXT_BYTES,
    CONTEXT_UPPER_BYTES,
)
from warmset.core.footprint.residuals import HOST, NOISE_BYTES, OUTLIER, Effect, Residuals
from warmset.core.footprint.result import DeviceShare, Footprint, Term
from warmset.core.loads import MAX_LOADS, Learnt, LoadKey, ObservedLoad
from warmset.core.model import Entry, Facts
from warmset.core.units import format_bytes

UPPER_QUANTILE: Final = 0.95
COLD_DEVIATIONS: Final = 2.0
_LEAST_DEVIATIONS: Final = 1.0


@dataclass(slots=True)
class _Epoch:
    """What one combination of engine, driver and estimator has shown."""

    seen: dict[tuple[object, ...], list[ObservedLoad]] = field(default_factory=dict)
    models: dict[str, int] = field(default_factory=dict)
    errors: dict[str, list[float]] = field(default_factory=dict)  # by how the load was known
    loads: int = 0


class Calibration:
    """What a host has taught. Values in, values out: it never changes after it is made.

    Args:
        loads: observed loads of one host, in any order.
        epoch: the engine, driver and estimator of the loads to be predicted.
    """

    def __init__(self, loads: Iterable[ObservedLoad], epoch: str) -> None:
        self._residuals = Residuals()
        self._epoch = _Epoch()
        current: str | None = None
        for load in _newest(loads):
            if current is not None and load.epoch != current:
                self._begin()
            current = load.epoch
            self._learn(load)
        if current is not None and current != epoch:
            self._begin()

    @property
    def load_count(self) -> int:
        """The loads of this epoch that were learnt from."""
        return self._epoch.loads

    def apply(self, footprint: Footprint, key: LoadKey) -> Footprint:
        """Returns the footprint as this host makes it; unchanged where nothing is known of it.

        The correction stands in the overhead of each GPU; where a GPU holds less than the exact
        parts and the compute buffer, the compute buffer gives way.
        """
        taught = self._epoch.loads > 0 and footprint.is_fully_on_gpu and footprint.devices
        own = self._own(key) if taught else []
        if not taught or (footprint.vram_bytes is None and not own):
            return footprint
        how = "seen" if own else "near" if key.model in self._epoch.models else "host"
        factor = self._factor(how)
        devices = []
        for share in footprint.devices:
            point, deviation = self._expect(share, key, own)
            margin = max(factor * deviation, NOISE_BYTES)
            if factor <= COLD_DEVIATIONS:
                margin = min(margin, _cold_margin(share))
            upper = point + margin + _structural(share)
            devices.append(_corrected(share, round(point), round(upper)))
        vram = _sum([share.vram_bytes for share in devices])
        moved = vram - (footprint.vram_bytes or 0)
        upper_bytes = _sum([share.vram_upper_bytes for share in devices])
        words = self._words(how, key, len(own))
        return replace(
            footprint,
            devices=tuple(devices),
            compute_bytes=sum(share.compute_bytes for share in devices),
            overhead_bytes=sum(share.overhead_bytes for share in devices),
            vram_bytes=vram,
            vram_upper_bytes=upper_bytes,
            basis="observed" if own else "calibrated",
            grounds=f"{footprint.grounds}; {words}",
            explain=partial(_explain, footprint, words, moved, upper_bytes - vram),
        )

    def estimator(self, entries: Iterable[Entry]) -> Callable[..., Footprint]:
        """Returns `estimate_footprint`, corrected where its facts are those of an entry.

        Facts are recognised by identity, which holds as long as the entries live.
        """
        known = {id(entry.facts): entry for entry in entries}

        def estimate(facts: Facts, **asked: Any) -> Footprint:  # noqa: ANN401 - passed through
            footprint = estimate_footprint(facts, **asked)
            entry = known.get(id(facts))
            if entry is None:
                return footprint
            architecture = str(facts.get("general.architecture"))
            return self.apply(
                footprint, load_key(footprint, model=entry.key, architecture=architecture)
            )

        return estimate

    def _begin(self) -> None:
        self._residuals.doubt()
        self._epoch = _Epoch()

    def _learn(self, load: ObservedLoad) -> None:
        key = load.key
        own = self._own(key)
        how = "seen" if own else "near" if key.model in self._epoch.models else "host"
        if load.driver_bytes:
            for gpu, shown in enumerate(load.driver_bytes):
                cold = load.exact_bytes[gpu] + load.compute_bytes[gpu] + load.overhead_bytes[gpu]
                effects = _effects(key, gpu, load.exact_bytes[gpu], load.compute_bytes[gpu])
                mean, deviation = self._residuals.predict(effects)
                point = cold + mean
                if own:
                    point, deviation = _middle(own, gpu)
                self._epoch.errors.setdefault(how, []).append((shown - point) / deviation)
                self._residuals.learn(effects, shown - cold)
            self._epoch.seen.setdefault(_shape(key), []).append(load)
        elif load.ps_bytes is not None:
            self._learn_reported(load, load.ps_bytes)
        self._epoch.models[key.model] = self._epoch.models.get(key.model, 0) + 1
        self._epoch.loads += 1

    def _learn_reported(self, load: ObservedLoad, shown: int) -> None:
        """Learns from Ollama's own sum, which has no overhead, and only upwards.

        Source: ollama-behaviour.md 1.5: `size_vram` leaves out second caches, projectors and
        drafts, so less than predicted says nothing.
        """
        exact, compute = sum(load.exact_bytes), sum(load.compute_bytes)
        effects = _effects(load.key, None, exact, compute)
        if shown > exact + compute:
            self._residuals.learn(effects, shown - exact - compute)

    def _own(self, key: LoadKey) -> list[ObservedLoad]:
        """Returns the loads of this very shape, on the same GPUs if both are known."""
        found = self._epoch.seen.get(_shape(key), [])
        here = [load for load in found if load.key.devices == key.devices]
        found = here if here or key.devices else found
        return [] if len(found) == 1 and self._is_outlier(found[0]) else found

    def _is_outlier(self, load: ObservedLoad) -> bool:
        """Returns whether what was shown lies far from what all loads together say."""
        for gpu, shown in enumerate(load.driver_bytes):
            exact, compute = load.exact_bytes[gpu], load.compute_bytes[gpu]
            mean, deviation = self._residuals.predict(_effects(load.key, gpu, exact, compute))
            if abs(shown - exact - compute - load.overhead_bytes[gpu] - mean) > OUTLIER * deviation:
                return True
        return False

    def _expect(
        self, share: DeviceShare, key: LoadKey, own: Sequence[ObservedLoad]
    ) -> tuple[float, float]:
        if own:
            return _middle(own, share.index)
        exact = (share.weights_bytes or 0) + share.kv_bytes + share.recurrent_bytes
        effects = _effects(key, share.index, exact, share.compute_bytes)
        mean, deviation = self._residuals.predict(effects)
        assert share.vram_bytes is not None  # `apply` left before
        return share.vram_bytes + mean, deviation

    def _factor(self, how: str) -> float:
        """Returns how many deviations the bound lies above the point."""
        errors = self._epoch.errors.get(how, [])
        if math.ceil(UPPER_QUANTILE * (len(errors) + 1)) > len(errors):
            errors = [error for group in self._epoch.errors.values() for error in group]
        errors = sorted(errors)
        rank = math.ceil(UPPER_QUANTILE * (len(errors) + 1))
        if rank > len(errors):
            return max(COLD_DEVIATIONS, errors[-1] if errors else 0.0)
        return max(errors[rank - 1], _LEAST_DEVIATIONS)

    def _words(self, how: str, key: LoadKey, count: int) -> str:
        if how == "seen":
            return f"measured here in this shape, {count} time{'s' * (count > 1)}"
        loads = f"{self._epoch.loads} load{'s' * (self._epoch.loads > 1)} on this host"
        of_model = self._epoch.models.get(key.model)
        return f"calibrated by {loads}" + (f", {of_model} of this model" if of_model else "")


def calibration_of(learnt: Learnt) -> Calibration:
    """Returns what a host has taught; the same answer for the same loads, since it takes time."""
    return _calibration(learnt.loads, learnt.epoch)


@lru_cache(maxsize=8)
def _calibration(loads: tuple[ObservedLoad, ...], epoch: str) -> Calibration:
    return Calibration(loads, epoch)


def _newest(loads: Iterable[ObservedLoad]) -> list[ObservedLoad]:
    return sorted(loads, key=lambda load: load.at)[-MAX_LOADS:]


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


def _effects(key: LoadKey, gpu: int | None, exact: int, compute: int) -> Mapping[Effect, float]:
    """Returns what a residual on one GPU (or, with `None`, Ollama's sum) is made of."""
    group = ("group", key.architecture, key.kv_type, str(key.flash_attention), str(key.batch))
    effects: dict[Effect, float] = {
        group: float(compute),
        ("model", key.model): float(exact + compute),
    }
    if gpu is not None:
        effects[HOST] = 1.0
        if gpu < len(key.devices):
            effects["gpu", key.devices[gpu]] = 1.0
    return effects


def _middle(own: Sequence[ObservedLoad], gpu: int) -> tuple[float, float]:
    """Returns the middle of own measurements on a GPU, and the deviation of the next one."""
    shown = [load.driver_bytes[gpu] for load in own]
    spread = pvariance(shown) if len(shown) > 1 else 0.0
    return median(shown), math.sqrt((NOISE_BYTES**2 + spread) * (1 + 1 / len(shown)))


def _structural(share: DeviceShare) -> int:
    """Returns what may yet come, whatever was measured: a projector's graph, a draft's scratch."""
    if share.vram_bytes is None or share.vram_upper_bytes is None:
        return 0
    return max(share.vram_upper_bytes - share.vram_bytes - _cold_margin(share), 0)


def _cold_margin(share: DeviceShare) -> int:
    """Returns what the cold bound allows for a driver context and a compute buffer."""
    compute = int(COMPUTE_UPPER_RATIO * share.compute_bytes) - share.compute_bytes
    return CONTEXT_UPPER_BYTES - CONTEXT_BYTES + compute


def _corrected(share: DeviceShare, point: int, upper: int) -> DeviceShare:
    exact = (share.weights_bytes or 0) + share.kv_bytes + share.recurrent_bytes
    rest = max(point - exact, 0)
    compute = min(share.compute_bytes, rest)
    return replace(
        share,
        compute_bytes=compute,
        compute_upper_bytes=max(share.compute_upper_bytes, compute),
        overhead_bytes=rest - compute,
        vram_bytes=point,
        vram_upper_bytes=max(upper, point),
    )


def _sum(values: Sequence[int | None]) -> int:
    return sum(value or 0 for value in values)


def _explain(cold: Footprint, words: str, moved: int, margin: int) -> tuple[Term, ...]:
    """Returns the terms of the cold estimate with what was learnt, and the new margin."""
    sign = "-" if moved < 0 else "+"
    source = "loads observed on this host"
    learnt = Term(
        name="learnt here",
        tier="gpu",
        size_bytes=moved,
        formula=f"{words}: {sign}{format_bytes(abs(moved))} against the cold estimate, in overhead",
        source=source,
        certainty="derived",
    )
    bound = Term(
        name="margin",
        tier="bound",
        size_bytes=margin,
        formula=f"{UPPER_QUANTILE:.0%} of past errors here, {COLD_DEVIATIONS:g} deviations before",
        source=source,
        certainty="derived",
    )
    return (*(term for term in cold.terms if term.tier != "bound"), learnt, bound)
