"""The terms of an estimate in words: formula, source, certainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from warmset.core.footprint.measure import Extras, Parts
from warmset.core.footprint.overhead import COMPUTE_UPPER_RATIO, CONTEXT_UPPER_BYTES
from warmset.core.footprint.request import Request
from warmset.core.footprint.result import Certainty, DeviceShare, Term, Tier
from warmset.core.footprint.split import Weights
from warmset.core.units import MIB

_CACHE: Final = "llama.cpp src/llama-kv-cache.cpp"
_STATE: Final = "llama.cpp src/llama-memory-recurrent.cpp"
_GRAPH: Final = "llama.cpp sched_reserve; rows checked on public logs"
_READINGS: Final = "driver readings of public logs"


def explain_terms(
    request: Request,
    weights: Weights,
    extras: Extras,
    parts: Parts,
    devices: Sequence[DeviceShare],
    *,
    host_bytes: int,
) -> tuple[Term, ...]:
    """Returns the summands with their formulas.

    Args:
        request: the load.
        weights: as far as known.
        extras: projector, adapters, drafting.
        parts: the pieces.
        devices: the sums by GPU.
        host_bytes: buffers in RAM: inputs and logits, the whole graph where no GPU is used.
    """
    terms: list[Term] = []
    split, cells, types = parts.split, parts.totals.cells, request.types.name
    _put_weights(terms, weights, extras, parts, devices)
    window = f", {cells.window} in sliding layers" if cells.window != cells.full else ""
    words = _Words(f"{cells.full} cells{window} * cached elements at {types}", _CACHE, "exact")
    _put(terms, "kv cache", sum(split.kv), words)
    _put(terms, "kv cache", split.kv_ram, words, "ram")
    words = _Words(f"4 * state elements * {parts.totals.states} copies", _STATE, "exact")
    _put(terms, "recurrent state", sum(split.state), words)
    _put(terms, "recurrent state", split.state_ram, words, "ram")
    formula = "masks and embeddings of a batch, logits of each slot"
    if devices:
        _put_gpu_buffers(terms, request, parts, devices)
        _put_margin(terms, extras, devices)
    else:
        formula = f"largest phase ({parts.graph.phase}) at batch {request.batch}, and logits"
    _put(terms, "host buffers", host_bytes, _Words(formula, _GRAPH, "derived"), "ram")
    return tuple(terms)


class _Words(NamedTuple):
    formula: str
    source: str
    certainty: Certainty


def _put_weights(
    terms: list[Term],
    weights: Weights,
    extras: Extras,
    parts: Parts,
    devices: Sequence[DeviceShare],
) -> None:
    if weights.table is not None:
        words = _Words("elements / block elements * block bytes", "GGUF tensor table", "exact")
    elif weights.file_bytes is not None:
        formula = "the file, an input table that stays in RAM included"
        words = _Words(formula, "size of the file", "derived")
    else:
        words = _Words("as given", "weights_gpu_bytes, weights_cpu_bytes", "exact")
    split = parts.split
    if devices and split.weights is not None:
        _put(terms, "weights", sum(split.weights), words)
    _put(terms, "weights", split.weights_ram, words, "ram")
    if split.weights is None and split.weights_ram is None:
        return
    tier: Tier = "gpu" if split.gpu_layers else "ram"
    projector = (extras.projector or 0) + extras.in_file_projector
    words = _Words("all of it, on the first GPU", "sizes of files and tensors", "exact")
    _put(terms, "projector", projector, words, tier)
    _put(terms, "adapters", extras.adapter, words, tier)


def _put_gpu_buffers(
    terms: list[Term], request: Request, parts: Parts, devices: Sequence[DeviceShare]
) -> None:
    count = len(devices)
    on = f" on {count} GPUs" if count > 1 else ""
    staged, unpack = parts.staging * count, parts.unpack * count
    compute = sum(d.compute_bytes for d in devices)
    graph = compute - staged - parts.draft_graph - parts.slot_graph
    formula = f"largest phase ({parts.graph.phase}) at batch {request.batch}{on}"
    _put(terms, "compute buffer", graph, _Words(formula, _GRAPH, "derived"))
    formula = "the largest weight that prefill copies over from RAM"
    _put(terms, "staged weight", staged, _Words(formula, "llama.cpp op_offload", "derived"))
    words = _Words("the graph of a second context", _GRAPH, "derived")
    _put(terms, "draft's compute", parts.draft_graph, words)
    formula = f"an output buffer of a batch for each of {request.slots - 1} further slots"
    words = _Words(formula, "readings of public logs", "derived")
    _put(terms, "slots' outputs", parts.slot_graph, words)
    formula = "f16 copy of one layer's quantised cache"
    words = _Words(formula, "ggml-cuda fattn-common.cuh", "derived")
    _put(terms, "unpacked layer", unpack, words)
    context = sum(d.overhead_bytes for d in devices) - unpack
    words = _Words(f"driver context and kernels{on}", _READINGS, "prior")
    _put(terms, "process overhead", context, words)


def _put_margin(terms: list[Term], extras: Extras, devices: Sequence[DeviceShare]) -> None:
    margin = sum((d.vram_upper_bytes or 0) - (d.vram_bytes or 0) for d in devices)
    formula = (
        f"compute x {COMPUTE_UPPER_RATIO} with the widest of what is not told,"
        f" a driver context of {CONTEXT_UPPER_BYTES // MIB} MiB"
    )
    if extras.has_projector:
        formula += ", 1 GiB for a vision graph"
    _put(terms, "margin", margin, _Words(formula, "largest such readings", "prior"), "bound")


def _put(terms: list[Term], name: str, size: int | None, words: _Words, tier: Tier = "gpu") -> None:
    if size:
        terms.append(Term(name=name, tier=tier, size_bytes=size, **words._asdict()))
