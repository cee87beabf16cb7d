"""`estimate_footprint`: bytes of a load before it happens.

    vram = weights + cache + recurrent state + compute buffer + process overhead, on each GPU

Weights, cache and state are exact once the configuration is known; the compute buffer is derived
from the graph; the overhead is a prior until the host has been watched. The upper bound adds what
we know to vary. Unknown weights leave the sums `None`: no guess is dressed as a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.footprint.compute import (
    PIPELINE_COPIES,
    Graph,
    Load,
    estimate_graph,
    slot_logits,
)
from warmset.core.footprint.engine import Tool
from warmset.core.footprint.explain import explain_terms
from warmset.core.footprint.facts import Shape, read_shape
from warmset.core.footprint.kvcache import (
    Cells,
    caching_layers,
    count_cells,
    is_latent_cache,
    keeps_cache,
)
from warmset.core.footprint.overhead import (
    COMPUTE_UPPER_RATIO,
    CONTEXT_BYTES,
    CONTEXT_UPPER_BYTES,
    PROJECTOR_GRAPH_BYTES,
    unpack_bytes,
)
from warmset.core.footprint.placement import CPU
from warmset.core.footprint.recurrent import count_states, state_bytes
from warmset.core.footprint.request import Request, check_bytes, check_whole, complete_request
from warmset.core.footprint.result import DeviceShare, Footprint
from warmset.core.footprint.split import (
    FIT_MARGIN_BYTES,
    Split,
    Weights,
    fit_gpu_layers,
    infer_gpu_layers,
    split_layers,
)
from warmset.core.footprint.staging import has_experts_in_ram, stage_bytes
from warmset.core.footprint.weights import WeightTable, read_tensors
from warmset.core.model import FactValue, Tensor
from warmset.core.ollama.predict import predict_vram
from warmset.core.ollama.types import WeightsFile
from warmset.errors import FactsError

_MAX_LAYERS: Final = 1 << 16
_MAX_DRAFT: Final = 64


def estimate_footprint(
    facts: Mapping[str, FactValue],
    *,
    weights_gpu_bytes: int | None = None,
    weights_cpu_bytes: int | None = None,
    num_ctx: int,
    num_parallel: int = 1,
    kv_type: str = "f16",
    flash_attn: bool | None = None,
    gpus: int = 1,
    device_free_bytes: int | Sequence[int] | None = None,
    gpu_layers: int | None = None,
    batch: int | None = None,
    engine: str = "ollama-0.33",
    tensors: tuple[Tensor, ...] | None = None,
    file_bytes: int | None = None,
    projector_bytes: int | None = 0,
    adapter_bytes: int | None = 0,
    integrated: bool = False,
    draft_tokens: int = 0,
    latent_cache: bool | None = None,
    unified_cache: bool | None = None,
) -> Footprint:
    """Returns the bytes that a model will hold once loaded.

    Args:
        facts: GGUF keys, with or without the architecture prefix, to values.
        weights_gpu_bytes: weights on GPUs, where the tensor table is not known.
        weights_cpu_bytes: weights in RAM, likewise.
        num_ctx: context of one slot for Ollama, `-c` (all slots) for the other engines.
        num_parallel: slots.
        kv_type: cache type such as `q8_0`, or keys and values as `q8_0/f16`.
        flash_attn: `None` for what the engine would choose.
        gpus: GPUs used; 0 for RAM only.
        device_free_bytes: free bytes, one for all GPUs or one each; enables the engine's own
            reduction of layers, and weighs the split.
        gpu_layers: blocks on GPUs, the output matrix counting as one; `None` for automatic.
        batch: physical batch; `None` for what the engine would choose.
        engine: tool and version, see `engine.parse_engine`.
        tensors: the tensor table, for exact weights.
        file_bytes: the weights file, for weights where nothing better is known.
        projector_bytes: a separate projector; `None` if there is one of unknown size.
        adapter_bytes: LoRA adapters; `None` likewise.
        integrated: the GPU shares the host's RAM, so host buffers count as its memory.
        draft_tokens: tokens drafted ahead by the model's own next-token blocks; 0 for none.
        latent_cache: whether a latent-attention model stores compressed rows; `None` by engine.
        unified_cache: one stream for all slots, else one each; `None` by engine.

    Raises:
        FactsError: unknown architecture, or a missing or impossible value. Names the key.
    """
    if not isinstance(facts, Mapping):
        raise FactsError("facts are not a mapping of GGUF keys", context={"key": "facts"})
    shape = read_shape(facts)
    table = read_tensors(tensors) if tensors else None
    weights = _known_weights(table, weights_gpu_bytes, weights_cpu_bytes, file_bytes, gpus)
    file = _file_bytes(weights, file_bytes)
    prediction = None if file is None else _as_ollama_reads(shape, file)
    request = complete_request(
        shape,
        engine=engine,
        num_ctx=num_ctx,
        num_parallel=num_parallel,
        kv_type=kv_type,
        flash_attn=flash_attn,
        gpus=gpus,
        device_free_bytes=device_free_bytes,
        batch=batch,
        unified=unified_cache,
        predicted_bytes=0 if prediction is None else predict_vram(prediction, num_ctx),
    )
    extras = Extras(
        projector=check_bytes("projector_bytes", projector_bytes),
        adapter=check_bytes("adapter_bytes", adapter_bytes),
        in_file_projector=table.projector if table else 0,
        draft_tokens=check_whole("draft_tokens", draft_tokens, 0, _MAX_DRAFT),
        integrated=bool(integrated),
    )
    if gpu_layers is not None:
        gpu_layers = check_whole("gpu_layers", gpu_layers, 0, _MAX_LAYERS)
    parts = _measure(shape, request, weights, extras, latent=latent_cache, gpu_layers=gpu_layers)
    forecast = None if prediction is None else predict_vram(prediction, request.total_context)
    return _assemble(shape, request, weights, extras, parts, forecast=forecast)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What is loaded besides the model proper."""

    projector: int | None
    adapter: int | None
    in_file_projector: int
    draft_tokens: int
    integrated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The pieces measured, before they are summed."""

    cells: Cells
    states: int
    kv: int
    state: int
    split: Split
    graph: Graph
    draft_graph: int
    slot_graph: int
    staging: int
    unpack: int
    is_layers_inferred: bool


def _as_ollama_reads(shape: Shape, file: int) -> WeightsFile:
    return WeightsFile(
        file_bytes=file,
        block_count=len(shape.layers) + len(shape.drafts),
        head_count_max=shape.heads or 1,
        head_count_kv_min=shape.kv_heads_min,
        embedding_length=shape.embedding,
    )


def _known_weights(
    table: WeightTable | None, gpu: int | None, cpu: int | None, file: int | None, gpus: int
) -> Weights:
    gpu = check_bytes("weights_gpu_bytes", gpu)
    cpu = check_bytes("weights_cpu_bytes", cpu)
    file = check_bytes("file_bytes", file)
    if gpu is not None or cpu is not None:
        return Weights(table=None, gpu_bytes=gpu, cpu_bytes=cpu)
    if table is None and file is not None:
        return Weights(table=None, gpu_bytes=file if gpus else 0, cpu_bytes=None if gpus else file)
    return Weights(table=table, gpu_bytes=None, cpu_bytes=None)


def _file_bytes(weights: Weights, file: int | None) -> int | None:
    """Returns the size of the weights file as far as known, for Ollama's forecast."""
    if file is not None:
        return file
    if weights.table is not None:
        return weights.table.file_bytes
    if weights.gpu_bytes is None:
        return None
    return weights.gpu_bytes + (weights.cpu_bytes or 0)


def _measure(
    shape: Shape,
    request: Request,
    weights: Weights,
    extras: Extras,
    *,
    latent: bool | None,
    gpu_layers: int | None,
) -> Parts:
    engine, drafts = request.engine, extras.draft_tokens
    cells = count_cells(
        shape,
        engine,
        context=request.total_context,
        slots=request.slots,
        batch=request.batch,
        flash=request.flash,
        unified=request.unified,
    )
    compressed = is_latent_cache(
        shape, engine, flash=request.flash, types=request.types, wanted=latent
    )
    caching = caching_layers(
        shape, is_cached=keeps_cache(shape, engine), is_latent=compressed, drafts=drafts > 0
    )
    layers, rows = caching.layers, caching.rows
    states = count_states(shape, engine, slots=request.slots, draft_tokens=drafts)
    kv, state = rows.cache_bytes(request.types, cells), state_bytes(rows.state, states)
    load = Load(
        cells=cells,
        batch=request.batch,
        slots=request.slots,
        flash=request.flash,
        is_latent=compressed,
        draft_tokens=drafts,
    )
    entries = len(layers) + 1
    is_pipeline = (
        request.gpus > 1
        and (gpu_layers is None or gpu_layers >= entries)
        and not has_experts_in_ram(shape, weights)
    )
    graph = estimate_graph(shape, engine, load, copies=PIPELINE_COPIES if is_pipeline else 1)
    slot_graph = slot_logits(shape, engine, load)
    shares = tuple(float(b) for b in request.free_bytes) or (1.0,) * request.gpus

    def split_at(count: int) -> Split:
        return split_layers(
            layers=layers,
            weights=weights,
            kv_total=kv,
            state_total=state,
            cells=cells,
            types=request.types,
            states=states,
            gpu_layers=count,
            shares=shares,
        )

    inferred = False
    if gpu_layers is None:
        count, inferred = infer_gpu_layers(shape, weights, request.gpus, entries)
        if weights.table is not None and request.free_bytes and count == entries:
            count = fit_gpu_layers(
                entries, lambda n: _leaves_margin(split_at(n), graph, request.free_bytes)
            )
    else:
        count = gpu_layers
    split = split_at(count)
    return Parts(
        cells=cells,
        states=states,
        kv=kv,
        state=state,
        split=split,
        graph=graph,
        draft_graph=graph.output if drafts and shape.drafts else 0,
        slot_graph=slot_graph,
        staging=stage_bytes(shape, engine, weights, split, batch=request.batch, entries=entries),
        unpack=unpack_bytes(shape, request.types, cells, flash=request.flash),
        is_layers_inferred=inferred,
    )


def _leaves_margin(split: Split, graph: Graph, free: tuple[int, ...]) -> bool:
    """Returns whether llama.cpp's fit would accept this split."""
    assert split.weights is not None
    return all(
        split.weights[gpu]
        + split.kv[gpu]
        + split.state[gpu]
        + (graph.output if gpu == split.output_gpu else graph.inner)
        + FIT_MARGIN_BYTES
        <= free[gpu]
        for gpu in range(len(free))
    )


def _assemble(
    shape: Shape,
    request: Request,
    weights: Weights,
    extras: Extras,
    parts: Parts,
    *,
    forecast: int | None,
) -> Footprint:
    split = parts.split
    devices = tuple(
        _device(gpu, split, extras, parts) for gpu in range(_gpus_touched(request, split))
    )
    ram, ram_weights = _ram(shape, request, extras, parts)
    on_gpu = bool(devices)
    host_graph = parts.graph.output + parts.slot_graph
    unknowns = _unknowns(shape, weights, extras, parts, request)
    vram = _total([d.vram_bytes for d in devices])
    return Footprint(
        weights_vram_bytes=_total([d.weights_bytes for d in devices]),
        weights_ram_bytes=ram_weights,
        kv_bytes=parts.kv,
        recurrent_bytes=parts.state,
        compute_bytes=sum(d.compute_bytes for d in devices) if on_gpu else host_graph,
        overhead_bytes=sum(d.overhead_bytes for d in devices),
        vram_bytes=vram,
        vram_upper_bytes=_total([d.vram_upper_bytes for d in devices]),
        ram_bytes=ram,
        devices=devices,
        ollama_forecast_bytes=forecast,
        gpu_layers=split.gpu_layers,
        layer_count=len(shape.layers) + len(shape.drafts) + 1,
        context=request.context,
        slots=request.slots,
        batch=request.batch,
        flash_attention=request.flash,
        kv_type=request.types.name,
        basis=_basis(weights),
        unknowns=unknowns,
        terms=explain_terms(
            request,
            parts.cells,
            devices,
            kv=parts.kv,
            state=parts.state,
            states=parts.states,
            phase=parts.graph.phase,
            host_graph=host_graph,
        ),
    )


def _gpus_touched(request: Request, split: Split) -> int:
    """Returns the GPUs with a buffer. llama.cpp touches the first even with no layer on it."""
    if split.gpu_layers:
        return request.gpus
    return min(request.gpus, 0 if request.engine.tool is Tool.OLLAMA else 1)


def _device(gpu: int, split: Split, extras: Extras, parts: Parts) -> DeviceShare:
    is_output = gpu == max(split.output_gpu, 0)
    graph = parts.graph.output if is_output else parts.graph.inner
    compute = graph + parts.staging
    if is_output:
        compute += parts.draft_graph + parts.slot_graph
    weights = None if split.weights is None else split.weights[gpu]
    graph_upper = 0
    if gpu == 0 and split.gpu_layers:
        added = (extras.projector or 0) + extras.in_file_projector + (extras.adapter or 0)
        weights = None if weights is None else weights + added
        has_projector = extras.projector is None or extras.projector + extras.in_file_projector
        graph_upper = PROJECTOR_GRAPH_BYTES if has_projector else 0
    overhead = CONTEXT_BYTES + parts.unpack
    exact = split.kv[gpu] + split.state[gpu]
    compute_upper = int(COMPUTE_UPPER_RATIO * compute)
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
) -> tuple[int | None, int | None]:
    """Returns the RAM in all, and the weights in it."""
    split = parts.split
    weights = split.weights_ram
    if split.output_gpu == CPU and weights is not None:
        weights += (extras.projector or 0) + extras.in_file_projector + (extras.adapter or 0)
    if weights is None:
        return None, None
    graph = parts.graph.host if split.gpu_layers else parts.graph.output + parts.slot_graph
    logits = 4 * (shape.vocabulary or 0) * request.slots
    return weights + split.kv_ram + split.state_ram + graph + logits, weights


def _total(values: list[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _basis(weights: Weights) -> str:
    if weights.table is not None:
        return "tensor table and facts"
    if weights.gpu_bytes is not None:
        return "given weights and facts"
    return "facts only"


def _unknowns(
    shape: Shape, weights: Weights, extras: Extras, parts: Parts, request: Request
) -> tuple[str, ...]:
    notes = [
        f"{key}: missing, so the compute buffer takes its usual width" for key in shape.missing
    ]
    if weights.table is None and weights.gpu_bytes is None:
        notes.append("weights: neither tensors, file_bytes nor weights_gpu_bytes were given")
    elif weights.table is None and weights.cpu_bytes is None and request.gpus:
        notes.append("weights_cpu_bytes: not given, so RAM has no sum")
    if parts.is_layers_inferred:
        notes.append("gpu_layers: read off the weights that sit in RAM")
    if extras.projector is None:
        notes.append("projector_bytes: there is a projector of unknown size")
    if extras.adapter is None:
        notes.append("adapter_bytes: there is an adapter of unknown size")
    return tuple(notes)
