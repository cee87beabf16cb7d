"""The pieces of an estimate: cells, layers, graph, and the split over devices."""

from __future__ import annotations

from dataclasses import dataclass

from warmset.core.footprint.compute import (
    PIPELINE_COPIES,
    Graph,
    Load,
    estimate_graph,
    has_guesses,
    slot_logits,
)
from warmset.core.footprint.kvcache import (
    CachingLayers,
    Cells,
    caching_layers,
    count_cells,
    is_latent_cache,
    keeps_cache,
)
from warmset.core.footprint.overhead import unpack_bytes
from warmset.core.footprint.recurrent import count_states, state_bytes
from warmset.core.footprint.request import Request
from warmset.core.footprint.shape import Shape
from warmset.core.footprint.split import (
    FIT_MARGIN_BYTES,
    Split,
    Totals,
    Weights,
    fit_gpu_layers,
    infer_gpu_layers,
    split_layers,
)
from warmset.core.footprint.staging import has_experts_in_ram, stage_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What is loaded besides the model proper."""

    projector: int | None
    adapter: int | None
    in_file_projector: int
    draft_tokens: int
    is_integrated: bool

    @property
    def weight_bytes(self) -> int:
        """Bytes of projector and adapters, unknown ones left out."""
        return (self.projector or 0) + self.in_file_projector + (self.adapter or 0)

    @property
    def has_projector(self) -> bool:
        """Whether images or sound can be fed in."""
        return self.projector is None or self.projector + self.in_file_projector > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The pieces, before they are summed."""

    totals: Totals
    split: Split
    graph: Graph
    graph_upper: Graph  # with the widest of what is not told
    draft_graph: int
    slot_graph: int
    staging: int
    unpack: int
    is_split_inferred: bool


def measure(
    shape: Shape,
    request: Request,
    weights: Weights,
    extras: Extras,
    *,
    latent: bool | None,
    gpu_layers: int | None,
) -> Parts:
    """Returns every piece of this load.

    Args:
        shape: the model.
        request: the load, complete.
        weights: as far as known.
        extras: projector, adapters, drafting.
        latent: whether latent attention caches compressed rows; `None` by engine.
        gpu_layers: entries on GPUs; `None` for what the engine's fit finds.
    """
    engine, drafts = request.engine, extras.draft_tokens
    cells = _cells(shape, request)
    compressed = is_latent_cache(
        shape, engine, flash=request.flash, types=request.types, wanted=latent
    )
    caching = caching_layers(
        shape,
        is_cached=keeps_cache(shape, engine),
        is_latent=compressed,
        has_latent_values=not engine.drops_latent_values,
        drafts=drafts > 0,
    )
    totals = _totals(shape, request, cells, caching, drafts)
    load = Load(
        cells=cells,
        batch=request.batch,
        slots=request.slots,
        flash=request.flash,
        is_latent=compressed,
        draft_tokens=drafts,
    )
    entries = len(caching.layers) + 1
    is_pipeline = (
        request.gpus > 1
        and (gpu_layers is None or gpu_layers >= entries)
        and not has_experts_in_ram(shape, weights)
    )
    copies = PIPELINE_COPIES if is_pipeline else 1
    graph = upper = estimate_graph(shape, engine, load, copies=copies)
    if has_guesses(shape, engine, load):
        upper = estimate_graph(shape, engine, load, copies=copies, widest=True)
    inferred = False
    if gpu_layers is None:
        gpu_layers, inferred = _choose_gpu_layers(shape, request, weights, totals, graph)
    split = split_layers(totals, weights, gpu_layers, _shares(request))
    return Parts(
        totals=totals,
        split=split,
        graph=graph,
        graph_upper=upper,
        draft_graph=graph.output if drafts and shape.drafts else 0,
        slot_graph=slot_logits(shape, engine, load),
        staging=stage_bytes(shape, engine, weights, split, batch=request.batch, entries=entries),
        unpack=unpack_bytes(caching.kinds, request.types, cells, flash=request.flash),
        is_split_inferred=inferred,
    )


def _cells(shape: Shape, request: Request) -> Cells:
    return count_cells(
        shape,
        request.engine,
        context=request.total_context,
        slots=request.slots,
        batch=request.batch,
        flash=request.flash,
        unified=request.unified,
    )


def _totals(
    shape: Shape, request: Request, cells: Cells, caching: CachingLayers, drafts: int
) -> Totals:
    states = count_states(shape, request.engine, slots=request.slots, draft_tokens=drafts)
    return Totals(
        layers=caching.layers,
        cells=cells,
        types=request.types,
        states=states,
        kv_bytes=caching.rows.cache_bytes(request.types, cells),
        state_bytes=state_bytes(caching.rows.state, states),
    )


def _shares(request: Request) -> tuple[float, ...]:
    return tuple(float(free) for free in request.free_bytes) or (1.0,) * request.gpus


def _choose_gpu_layers(
    shape: Shape, request: Request, weights: Weights, totals: Totals, graph: Graph
) -> tuple[int, bool]:
    """Returns the entries on GPUs, and whether they were only read off the weights.

    Where nobody said, llama.cpp takes layers off until each device keeps its margin.
    """
    entries = len(totals.layers) + 1
    count, inferred = infer_gpu_layers(shape, weights, request.gpus, entries)
    if inferred or not request.free_bytes or not weights.can_be_fitted:
        return count, inferred
    shares, free = _shares(request), request.free_bytes

    def leaves_margin(layers: int) -> bool:
        split = split_layers(totals, weights, layers, shares)
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

    return fit_gpu_layers(count, leaves_margin), False
