"""What the operator wants of the loop: the file's words, then orders given since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from warmset.adapters.config import find_zone
from warmset.adapters.journal import Orders
from warmset.core.control.config import Config
from warmset.core.settings import ModelPolicy, Settings
from warmset.core.units import DAY
from warmset.core.windows import Span, find_spans

HORIZON_SECONDS: Final = 8 * DAY
"""A window opens once a week at the least, so the next opening is within this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """The operator's words, from all sources."""

    settings: Settings
    orders: Orders
    yielding: str = ""  # for whom; empty: for nobody

    def config(self, *, wall: float, now: float) -> Config:
        """Returns what `step` is told.

        Args:
            wall: the wall clock, in which orders are timed.
            now: `step`'s time.
        """
        current = self.orders.without_past(wall)
        holds = {name: now + until - wall for name, until in current.holds.items()}
        settings = with_orders(self.settings, current)
        openings = {
            name: tuple(
                Span(start=now + span.start - wall, end=now + span.end - wall)
                for span in open_spans(policy, wall)
            )
            for name, policy in settings.models.items()
            if policy.windows
        }
        return Config(
            settings=settings,
            holds=MappingProxyType(holds),
            openings=MappingProxyType(openings),
            yielding=self.yielding,
        )


def config_of(settings: Settings, now: float) -> Config:
    """Returns what `step` is told by the file alone: for hosts and hours that are only supposed.

    Args:
        settings: the operator's file.
        now: Unix seconds; `step`'s time too.
    """
    return Said(settings=settings, orders=Orders()).config(wall=now, now=now)


def open_spans(policy: ModelPolicy, wall: float) -> tuple[Span, ...]:
    """Returns when a model's windows are open, from now on for longer than a week.

    Units:
        Unix seconds of the wall clock.
    """
    return find_spans(policy.windows, find_zone(policy.timezone), wall, wall + HORIZON_SECONDS)


def with_orders(settings: Settings, orders: Orders) -> Settings:
    """Returns the settings in which orders count before the file.

    A model that a pin names is managed from then on, with the default priority. One that rests is
    not fetched, nor pinned meanwhile; if nobody configured it, it is only watched, as before.
    `orders` are those that have not run out.
    """
    models: dict[str, ModelPolicy] = dict(settings.models)
    for name, is_pinned in orders.pins.items():
        models[name] = replace(_policy(models, name), pin=is_pinned)
    for name in orders.rests:
        if name in models or settings.loop.manages_all:
            models[name] = replace(_policy(models, name), pin=False, preload=False)
    if models == dict(settings.models):
        return settings
    return replace(settings, models=MappingProxyType(models))


def _policy(models: Mapping[str, ModelPolicy], name: str) -> ModelPolicy:
    return models.get(name) or ModelPolicy(name=name)
