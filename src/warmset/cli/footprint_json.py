"""The document of `warmset footprint -o json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from warmset.shell.fitting import fits_now, tabulate

if TYPE_CHECKING:
    from warmset.core.footprint import Footprint
    from warmset.shell.estimate import Subject
    from warmset.shell.fitting import MaxContext

_FIELDS: Final = (
    "context",
    "slots",
    "batch",
    "kv_type",
    "flash_attention",
    "weights_vram_bytes",
    "weights_ram_bytes",
    "kv_bytes",
    "recurrent_bytes",
    "compute_bytes",
    "overhead_bytes",
    "vram_bytes",
    "vram_upper_bytes",
    "ram_bytes",
    "ollama_forecast_bytes",
    "gpu_layers",
    "layer_count",
    "basis",
    "grounds",
)
"""Of the footprint, as they are called there."""


def describe(
    subject: Subject,
    found: Footprint,
    largest: MaxContext | None,
    warnings: tuple[str, ...],
) -> Mapping[str, object]:
    """Returns the document of `-o json`: bytes, and where each number comes from."""
    return {
        "model": subject.entry.name,
        "key": subject.entry.key,
        "engine": subject.engine,
        "gpus": subject.gpus,
        **{name: getattr(found, name) for name in _FIELDS},
        "devices": [asdict(share) for share in found.devices],
        "facts_basis": subject.entry.basis,
        "unknowns": list(found.unknowns),
        "terms": [asdict(term) for term in found.terms],
        "fits_now": fits_now(subject, found),
        "max_context": None if largest is None else asdict(largest),
        "table": [
            {
                "context": context,
                "kv_type": kind,
                "vram_bytes": each.vram_bytes,
                "vram_upper_bytes": each.vram_upper_bytes,
                "ram_bytes": each.ram_bytes,
                "fits_now": fits_now(subject, each),
            }
            for context, row in tabulate(subject)
            for kind, each in row.items()
            if each is not None
        ],
        "warnings": list(warnings),
        "notes": list(subject.notes),
    }
