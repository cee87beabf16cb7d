"""Models that are not on the host yet: names, manifests, and headers read before any download."""

from warmset.adapters.registry.cache import RegistryCache
from warmset.adapters.registry.lookup import RemoteModel, find_link, find_model
from warmset.adapters.registry.ranged import RangedFile
from warmset.adapters.registry.reference import Reference, is_link, parse_reference
from warmset.adapters.registry.web import Web

__all__ = [
    "RangedFile",
    "Reference",
    "RegistryCache",
    "RemoteModel",
    "Web",
    "find_link",
    "find_model",
    "is_link",
    "parse_reference",
]
