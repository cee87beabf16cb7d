"""A GGUF header: facts, tensors, and where the weights begin.

Whatever the bytes are, the answer is a `Header` or a `FactsError`: every count and length is
checked before anything is read or reserved for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from warmset.adapters.gguf.source import ByteSource, Cursor
from warmset.adapters.gguf.values import (
    BIG,
    LITTLE,
    Layout,
    printable,
    read_fact,
    read_name,
    read_u32,
    read_u64,
)
from warmset.core.footprint.weights import tensor_bytes
from warmset.core.model import Facts, FactValue, Tensor
from warmset.errors import FactsError

TENSOR_TYPES: Final[Mapping[int, str]] = {
    **dict(enumerate(("F32", "F16", "Q4_0", "Q4_1", "MXFP4"))),
    **dict(enumerate(("Q5_0", "Q5_1", "Q8_0", "Q8_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K"), 6)),
    **dict(enumerate(("Q6_K", "Q8_K", "IQ2_XXS", "IQ2_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL"), 14)),
    **dict(enumerate(("IQ3_S", "IQ2_S", "IQ4_XS", "I8", "I16", "I32", "I64", "F64"), 21)),
    29: "IQ1_M",
    30: "BF16",
    34: "TQ1_0",
    35: "TQ2_0",
    39: "MXFP4",
    40: "NVFP4",
    41: "Q1_0",
}
"""Source: ggml `include/ggml.h: ggml_type`. 4 was given up before GGUF came; Ollama used it for
the MXFP4 tensors of its first gpt-oss files (`ml/backend/ggml/ggml.go`)."""

_MAGIC: Final = b"GGUF"
_VERSIONS: Final = (2, 3)
_MAX_FACTS: Final = 1 << 14
_MAX_TENSORS: Final = 1 << 17
_MAX_SIDES: Final = 4  # GGML_MAX_DIMS
_ALIGNMENT_KEY: Final = "general.alignment"
_DEFAULT_ALIGNMENT: Final = 32
_MAX_ALIGNMENT: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One GGUF file without its weights.

    Attributes:
        data_offset: where the weights begin.
        whole_bytes: how large the file is if it is complete; `None` where a tensor's type is not
            known.
    """

    version: int
    is_big_endian: bool
    facts: Facts
    tensors: tuple[Tensor, ...]
    data_offset: int
    whole_bytes: int | None


def read_header(source: ByteSource) -> Header:
    """Returns the header of a GGUF file, versions 2 and 3, either byte order.

    Raises:
        FactsError: it is not GGUF, cut off, damaged, or larger than any real header.
        WarmsetError: whatever the source raises.
    """
    cursor = Cursor(source)
    version, layout = _read_version(cursor)
    tensor_count, fact_count = read_u64(cursor, layout), read_u64(cursor, layout)
    if fact_count > _MAX_FACTS or tensor_count > _MAX_TENSORS:
        raise cursor.refuse(f"{fact_count} keys and {tensor_count} tensors")
    facts: dict[str, FactValue] = {}
    for _ in range(fact_count):
        key, value = read_fact(cursor, layout)
        if key in facts:
            raise cursor.refuse(f"the key {key[:80]!r} twice")
        facts[key] = value
    table = [_read_tensor(cursor, layout) for _ in range(tensor_count)]
    tensors = tuple(tensor for tensor, _ in table)
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise cursor.refuse("a tensor's name twice")
    alignment = _alignment(cursor, facts)
    data_offset = -(-cursor.position // alignment) * alignment
    return Header(
        version=version,
        is_big_endian=layout is BIG,
        facts=facts,
        tensors=tensors,
        data_offset=data_offset,
        whole_bytes=_whole_bytes(data_offset, table),
    )


def _read_version(cursor: Cursor) -> tuple[int, Layout]:
    """Returns the version and the byte order, which no field tells: a swapped version does."""
    if cursor.take(4) != _MAGIC:
        raise cursor.refuse("it does not begin with GGUF")
    raw = cursor.take(4)
    for layout in (LITTLE, BIG):
        version = int(layout.u32.unpack(raw)[0])
        if version in _VERSIONS:
            return version, layout
    version = min(int(layout.u32.unpack(raw)[0]) for layout in (LITTLE, BIG))
    raise cursor.refuse(f"version {version}, where 2 and 3 are known")


def _read_tensor(cursor: Cursor, layout: Layout) -> tuple[Tensor, int]:
    """Returns the next row of the table, and its offset in the weights."""
    name = printable(read_name(cursor, layout))
    sides = read_u32(cursor, layout)
    if sides > _MAX_SIDES:
        raise cursor.refuse(f"tensor {name[:80]!r} with {sides} dimensions")
    shape = tuple(read_u64(cursor, layout) for _ in range(sides))
    kind = read_u32(cursor, layout)
    offset = read_u64(cursor, layout)
    return Tensor(name=name, type=TENSOR_TYPES.get(kind, f"type {kind}"), shape=shape), offset


def _alignment(cursor: Cursor, facts: Facts) -> int:
    value = facts.get(_ALIGNMENT_KEY, _DEFAULT_ALIGNMENT)
    if type(value) is not int or not 0 < value <= _MAX_ALIGNMENT or value & (value - 1):
        raise cursor.refuse(f"{_ALIGNMENT_KEY} is {value!r:.40}, not a power of two")
    return value


def _whole_bytes(data_offset: int, table: list[tuple[Tensor, int]]) -> int | None:
    try:
        ends = [offset + tensor_bytes(tensor) for tensor, offset in table]
    except FactsError:
        return None
    return data_offset + max(ends, default=0)
