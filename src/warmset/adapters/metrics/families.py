"""Every metric by name: what it counts, in which unit, with which labels.

Rules: base units, the unit last in the name, `_total` on counters, and a sum over all labels that
means something. `model` is a configured name or `other`, `gpu` a short UUID, all else a word of
ours, so no label grows with use. What is not known has no series; it is never zero.

Source: Prometheus documentation, "Metric and label naming".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """How a family's values move."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric.

    Attributes:
        name: without the prefix `warmset_`.
        buckets: upper bounds of a histogram.
    """

    name: str
    help: str
    kind: Kind = Kind.GAUGE
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """The name that Prometheus sees."""
        return f"warmset_{self.name}"


def _gauge(name: str, text: str, *labels: str) -> Family:
    return Family(name=name, help=text, labels=labels)


def _counter(name: str, text: str, *labels: str) -> Family:
    return Family(name=name, help=text, labels=labels, kind=Kind.COUNTER)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Family:
    return Family(name=name, help=text, labels=labels, kind=Kind.HISTOGRAM, buckets=buckets)


LOAD_BUCKETS: Final = (0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 60.0, 120.0, 300.0)
STEP_BUCKETS: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)

FAMILIES: Final = (
    _gauge("build_info", "The version of warmset; always 1.", "version"),
    _gauge("ollama_info", "The version of the Ollama server; always 1.", "version"),
    _gauge("ollama_up", "Whether Ollama told what is resident at the last look."),
    _gauge("device_memory_total_bytes", "Memory of a GPU.", "gpu"),
    _gauge("device_memory_used_bytes", "Memory that the driver counts as taken.", "gpu"),
    _gauge("device_models_bytes", "Memory held by this Ollama's models.", "gpu"),
    _gauge("device_foreign_bytes", "Memory held by other programs.", "gpu"),
    _gauge("device_draining_bytes", "Memory of unloaded models that is not free yet.", "gpu"),
    _gauge("device_unattributed_bytes", "Taken memory that no process owns.", "gpu"),
    _gauge("device_budget_bytes", "Memory that models may fill.", "gpu"),
    _gauge("device_headroom_bytes", "What may still be filled; below 0 over the budget.", "gpu"),
    _gauge("host_memory_total_bytes", "RAM that the server may use."),
    _gauge("host_memory_available_bytes", "RAM that is available to it."),
    _gauge("model_resident", "How many models of this name are resident.", "model"),
    _gauge(
        "model_pinned", "Whether the model is pinned or held now; not outside its windows.", "model"
    ),
    _gauge("model_wanted", "Whether the model belongs to the warm set.", "model"),
    _gauge("model_rank", "Place among the ranked models; 1 is kept longest.", "model"),
    _gauge("model_keep_alive_seconds", "Keep-alive in force, as far as known.", "model"),
    _gauge("model_footprint_bytes", "Bytes held, as observed.", "model", "tier"),
    _gauge("model_footprint_estimate_bytes", "Bytes expected from metadata.", "model", "tier"),
    _gauge(
        "model_footprint_error_ratio", "Estimated over observed VRAM, less 1; last known.", "model"
    ),
    _gauge("model_load_error_ratio", "Predicted over actual load time, less 1; last own.", "model"),
    _gauge("drift_actions", "Steps between what is resident and what is wanted."),
    _gauge("alarms", "Alarms that stand.", "code"),
    _gauge("wedge_suspected", "Whether Ollama's loading seems stuck: a load waits, none runs."),
    _gauge("last_success_timestamp_seconds", "When a step last had an answer from Ollama."),
    _counter("cold_starts_total", "Loads that a client had to wait for.", "model"),
    _counter("warm_hits_total", "Uses of a resident model, one at most in a look.", "model"),
    _counter("loads_total", "Models that became resident.", "model", "by"),
    _histogram(
        "load_duration_seconds",
        "Seconds of a load; those of clients end at the first look that lists the model.",
        LOAD_BUCKETS,
        "model",
        "by",
    ),
    _counter("evictions_total", "Models that left.", "model", "reason"),
    _counter(
        "eviction_cost_seconds_total",
        "Seconds that clients waited for a model to come back, by why it had left.",
        "model",
        "reason",
    ),
    _counter("thrash_reloads_total", "Loads soon after the same model had left.", "model"),
    _counter("preloads_total", "Preloads by warmset.", "model", "outcome"),
    _counter("preloads_wasted_total", "Preloaded models that left unused.", "model"),
    _counter("notifications_total", "Alarms for the webhook.", "outcome"),
    _counter("reconcile_total", "Steps of the loop.", "result"),
    _histogram("reconcile_duration_seconds", "Seconds of one look and decision.", STEP_BUCKETS),
)
