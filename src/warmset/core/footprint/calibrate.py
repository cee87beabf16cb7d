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

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from warmset.core.footprint.corrected import corrected, corrected_share, exact_bytes
from warmset.core.footprint.epoch import Epoch, Known, middle_of
from warmset.core.footprint.estimate import estimate_footprint
from warmset.core.footprint.observed import load_key
from warmset.core.footprint.residuals import HOST, OUTLIER, Effect, Residuals
from warmset.core.footprint.result import DeviceShare, Footprint
from warmset.core.loads import MAX_LOADS, Learnt, LoadKey, ObservedLoad
from warmset.core.model import Entry, Facts
from warmset.core.units import format_count


class Calibration:
    """What a host has taught. Values in, values out: it never changes after it is made.

    Args:
        loads: observed loads of one host, in any order.
        epoch: the engine, driver and estimator of the loads to be predicted.
    """

    def __init__(self, loads: Iterable[ObservedLoad], epoch: str) -> None:
        self._residuals = Residuals()
        self._epoch = Epoch()
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
        """Returns the footprint as this host makes it; unchanged where nothing is known of it."""
        taught = self._epoch.loads > 0 and footprint.is_fully_on_gpu and footprint.devices
        own = self._own(key) if taught else []
        if not taught or (footprint.vram_bytes is None and not own):
            return footprint
        how = self._known(key, own)
        deviations = self._epoch.deviations(how)
        return corrected(
            footprint,
            (
                corrected_share(share, *self._expect(share, key, own), deviations=deviations)
                for share in footprint.devices
            ),
            basis="observed" if own else "calibrated",
            words=self._words(key, own),
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
        self._epoch = Epoch()

    def _learn(self, load: ObservedLoad) -> None:
        if load.driver_bytes:
            self._learn_counted(load)
        elif load.ps_bytes is not None:
            self._learn_reported(load, load.ps_bytes)
        self._epoch.keep(load)

    def _learn_counted(self, load: ObservedLoad) -> None:
        """Learns from what the driver counted, and keeps how far off it was expected."""
        key = load.key
        own = self._own(key)
        how = self._known(key, own)
        for gpu, shown in enumerate(load.driver_bytes):
            cold = load.exact_bytes[gpu] + load.compute_bytes[gpu] + load.overhead_bytes[gpu]
            effects = _effects(key, gpu, load.exact_bytes[gpu], load.compute_bytes[gpu])
            mean, deviation = self._residuals.predict(effects)
            point = cold + mean
            if own:
                point, deviation = middle_of(own, gpu)
            self._epoch.keep_error(how, (shown - point) / deviation)
            self._residuals.learn(effects, shown - cold)

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
        """Returns the measurements of this shape; a lone one far from what all others say waits."""
        found = self._epoch.of_shape(key)
        return [] if len(found) == 1 and self._is_outlier(found[0]) else found

    def _known(self, key: LoadKey, own: Sequence[ObservedLoad]) -> Known:
        if own:
            return "seen"
        return "near" if self._epoch.of_model(key) else "host"

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
            return middle_of(own, share.index)
        effects = _effects(key, share.index, exact_bytes(share), share.compute_bytes)
        mean, deviation = self._residuals.predict(effects)
        assert share.vram_bytes is not None  # `apply` left before
        return share.vram_bytes + mean, deviation

    def _words(self, key: LoadKey, own: Sequence[ObservedLoad]) -> str:
        if own:
            return f"measured here in this shape, {format_count(len(own), 'time')}"
        words = f"calibrated by {format_count(self._epoch.loads, 'load')} on this host"
        of_model = self._epoch.of_model(key)
        return words + (f", {of_model} of this model" if of_model else "")


def calibration_of(learnt: Learnt) -> Calibration:
    """Returns what a host has taught; the same answer for the same loads, since it takes time."""
    return _calibration(learnt.loads, learnt.epoch)


@lru_cache(maxsize=8)
def _calibration(loads: tuple[ObservedLoad, ...], epoch: str) -> Calibration:
    return Calibration(loads, epoch)


def _newest(loads: Iterable[ObservedLoad]) -> list[ObservedLoad]:
    return sorted(loads, key=lambda load: load.at)[-MAX_LOADS:]


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
