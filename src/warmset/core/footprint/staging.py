"""Room on the GPU for weights that live in RAM: prefill copies them over, one at a time.

Source: llama.cpp `op_offload` (on by default): from 32 tokens on, a matrix product whose weights
are in RAM runs on the GPU, with a copy of the weights in the compute buffer. Checked on public
logs: a 13B in Q8_0 with no layer on the GPU reserves its output matrix and the logits.
"""

from __future__ import annotations

from typing import Final

from warmset.core.footprint.engine import Engine, Tool
from warmset.core.footprint.shape import Shape
from warmset.core.footprint.split import Split, Weights

_F16: Final = 2.0
_MIN_BATCH: Final = 32


def stage_bytes(
    shape: Shape, engine: Engine, weights: Weights, split: Split, *, batch: int, entries: int
) -> int:
    """Returns the bytes of the largest weight that prefill copies to a GPU; 0 for none."""
    if batch < _MIN_BATCH or (shape.experts and engine.is_fork):
        return 0  # the fork copies experts only for far larger batches
    if split.gpu_layers == 0:
        return 0 if engine.tool is Tool.OLLAMA else _output_matrix(shape, weights)
    if split.gpu_layers < entries:
        return _block_matrix(shape, weights)
    return _block_matrix(shape, weights) if has_experts_in_ram(shape, weights) else 0


def has_experts_in_ram(shape: Shape, weights: Weights) -> bool:
    """Returns whether RAM holds more than an input table can be, though all layers are on GPUs."""
    if not shape.experts or not shape.vocabulary or weights.cpu_bytes is None:
        return False
    return weights.cpu_bytes > _F16 * shape.vocabulary * shape.embedding


def _output_matrix(shape: Shape, weights: Weights) -> int:
    if weights.table is not None:
        return max(weights.table.matrix, weights.table.largest)
    elements = (shape.vocabulary or 0) * shape.embedding
    return int(max(elements, _block_elements(shape)) * _bytes_per_weight(shape, weights))


def _block_matrix(shape: Shape, weights: Weights) -> int:
    if weights.table is not None:
        return weights.table.largest
    return int(_block_elements(shape) * _bytes_per_weight(shape, weights))


def _block_elements(shape: Shape) -> int:
    """Returns the elements of the largest matrix of a block: one projection of all experts."""
    width = shape.feed_forward or 0
    if shape.experts:
        width = max(width, shape.experts * (shape.expert_feed_forward or 0))
    return shape.embedding * width


def _bytes_per_weight(shape: Shape, weights: Weights) -> float:
    """Returns the mean storage of a weight: the sum over the parameters counted from facts.

    Mapped spans in RAM overlap with the GPU's share, so the mean is cut at f16.
    """
    total = weights.total_bytes or 0
    attention = sum(layer.key + layer.value for layer in shape.layers)
    attention += 2 * len(shape.layers) * shape.heads * shape.head_length
    parameters = (
        shape.embedding * attention
        + 3 * _block_elements(shape) * len(shape.layers)
        + 2 * (shape.vocabulary or 0) * shape.embedding
    )
    return min(total / max(parameters, 1), _F16)
