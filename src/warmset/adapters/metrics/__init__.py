"""What warmset tells Prometheus: the families, and one registry that holds their values."""

from warmset.adapters.metrics.families import FAMILIES, Family, Kind
from warmset.adapters.metrics.registry import Gauges, Metrics
from warmset.adapters.metrics.scrape import scrape

__all__ = ["FAMILIES", "Family", "Gauges", "Kind", "Metrics", "scrape"]
