"""Weights: bytes of each tensor, by block, exact from the tensor table."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from warmset.core.footprint.facts import MAX_BLOCKS
from warmset.core.model import Tensor
from warmset.errors import FactsError

TYPE_SIZES: Final[Mapping[str, tuple[int, int]]] = {
    "F32": (1, 4),
    "F16": (1, 2),
    "BF16": (1, 2),
    "F64": (1, 8),
    "I8": (1, 1),
    "I16": (1, 2),
    "I32": (1, 4),
    "I64": (1, 8),
    "Q4_0": (32, 18),
    "Q4_1": (32, 20),
    "Q5_0": (32, 22),
    "Q5_1": (32, 24),
    "Q8_0": (32, 34),
    "Q8_1": (32, 36),
    "Q2_K": (256, 84),
    "Q3_K": (256, 110),
    "Q4_K": (256, 144),
    "Q5_K": (256, 176),
    "Q6_K": (256, 210),
    "Q8_K": (256, 292),
    "IQ2_XXS": (256, 66),
    "IQ2_XS": (256, 74),
    "IQ2_S": (256, 82),
    "IQ3_XXS": (256, 98),
    "IQ3_S": (256, 110),
    "IQ1_S": (256, 50),
    "IQ1_M": (256, 56),
    "IQ4_NL": (32, 18),
    "IQ4_XS": (256, 136),
    "TQ1_0": (256, 54),
    "TQ2_0": (256, 66),
    "MXFP4": (32, 17),
    "NVFP4": (64, 36),
    "Q1_0": (128, 18),
}
"""Elements and bytes of a block. Source: the `gguf` package 0.19 `GGML_QUANT_SIZES`; Q8_1 as in
`ggml/src/ggml-common.h`, where its two scales have been halves since 2023."""

_PAD: Final = 32
_MAX_ELEMENTS: Final = 1 << 44
_BLOCK: Final = re.compile(r"blk\.(\d{1,5})\.")
_PROJECTOR: Final = ("v.", "mm.", "a.", "mmproj.", "s.")
_HOST_TABLES: Final = ("token_embd.", "per_layer_token_embd.", "token_types.", "position_embd.")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightTable:
    """Bytes of a file's tensors by where the runtime puts them.

    Invariants:
        `blocks` has an entry for every block index up to the last one seen.
    """

    blocks: tuple[int, ...]
    embedding: int  # input tables, which stay in RAM
    output: int  # the output matrix and its norm; a copy of the embedding where tied
    other: int
    projector: int
    largest: int  # the biggest tensor of a block, which partial offload stages on the GPU
    matrix: int  # the output matrix alone
    is_tied: bool
    tied_bytes: int  # what a tied embedding takes a second time, on the GPU
    vocabulary: int | None  # rows of the embedding, padded as computed with

    @property
    def file_bytes(self) -> int:
        """Tensor bytes of the file, without the copy of a tied embedding."""
        inputs_outputs = self.embedding + self.output - self.tied_bytes
        return sum(self.blocks) + inputs_outputs + self.other + self.projector


def tensor_bytes(tensor: Tensor) -> int:
    """Returns the bytes of one tensor, padded as in the file.

    Formula:
        elements / block elements * block bytes, rounded up to 32

    Raises:
        FactsError: unknown type or impossible shape.
    """
    size = TYPE_SIZES.get(tensor.type.upper())
    if size is None:
        raise _refuse(tensor, f"type {tensor.type[:20]!r} is unknown")
    elements = 1
    for side in tensor.shape:
        if type(side) is not int or side < 0:
            raise _refuse(tensor, f"side {side!r} is not a whole number")
        elements *= side
        if elements > _MAX_ELEMENTS:
            raise _refuse(tensor, "has more elements than any model")
    per_block, block_bytes = size
    return -(-(-(-elements // per_block) * block_bytes) // _PAD) * _PAD


def _refuse(tensor: Tensor, why: str) -> FactsError:
    return FactsError(
        f"tensor {tensor.name[:60]!r}: {why}",
        hint="read the tensor table again, or give weights_gpu_bytes",
        context={"key": "tensors", "tensor": tensor.name[:60]},
    )


@lru_cache(maxsize=64)
def read_tensors(tensors: tuple[Tensor, ...]) -> WeightTable:
    """Returns the weights by place.

    Source:
        llama.cpp `src/llama-model.cpp: load_tensors`: input tables on the CPU, and a second copy
        of `token_embd` as output matrix where `output.weight` is absent.

    Raises:
        FactsError: a tensor of unknown type or impossible shape or block number.
    """
    blocks: dict[int, int] = {}
    embedding = matrix = output = other = projector = largest = head = 0
    has_output, vocabulary = False, None
    for tensor in tensors:
        size = tensor_bytes(tensor)
        name = tensor.name
        if match := _BLOCK.match(name):
            index = int(match[1])
            if index >= MAX_BLOCKS:
                raise _refuse(tensor, "has an impossible block number")
            blocks[index] = blocks.get(index, 0) + size
            largest = max(largest, size)
        elif name.startswith(_PROJECTOR):
            projector += size
        elif name.startswith(_HOST_TABLES):
            embedding += size
            if name == "token_embd.weight":
                matrix = size
                vocabulary = tensor.shape[-1] if tensor.shape else None
        elif name.startswith("output"):
            output += size
            if name == "output.weight":
                has_output, head = True, size
        else:
            other += size
    count = max(blocks, default=-1) + 1
    return WeightTable(
        blocks=tuple(blocks.get(i, 0) for i in range(count)),
        embedding=embedding,
        output=output if has_output else output + matrix,
        other=other,
        projector=projector,
        largest=largest,
        matrix=head or matrix,
        is_tied=not has_output and matrix > 0,
        tied_bytes=0 if has_output else matrix,
        vocabulary=vocabulary,
    )
