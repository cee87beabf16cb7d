"""What the operator wants of the loop: the file's words, then orders given since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from warmset.adapters.journal import Orders
from warmset.core.control.config import Config, LoopSettings
from warmset.core.settings import ModelPolicy, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The operator's words, from all sources."""

    settings: Settings
    loop: LoopSettings
    orders: Orders

    def config(self, *, wall: float, now: float) -> Config:
        """Returns what `step` is told.

        Args:
            wall: the wall clock, in which orders are timed.
            now: `step`'s time.
        """
        current = self.orders.without_past(wall)
        holds = {name: now + until - wall for name, until in current.holds.items()}
        return Config(
            settings=with_orders(self.settings, current),
            loop=self.loop,
            holds=MappingProxyType(holds),
        )


def with_orders(settings: Settings, orders: Orders) -> Settings:
    """Returns the settings in which orders count before the file.

    A model that only an order names is managed from then on, with the default priority. `orders`
    are those that have not run out.
    """
    models: dict[str, ModelPolicy] = dict(settings.models)
    for name, is_pinned in orders.pins.items():
        models[name] = replace(_policy(models, name), pin=is_pinned)
    for name in orders.rests:
        models[name] = replace(_policy(models, name), preload=False)
    if models == dict(settings.models):
        return settings
    return replace(settings, models=MappingProxyType(models))


def _policy(models: Mapping[str, ModelPolicy], name: str) -> ModelPolicy:
    return models.get(name) or ModelPolicy(name=name)
