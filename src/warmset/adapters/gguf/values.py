"""Values of GGUF keys, decoded to facts: arrays as tuples, tokenizer tables as their lengths.

Source: the GGUF specification, `docs/gguf.md` of ggml: type numbers and layouts of versions 2
and 3. Version 3 only added big-endian files.
"""

from __future__ import annotations

import math
from struct import Struct
from typing import Final, NamedTuple

from warmset.adapters.gguf.source import Cursor
from warmset.core.model import FactValue

_MAX_ITEMS: Final = 1 << 22
"""Of one array; the largest vocabularies have 2^18 tokens and 2^19 merges."""
_MAX_KEPT_ITEMS: Final = 1 << 12  # twice the blocks that any model may have, and more
_MAX_KEPT_BYTES: Final = 1 << 14
_MAX_KEPT_CHARACTERS: Final = 4096  # as facts of /api/show are kept
_MAX_DEPTH: Final = 2
_MAX_KEY_BYTES: Final = (1 << 16) - 1  # the specification's limit

_FORMATS: Final = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "B",
    10: "Q",
    11: "q",
    12: "d",
}
_BOOL: Final = 7
_TEXT: Final = 8
_ARRAY: Final = 9
_TOKENIZER: Final = "tokenizer."


class Layout(NamedTuple):
    """The number layouts of one byte order."""

    u32: Struct
    u64: Struct
    scalars: dict[int, Struct]


def layout_of(order: str) -> Layout:
    """Returns the layouts of a byte order, `<` or `>`."""
    return Layout(
        u32=Struct(order + "I"),
        u64=Struct(order + "Q"),
        scalars={kind: Struct(order + code) for kind, code in _FORMATS.items()},
    )


LITTLE: Final = layout_of("<")
BIG: Final = layout_of(">")


def read_u32(cursor: Cursor, layout: Layout) -> int:
    """Returns the next unsigned 32-bit number."""
    return int(layout.u32.unpack(cursor.take(4))[0])


def read_u64(cursor: Cursor, layout: Layout) -> int:
    """Returns the next unsigned 64-bit number."""
    return int(layout.u64.unpack(cursor.take(8))[0])


def read_name(cursor: Cursor, layout: Layout) -> str:
    """Returns the next text whole: the name of a key or a tensor."""
    size = read_u64(cursor, layout)
    if not 0 < size <= _MAX_KEY_BYTES:
        raise cursor.refuse(f"a name of {size} bytes")
    try:
        return cursor.take(size).decode()
    except UnicodeDecodeError as error:
        raise cursor.refuse("a name that is not UTF-8") from error


def read_fact(cursor: Cursor, layout: Layout) -> tuple[str, FactValue]:
    """Returns the next key and its value.

    An array under `tokenizer.` becomes `KEY.length`; another one too long to matter is `None`,
    as are numbers that are not finite.
    """
    key = read_name(cursor, layout)
    kind = read_u32(cursor, layout)
    shown = printable(key)
    if kind == _ARRAY and key.startswith(_TOKENIZER):
        return f"{shown}.length", _skip_array(cursor, layout, 0)
    return shown, _read_value(cursor, layout, kind, 0)


def printable(text: str) -> str:
    """Returns text that is safe to print: control characters become `?`, long text is cut."""
    cut = text[:_MAX_KEPT_CHARACTERS]
    return cut if cut.isprintable() else "".join(c if c.isprintable() else "?" for c in cut)


def _read_value(cursor: Cursor, layout: Layout, kind: int, depth: int) -> FactValue:
    if kind == _TEXT:
        return _read_text(cursor, layout)
    if kind == _ARRAY:
        return _read_array(cursor, layout, depth)
    scalar = _scalar(cursor, layout, kind)
    return _to_fact(kind, scalar.unpack(cursor.take(scalar.size))[0])


def _read_text(cursor: Cursor, layout: Layout) -> str:
    """Returns the start of a text; chat templates are long and nothing here reads them."""
    size = read_u64(cursor, layout)
    kept = min(size, _MAX_KEPT_BYTES)
    text = cursor.take(kept)
    cursor.skip(size - kept)
    return printable(text.decode(errors="replace"))


def _read_array(cursor: Cursor, layout: Layout, depth: int) -> FactValue:
    kind, count = _array_head(cursor, layout, depth)
    if count > _MAX_KEPT_ITEMS:
        _skip_items(cursor, layout, kind, count, depth)
        return None
    if kind in (_TEXT, _ARRAY):
        return tuple(_read_value(cursor, layout, kind, depth + 1) for _ in range(count))
    scalar = _scalar(cursor, layout, kind)
    items = scalar.iter_unpack(cursor.take(scalar.size * count))
    return tuple(_to_fact(kind, value) for (value,) in items)


def _skip_array(cursor: Cursor, layout: Layout, depth: int) -> int:
    """Moves over an array and returns its length."""
    kind, count = _array_head(cursor, layout, depth)
    _skip_items(cursor, layout, kind, count, depth)
    return count


def _array_head(cursor: Cursor, layout: Layout, depth: int) -> tuple[int, int]:
    if depth > _MAX_DEPTH:
        raise cursor.refuse("arrays inside arrays, too deep")
    kind, count = read_u32(cursor, layout), read_u64(cursor, layout)
    if count > _MAX_ITEMS:
        raise cursor.refuse(f"an array of {count} items")
    return kind, count


def _skip_items(cursor: Cursor, layout: Layout, kind: int, count: int, depth: int) -> None:
    if kind == _TEXT:
        cursor.skip_texts(count, layout.u64)
    elif kind == _ARRAY:
        for _ in range(count):
            _skip_array(cursor, layout, depth + 1)
    else:
        cursor.skip(_scalar(cursor, layout, kind).size * count)


def _scalar(cursor: Cursor, layout: Layout, kind: int) -> Struct:
    found = layout.scalars.get(kind)
    if found is None:
        raise cursor.refuse(f"a value of unknown type {kind}")
    return found


def _to_fact(kind: int, value: float) -> FactValue:
    if kind == _BOOL:
        return bool(value)
    return value if math.isfinite(value) else None
