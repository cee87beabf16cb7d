"""The terms of an estimate in words: formula, source, certainty."""

from __future__ import annotations

from collections.abc import Sequence

from warmset.core.footprint.request import Request
from warmset.core.footprint.result import DeviceShare, Term
from warmset.core.footprint.split import Totals


def explain_terms(
    request: Request,
    totals: Totals,
    devices: Sequence[DeviceShare],
    *,
    phase: str,
    compute: int,
) -> tuple[Term, ...]:
    """Returns the summands with their formulas."""
    cells = totals.cells
    window = f", {cells.window} in sliding layers" if cells.window != cells.full else ""
    terms = [
        Term(
            name="kv cache",
            size_bytes=totals.kv_bytes,
            formula=f"{cells.full} cells{window} * cached elements at {request.types.name}",
            source="llama.cpp llama-kv-cache.cpp",
            certainty="exact",
        ),
        Term(
            name="compute buffer",
            size_bytes=compute,
            formula=f"largest phase ({phase}) at batch {request.batch}",
            source="llama.cpp sched_reserve, rows checked on public logs",
            certainty="derived",
        ),
    ]
    if totals.state_bytes:
        terms.append(
            Term(
                name="recurrent state",
                size_bytes=totals.state_bytes,
                formula=f"4 * state elements * {totals.states} copies",
                source="llama.cpp llama-memory-recurrent.cpp",
                certainty="exact",
            )
        )
    known = [d.weights_bytes for d in devices if d.weights_bytes is not None]
    if known and len(known) == len(devices):
        terms.append(
            Term(
                name="weights",
                size_bytes=sum(known),
                formula="sum of tensors, each elements / block elements * block bytes",
                source="GGUF tensor table, or the sums given",
                certainty="exact",
            )
        )
    if devices:
        terms.append(
            Term(
                name="process overhead",
                size_bytes=sum(d.overhead_bytes for d in devices),
                formula=f"driver context on {len(devices)} GPU, f16 copy of a quantised layer",
                source="driver readings of public logs",
                certainty="prior",
            )
        )
    return tuple(terms)
