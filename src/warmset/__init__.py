"""Warmset decides which models an Ollama host keeps warm.

The names in `__all__` are the public Python interface. Each is imported when it is first
used (PEP 562), so that `import warmset` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmset.core.footprint import Footprint, estimate_footprint
    from warmset.core.settings import Budget, ModelPolicy, Settings
    from warmset.errors import WarmsetError

__version__ = "0.1.0"

_HOMES = {
    "Budget": "warmset.core.settings",
    "Footprint": "warmset.core.footprint",
    "ModelPolicy": "warmset.core.settings",
    "Settings": "warmset.core.settings",
    "WarmsetError": "warmset.errors",
    "estimate_footprint": "warmset.core.footprint",
}

__all__ = [
    "Budget",
    "Footprint",
    "ModelPolicy",
    "Settings",
    "WarmsetError",
    "__version__",
    "estimate_footprint",
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
