"""Warmset decides which models an Ollama host keeps warm.

The names in `__all__` are the public Python interface. Each is imported when it is first
used (PEP 562), so that `import warmset` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmset.core.control.step import step
    from warmset.core.footprint import Footprint, estimate_footprint
    from warmset.core.planner.packing import Packing, pack
    from warmset.core.policy.victims import choose_victims
    from warmset.core.settings import Budget, ModelPolicy, Settings
    from warmset.errors import WarmsetError

__version__ = "0.1.0"

_HOMES = {
    "Budget": "warmset.core.settings",
    "Footprint": "warmset.core.footprint",
    "ModelPolicy": "warmset.core.settings",
    "Packing": "warmset.core.planner.packing",
    "Settings": "warmset.core.settings",
    "WarmsetError": "warmset.errors",
    "choose_victims": "warmset.core.policy.victims",
    "estimate_footprint": "warmset.core.footprint",
    "pack": "warmset.core.planner.packing",
    "step": "warmset.core.control.step",
}

__all__ = [
    "Budget",
    "Footprint",
    "ModelPolicy",
    "Packing",
    "Settings",
    "WarmsetError",
    "__version__",
    "choose_victims",
    "estimate_footprint",
    "pack",
    "step",
]


def __getattr__(name: str) -> object:
    """Returns a public name, importing the module it lives in.

    Raises:
        AttributeError: if `name` is not public.
    """
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'warmset' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Returns the public names."""
    return sorted(__all__)
