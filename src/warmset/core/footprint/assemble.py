"""The pieces summed: by device, by tier, with what is not known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from warmset.core.footprint.engine import Tool
from warmset.core.footprint.explain import explain_terms
from warmset.core.footprint.measure import Extras, Parts
from warmset.core.footprint.overhead import (
    COMPUTE_UPPER_RATIO,
    CONTEXT_BYTES,
    CONTEXT_UPPER_BYTES,
    DRAFT_UPPER_BYTES,
    PROJECTOR_GRAPH_BYTES,
)
from warmset.core.footprint.request import Request
from warmset.core.footprint.result import DeviceShare, Footprint
from warmset.core.footprint.shape import Shape
from warmset.core.footprint.split import Split, Weights


def assemble(
    shape: Shape,
    request: Request,
    weights: Weights,
    extras: Extras,
    parts: Parts,
    *,
    forecast: int | None,
) -> Footprint:
    """Returns the sums of all `parts`, with `forecast` (Ollama's own) beside them."""
    split, totals = parts.split, parts.totals
    gpus = range(_gpus_touched(request, split))
    devices = tuple(_device(gpu, split, extras, parts) for gpu in gpus)
    ram, ram_weights, host = _ram(shape, request, extras, parts)
    compute = sum(device.compute_bytes for device in devices)
    if not devices:
        compute = parts.graph.output + parts.slot_graph
    return Footprint(
        weights_vram_bytes=_total([d.weights_bytes for d in devices]),
        weights_ram_bytes=ram_weights,
        kv_bytes=totals.kv_bytes,
        recurrent_bytes=totals.state_bytes,
        compute_bytes=compute,
        overhead_bytes=sum(d.overhead_bytes for d in devices),
        vram_bytes=_total([d.vram_bytes for d in devices]),
        vram_upper_bytes=_total([d.vram_upper_bytes for d in devices]),
        ram_bytes=ram,
        devices=devices,
        ollama_forecast_bytes=forecast,
        gpu_layers=split.gpu_layers,
        layer_count=len(totals.layers) + 1,
        context=request.context,
        slots=request.slots,
        batch=request.batch,
        flash_attention=request.flash,
        kv_type=request.types.name,
        is_integrated=extras.is_integrated,
        basis="estimated",
        grounds=_grounds(weights),
        unknowns=_unknowns(shape, weights, extras, parts),
        explain=partial(explain_terms, request, weights, extras, parts, devices, host_bytes=host),
    )


def _gpus_touched(request: Request, split: Split) -> int:
    """Returns the GPUs with a buffer. llama.cpp touches the first even with no layer on it."""
    if split.gpu_layers:
        return request.gpus
    return min(request.gpus, 0 if request.engine.tool is Tool.OLLAMA else 1)


def _device(gpu: int, split: Split, extras: Extras, parts: Parts) -> DeviceShare:
    is_output = gpu == max(split.output_gpu, 0)
    graph, widest = parts.graph, parts.graph_upper
    compute = (graph.output if is_output else graph.inner) + parts.staging
    if is_output:
        compute += parts.draft_graph + parts.slot_graph
    spread = widest.output - graph.output if is_output else widest.inner - graph.inner
    weights = None if split.weights is None else split.weights[gpu]
    graph_upper = 0
    if gpu == 0 and split.gpu_layers:
        weights = None if weights is None else weights + extras.weight_bytes
        graph_upper = PROJECTOR_GRAPH_BYTES if extras.has_projector else 0
    overhead = CONTEXT_BYTES + parts.unpack
    exact = split.kv[gpu] + split.state[gpu]
    # the gap that one staged weight leaves may be too small for the next
    compute_upper = int(COMPUTE_UPPER_RATIO * (compute + spread)) + parts.staging
    if is_output and parts.draft_graph:
        compute_upper += max(DRAFT_UPPER_BYTES - parts.draft_graph, 0)
    point = upper = None
    if weights is not None:
        point = weights + exact + compute + overhead
        bound = compute_upper + CONTEXT_UPPER_BYTES + parts.unpack
        upper = weights + exact + bound + graph_upper
    return DeviceShare(
        index=gpu,
        layers=split.layers[gpu],
        weights_bytes=weights,
        kv_bytes=split.kv[gpu],
        recurrent_bytes=split.state[gpu],
        compute_bytes=compute,
        compute_upper_bytes=compute_upper,
        overhead_bytes=overhead,
        vram_bytes=point,
        vram_upper_bytes=upper,
    )


def _ram(
    shape: Shape, request: Request, extras: Extras, parts: Parts
) -> tuple[int | None, int | None, int]:
    """Returns the RAM in all, the weights in it, and the buffers in it."""
    split = parts.split
    graph = parts.graph.host if split.gpu_layers else parts.graph.output + parts.slot_graph
    buffers = graph + 4 * (shape.vocabulary or 0) * request.slots
    if split.weights_ram is None:
        return None, None, buffers
    weights = split.weights_ram + (0 if split.gpu_layers else extras.weight_bytes)
    return weights + split.kv_ram + split.state_ram + buffers, weights, buffers


def _total(values: Sequence[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _grounds(weights: Weights) -> str:
    if weights.table is not None:
        return "tensor table and facts"
    if weights.file_bytes is not None:
        return "file size and facts"
    return "facts only" if weights.gpu_bytes is None else "given weights and facts"


def _unknowns(shape: Shape, weights: Weights, extras: Extras, parts: Parts) -> tuple[str, ...]:
    notes = [
        f"{key}: missing, so the compute buffer takes its usual width" for key in shape.missing
    ]
    if weights.total_bytes is None:
        notes.append("weights: neither tensors, file_bytes nor weights_gpu_bytes were given")
    elif parts.split.weights_ram is None:
        notes.append("weights in RAM: not known without a tensor table, so RAM has no sum")
    if parts.is_split_inferred:
        notes.append("gpu_layers: read off the weights that sit in RAM")
    if extras.projector is None:
        notes.append("projector_bytes: there is a projector of unknown size")
    if extras.adapter is None:
        notes.append("adapter_bytes: there is an adapter of unknown size")
    return tuple(notes)
