"""What estimates miss on one host, learnt load by load.

A residual (bytes shown less bytes predicted) is taken as a sum of effects:

    host + GPU + group ratio * compute buffer + model ratio * the model's bytes + noise

Each effect is zero until loads say otherwise, and its prior spread says how far one load moves it:
Bayesian linear regression, so near shapes get a shrunken share of what was seen, and the spread
of a prediction falls with evidence.

Source:
    The recursive form is the Kalman filter of constant effects (Kalman 1960). The spreads are
    those of the footprint rows: process overhead 140 to 550 MiB around its prior of 300, compute
    buffers within 10 %, exact parts within 1.5 %; noise is an allocator's slack.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from warmset.core.units import MIB

NOISE_BYTES: Final = 16.0 * MIB
HOST: Final = ("host",)
SPREADS: Final[Mapping[str, float]] = {
    "host": 120.0 * MIB,
    "gpu": 40.0 * MIB,
    "group": 0.10,
    "model": 0.015,
}
OUTLIER: Final = 4.0
"""Deviations beyond which a reading is taken to be of something else."""
_EDGE: Final = 2.5
"""Deviations that one reading may move the effects by. Source: Huber 1964, a bounded score; with a
bound of 2.5 little is lost where all readings are sound."""

Effect = tuple[str, ...]
"""Its kind, then what it belongs to."""

Weights = Mapping[Effect, float]
"""How much of each effect a residual has in it."""


@dataclass(slots=True)
class Residuals:
    """The effects as far as known: their means and covariances."""

    _means: dict[Effect, float] = field(default_factory=dict)
    _spread: dict[Effect, dict[Effect, float]] = field(default_factory=dict)

    def predict(self, weights: Weights) -> tuple[float, float]:
        """Returns the expected residual and its standard deviation, noise included."""
        mean = sum(self._means.get(effect, 0.0) * share for effect, share in weights.items())
        return mean, self._variance(weights) ** 0.5

    def learn(self, weights: Weights, residual: float) -> None:
        """Takes in one residual; one far outside of what was expected counts as at its edge."""
        mean, deviation = self.predict(weights)
        edge = _EDGE * deviation
        surprise = min(max(residual - mean, -edge), edge)
        for effect in weights:
            if effect not in self._spread:
                self._means[effect] = 0.0
                self._spread[effect] = {effect: SPREADS[effect[0]] ** 2}
        gains = self._covariances(weights)
        variance = deviation**2
        for effect, gain in gains.items():
            self._means[effect] += gain / variance * surprise
            row = self._spread[effect]
            for other, second in gains.items():
                row[other] = row.get(other, 0.0) - gain * second / variance

    def doubt(self) -> None:
        """Keeps what was learnt as a first guess, as uncertain as if nothing had been seen."""
        self._spread = {effect: {effect: SPREADS[effect[0]] ** 2} for effect in self._spread}

    def _covariances(self, weights: Weights) -> dict[Effect, float]:
        """Returns each effect's covariance with the residual, where there is any."""
        found: dict[Effect, float] = {}
        for effect, share in weights.items():
            for other, value in self._spread.get(effect, {}).items():
                found[other] = found.get(other, 0.0) + share * value
        return found

    def _variance(self, weights: Weights) -> float:
        known = self._covariances(weights)
        total = NOISE_BYTES**2
        for effect, share in weights.items():
            if effect in self._spread:
                total += share * known[effect]
            else:
                total += (share * SPREADS[effect[0]]) ** 2
        return max(total, NOISE_BYTES**2)
