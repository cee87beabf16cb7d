"""Layers to devices: how many go to GPUs, and the bytes each device gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from warmset.core.footprint.facts import LayerCache, Shape
from warmset.core.footprint.kvcache import CacheTypes, Cells
from warmset.core.footprint.placement import CPU, assign_layers, sum_by_device
from warmset.core.footprint.recurrent import state_bytes
from warmset.core.footprint.weights import WeightTable
from warmset.core.units import GIB

FIT_MARGIN_BYTES: Final = 1 * GIB
"""What llama.cpp's fit keeps free on each device. Source: `LLAMA_ARG_FIT_TARGET`, 1024 MiB."""


_F16: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The weights as far as known: a table, or two sums."""

    table: WeightTable | None
    gpu_bytes: int | None
    cpu_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Bytes by device. Index `i` of a tuple is GPU `i`; `ram` parts stay in RAM."""

    gpu_layers: int
    layers: tuple[int, ...]
    output_gpu: int  # CPU where the output matrix stays in RAM
    weights: tuple[int, ...] | None
    weights_ram: int | None
    kv: tuple[int, ...]
    kv_ram: int
    state: tuple[int, ...]
    state_ram: int


def split_layers(
    *,
    layers: tuple[LayerCache, ...],
    weights: Weights,
    kv_total: int,
    state_total: int,
    cells: Cells,
    types: CacheTypes,
    states: int,
    gpu_layers: int,
    shares: tuple[float, ...],
) -> Split:
    """Returns what each device holds with `gpu_layers` entries on GPUs.

    With one GPU and every layer on it the totals are taken as they are.
    """
    gpus, entries = len(shares), len(layers) + 1
    on_gpu = min(gpu_layers, entries) if gpus else 0
    if on_gpu == 0 or (gpus == 1 and on_gpu == entries):
        return _whole(weights, kv_total, state_total, on_gpu, gpus)
    devices = assign_layers(len(layers), on_gpu, shares)
    kv, kv_ram = sum_by_device(
        [_layer_cache(layer, cells, types) for layer in layers], devices, gpus
    )
    state, state_ram = sum_by_device(
        [state_bytes(layer.state, states) for layer in layers], devices, gpus
    )
    by_gpu, in_ram = _split_weights(weights, devices, gpus, on_gpu)
    return Split(
        gpu_layers=on_gpu,
        layers=tuple(devices.count(gpu) for gpu in range(gpus)),
        output_gpu=devices[-1],
        weights=by_gpu,
        weights_ram=in_ram,
        kv=kv,
        kv_ram=kv_ram,
        state=state,
        state_ram=state_ram,
    )


def _whole(weights: Weights, kv: int, state: int, on_gpu: int, gpus: int) -> Split:
    gpu_bytes, cpu_bytes = weights.gpu_bytes, weights.cpu_bytes
    table = weights.table
    if table is not None and on_gpu:
        gpu_bytes, cpu_bytes = sum(table.blocks) + table.output + table.other, table.embedding
    elif table is not None:
        gpu_bytes, cpu_bytes = 0, table.file_bytes - table.projector
    none = (0,) * gpus
    return Split(
        gpu_layers=on_gpu,
        layers=(on_gpu,) * gpus,
        output_gpu=0 if on_gpu else CPU,
        weights=None if gpu_bytes is None else ((gpu_bytes,) if on_gpu else none),
        weights_ram=cpu_bytes,
        kv=(kv,) if on_gpu else none,
        kv_ram=0 if on_gpu else kv,
        state=(state,) if on_gpu else none,
        state_ram=0 if on_gpu else state,
    )


def _layer_cache(layer: LayerCache, cells: Cells, types: CacheTypes) -> int:
    count = cells.window if layer.slides else cells.full
    return count * (layer.key * types.key + layer.value * types.value) // 32


def _split_weights(
    weights: Weights, devices: tuple[int, ...], gpus: int, on_gpu: int
) -> tuple[tuple[int, ...] | None, int | None]:
    table = weights.table
    if table is not None:
        blocks = len(devices) - 1
        sizes = [*table.blocks[:blocks], *([0] * (blocks - len(table.blocks))), table.output]
        by_gpu, in_ram = sum_by_device(sizes, devices, gpus)
        placed = list(by_gpu)
        if devices[-1] != CPU:
            placed[devices[-1]] += table.other
        if devices[-1] == CPU:
            in_ram += table.other - table.tied_bytes
        return tuple(placed), in_ram + table.embedding
    if weights.gpu_bytes is None:
        return None, weights.cpu_bytes
    counts = [devices.count(gpu) for gpu in range(gpus)]
    even = [weights.gpu_bytes * count // on_gpu for count in counts]
    even[-1] += weights.gpu_bytes - sum(even)
    return tuple(even), weights.cpu_bytes


def infer_gpu_layers(shape: Shape, weights: Weights, gpus: int, entries: int) -> tuple[int, bool]:
    """Returns how many entries sit on GPUs, and whether that was read off the weights.

    Experts may sit in RAM while every layer is on the GPU, so a mixture tells nothing. For the
    others more RAM than an input table can fill means layers stayed there.
    """
    if gpus == 0 or weights.gpu_bytes == 0:
        return 0, weights.gpu_bytes == 0 and gpus > 0
    gpu, cpu = weights.gpu_bytes, weights.cpu_bytes
    if gpu is None or not cpu or shape.experts or weights.table is not None:
        return entries, False
    if not shape.vocabulary or cpu <= _F16 * shape.vocabulary * shape.embedding:
        return entries, False
    ratio = gpu / (gpu + cpu)
    return max(1, round(entries * ratio)), True


def fit_gpu_layers(entries: int, fits: Callable[[int], bool]) -> int:
    """Returns the most entries for which `fits` holds; `fits` must be monotone."""
    if fits(entries):
        return entries
    low, high = 0, entries
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
