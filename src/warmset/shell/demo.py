"""The story of `warmset demo`: one demand, twice, on the same pretended host."""

from __future__ import annotations

from dataclasses import dataclass

from warmset.core.control.config import Config
from warmset.core.model import normalise_name
from warmset.core.settings import ModelPolicy, Settings
from warmset.core.twin.demand import generate_demand
from warmset.core.twin.host import HostSpec
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.twin.replay import Score, replay

PINNED_ROLES = 3
"""The first models of a host are its coder, its chat and its indexer: what people wait for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What the same requests cost under stock Ollama and under ranked keep-alives.

    `pinned` is in the order of rank, the last to be evicted first.
    """

    spec: HostSpec
    pattern: str
    hours: float
    seed: int
    pinned: tuple[str, ...]
    stock: Score
    ranked: Score

    @property
    def others(self) -> tuple[str, ...]:
        """The models whose rank is left to Ollama."""
        return tuple(m.name for m in self.spec.models if m.name not in self.pinned)


def compare(host: str, pattern: str, *, hours: float, seed: int) -> Comparison:
    """Returns the demand's cost on two copies of a named host.

    Raises:
        ConfigError: there is no such host or pattern.
    """
    spec = named_host(host)
    names = [model.name for model in spec.models]
    pinned = tuple(names[:PINNED_ROLES])
    arrivals = generate_demand(pattern, names, hours=hours, seed=seed)
    return Comparison(
        spec=spec,
        pattern=pattern,
        hours=hours,
        seed=seed,
        pinned=pinned,
        stock=replay(spec, physics_of(spec), arrivals),
        ranked=replay(spec, physics_of(spec), arrivals, _words(pinned)),
    )


def _words(pinned: tuple[str, ...]) -> Config:
    """Returns what an operator would write: these are pinned, the first is worth most."""
    models = {
        normalise_name(name): ModelPolicy(name=name, pin=True, priority=100 - 10 * place)
        for place, name in enumerate(pinned)
    }
    return Config(settings=Settings(models=models))
