"""What keeping a model is worth, and who goes first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from warmset.core.policy.base import Decision, Event, Held, ModelCost, Policy, View
from warmset.core.policy.gdsf import Gdsf
from warmset.core.policy.gdsize import GdSize
from warmset.core.policy.hybrid import HybridHistogram
from warmset.core.policy.landlord import Landlord
from warmset.core.policy.lru import Lru
from warmset.core.policy.ollama import DEFAULT_LIMIT_PER_GPU, Ollama
from warmset.core.policy.ttl import Ttl
from warmset.core.policy.victims import choose_victims
from warmset.core.policy.worth import Worth
from warmset.core.units import HOUR, MINUTE

POLICIES: Final[Mapping[str, Callable[[], Policy]]] = MappingProxyType(
    {
        "worth": Worth,
        "worth-demand": lambda: Worth(preload=False),
        "worth-fill": lambda: Worth(fill=True),
        "ollama": Ollama,
        "ollama-max3": lambda: Ollama(max_loaded=DEFAULT_LIMIT_PER_GPU),
        "ollama-forever": lambda: Ollama(seconds=None),
        "ttl-10m": lambda: Ttl(10 * MINUTE),
        "ttl-30m": lambda: Ttl(30 * MINUTE),
        "ttl-1h": lambda: Ttl(HOUR),
        "lru": Lru,
        "gdsf": lambda: Gdsf(remember=False),
        "gdsf-remember": Gdsf,
        "gd-size": GdSize,
        "landlord": Landlord,
        "hybrid-histogram": HybridHistogram,
    }
)
"""The policies by the names that configuration and reports use."""

__all__ = [
    "POLICIES",
    "Decision",
    "Event",
    "Held",
    "ModelCost",
    "Policy",
    "View",
    "choose_victims",
]
