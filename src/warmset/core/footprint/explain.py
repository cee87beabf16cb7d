"""The terms of an estimate in words: formula, source, certainty."""

from __future__ import annotations

from collections.abc import Sequence

from warmset.core.footprint.kvcache import Cells
from warmset.core.footprint.request import Request
from warmset.core.footprint.result import DeviceShare, Term


def explain_terms(
    request: Request,
    cells: Cells,
    devices: Sequence[DeviceShare],
    *,
    kv: int,
    state: int,
    states: int,
    phase: str,
    host_graph: int,
) -> tuple[Term, ...]:
    """Returns the summands with their formulas, largest idea first."""
    terms = []
    weights = [device.weights_bytes for device in devices]
    if weights and None not in weights:
        terms.append(
            Term(
                name="weights",
                size_bytes=sum(w for w in weights if w is not None),
                formula="sum of tensors, each elements / block * block bytes",
                source="GGUF tensor table or given sums",
                certainty="exact",
            )
        )
    window = f", {cells.window} in sliding layers" if cells.window != cells.full else ""
    terms.append(
        Term(
            name="kv cache",
            size_bytes=kv,
            formula=f"{cells.full} cells{window} * cached elements at {request.types.name}",
            source="llama.cpp llama-kv-cache.cpp",
            certainty="exact",
        )
    )
    if state:
        terms.append(
            Term(
                name="recurrent state",
                size_bytes=state,
                formula=f"4 * state elements * {states} copies",
                source="llama.cpp llama-memory-recurrent.cpp",
                certainty="exact",
            )
        )
    terms.append(
        Term(
            name="compute buffer",
            size_bytes=sum(d.compute_bytes for d in devices) if devices else host_graph,
            formula=f"largest phase ({phase}) at batch {request.batch}",
            source="llama.cpp sched_reserve, rows checked on public logs",
            certainty="derived",
        )
    )
    if devices:
        terms.append(
            Term(
                name="process overhead",
                size_bytes=sum(d.overhead_bytes for d in devices),
                formula=f"300 MiB driver context on {len(devices)} GPU, plus an unpacked layer",
                source="driver readings of public logs",
                certainty="prior",
            )
        )
    return tuple(terms)
