"""Bytes a model takes once loaded, from its metadata and its load shape."""

from warmset.core.footprint.estimate import estimate_footprint
from warmset.core.footprint.result import DeviceShare, Footprint, Term

__all__ = ["DeviceShare", "Footprint", "Term", "estimate_footprint"]
