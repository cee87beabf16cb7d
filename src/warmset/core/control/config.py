"""What a decision is told: the operator's settings and the orders given since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from warmset.core.loop_settings import LoopSettings
from warmset.core.model import normalise_name
from warmset.core.settings import Settings
from warmset.core.windows import Span, find_open


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a decision may depend on that is not read from the host.

    Attributes:
        holds: name -> until when a model is kept as if it were pinned (`warmset hold`).
        yielding: for whom every configured model makes way now; empty: for nobody.
        openings: name -> when its windows are open, for some days from now.

    Units:
        `holds` and `openings` in the Unix seconds of `step`'s `now`.

    Invariants:
        Keys of `holds` and `openings` are normalised names; each model with windows is among
        `openings`.
    """

    settings: Settings = field(default_factory=Settings)
    holds: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    yielding: str = ""
    openings: Mapping[str, tuple[Span, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        windowed = {name for name, policy in self.settings.models.items() if policy.windows}
        assert windowed <= set(self.openings), windowed - set(self.openings)

    @property
    def loop(self) -> LoopSettings:
        """How often to look and how much may be done."""
        return self.settings.loop

    def is_held(self, names: tuple[str, ...], now: float) -> bool:
        """Returns whether a model is held under any of its names."""
        holds = self.holds
        return bool(holds) and any(holds.get(normalise_name(name), now) > now for name in names)

    def is_pinned(self, names: tuple[str, ...], now: float) -> bool:
        """Returns whether a model is to be resident at this moment, whatever its rank."""
        if self.is_held(names, now):
            return True
        policy = self.settings.policy_for(names)
        if not policy.pin or self.yielding:
            return False
        spans = self.openings.get(normalise_name(policy.name), ())
        return not policy.windows or find_open(spans, now) is not None

    def is_managed(self, names: tuple[str, ...], now: float) -> bool:
        """Returns whether anybody configured the model: all others are only watched."""
        if self.loop.manages_all:
            return True
        models = self.settings.models
        for name in names:  # asked for every model at every look
            if normalise_name(name) in models:
                return True
        return self.is_held(names, now)
