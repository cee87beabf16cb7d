"""Layers to devices: how many go to GPUs, and the bytes each device gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from warmset.core.footprint.kvcache import CacheTypes, Cells
from warmset.core.footprint.placement import CPU, assign_layers, sum_by_device
from warmset.core.footprint.recurrent import state_bytes
from warmset.core.footprint.shape import LayerCache, Shape
from warmset.core.footprint.weights import WeightTable
from warmset.core.units import GIB

FIT_MARGIN_BYTES: Final = 1 * GIB
"""What llama.cpp's fit keeps free on each device. Source: `LLAMA_ARG_FIT_TARGET`, 1024 MiB."""


_F16: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """The weights as far as known: a table, or sums by tier, or the size of the file."""

    table: WeightTable | None = None
    gpu_bytes: int | None = None
    cpu_bytes: int | None = None
    file_bytes: int | None = None

    @property
    def total_bytes(self) -> int | None:
        """The size of the weights file, as far as known."""
        if self.table is not None:
            return self.table.file_bytes
        if self.gpu_bytes is not None:
            return self.gpu_bytes + (self.cpu_bytes or 0)
        return self.file_bytes

    @property
    def can_be_fitted(self) -> bool:
        """Whether bytes follow layers: sums by tier say what is, not what would be."""
        return self.table is not None or self.file_bytes is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """What the layers cache, in all."""

    layers: tuple[LayerCache, ...]
    cells: Cells
    types: CacheTypes
    states: int
    kv_bytes: int
    state_bytes: int


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
    totals: Totals, weights: Weights, gpu_layers: int, shares: tuple[float, ...]
) -> Split:
    """Returns what each device holds with `gpu_layers` entries on GPUs.

    With one GPU and every layer on it the totals are taken as they are.
    """
    layers = totals.layers
    gpus, entries = len(shares), len(layers) + 1
    on_gpu = min(gpu_layers, entries) if gpus else 0
    if on_gpu == 0 or (gpus == 1 and on_gpu == entries):
        return _whole(totals, weights, on_gpu, gpus)
    devices = assign_layers(len(layers), on_gpu, shares)
    caches = [_layer_cache(layer, totals) for layer in layers]
    states = [state_bytes(layer.state, totals.states) for layer in layers]
    kv, kv_ram = sum_by_device(caches, devices, gpus)
    state, state_ram = sum_by_device(states, devices, gpus)
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


def _whole(totals: Totals, weights: Weights, on_gpu: int, gpus: int) -> Split:
    """Returns the split where one device has everything."""
    gpu, ram = _whole_weights(weights, on_gpu)
    kv, state = totals.kv_bytes, totals.state_bytes
    none = (0,) * gpus
    return Split(
        gpu_layers=on_gpu,
        layers=(on_gpu,) * gpus,
        output_gpu=0 if on_gpu else CPU,
        weights=((gpu,) if on_gpu else none) if gpu is not None else None,
        weights_ram=ram,
        kv=(kv,) if on_gpu else none,
        kv_ram=0 if on_gpu else kv,
        state=(state,) if on_gpu else none,
        state_ram=0 if on_gpu else state,
    )


def _whole_weights(weights: Weights, on_gpu: int) -> tuple[int | None, int | None]:
    table = weights.table
    if table is not None and on_gpu:
        return sum(table.blocks) + table.output + table.other, table.embedding
    if table is not None:
        return 0, table.file_bytes - table.projector
    if weights.file_bytes is not None:
        # whether the input table is tied is not known: the GPU may get the whole file
        return (weights.file_bytes, None) if on_gpu else (0, weights.file_bytes)
    if not on_gpu and weights.gpu_bytes is None:
        return 0, weights.cpu_bytes
    return weights.gpu_bytes, weights.cpu_bytes


def _layer_cache(layer: LayerCache, totals: Totals) -> int:
    count = totals.cells.window if layer.slides else totals.cells.full
    return count * (layer.key * totals.types.key + layer.value * totals.types.value) // 32


def _split_weights(
    weights: Weights, devices: tuple[int, ...], gpus: int, on_gpu: int
) -> tuple[tuple[int, ...] | None, int | None]:
    """Returns the weights of each GPU and of RAM; without a table every layer weighs the same."""
    if weights.table is not None:
        return _split_table(weights.table, devices, gpus)
    gpu_bytes, in_ram = weights.gpu_bytes, weights.cpu_bytes
    if weights.file_bytes is not None:
        gpu_bytes = weights.file_bytes * on_gpu // len(devices)
        in_ram = weights.file_bytes - gpu_bytes
    if gpu_bytes is None:
        return None, in_ram
    even = [gpu_bytes * devices.count(gpu) // on_gpu for gpu in range(gpus)]
    even[-1] += gpu_bytes - sum(even)
    return tuple(even), in_ram


def _split_table(
    table: WeightTable, devices: tuple[int, ...], gpus: int
) -> tuple[tuple[int, ...], int]:
    blocks = len(devices) - 1
    absent = (0,) * (blocks - len(table.blocks))
    by_gpu, in_ram = sum_by_device(
        (*table.blocks[:blocks], *absent, table.output + table.other), devices, gpus
    )
    return by_gpu, in_ram + table.embedding


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
