"""A model in one GGUF file, or in several named `NAME-00001-of-00003.gguf`.

The first part has the facts; each part has the table of its own tensors. Source: llama.cpp
`src/llama.cpp: llama_split_path` and `tools/gguf-split`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from warmset.adapters.gguf.header import Header, read_header
from warmset.adapters.gguf.source import ByteSource, FileSource
from warmset.core.model import Facts, Tensor
from warmset.errors import FactsError

_PART: Final = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.gguf(?:\?.*)?)", re.DOTALL | re.IGNORECASE)
_MAX_PARTS: Final = 512
_COUNT_KEY: Final = "split.count"


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufModel:
    """What the headers of all parts say.

    Attributes:
        file_bytes: of all parts: their sizes, or where those are not known what the tensor
            tables add up to; `None` where neither is known.
        notes: what is wrong with the files, though their headers are sound.
    """

    facts: Facts
    tensors: tuple[Tensor, ...]
    file_bytes: int | None
    notes: tuple[str, ...] = ()


Opener = Callable[[str], AbstractContextManager[ByteSource]]
"""From the name of a part to its bytes."""


def part_names(name: str) -> tuple[str, ...]:
    """Returns the names of all parts, `name` alone where it is not one of several.

    Raises:
        FactsError: a name such as `x-00004-of-00003.gguf`.
    """
    match = _PART.fullmatch(name)
    if match is None:
        return (name,)
    stem, number, count, suffix = match[1], int(match[2]), int(match[3]), match[4]
    if not 1 <= number <= count <= _MAX_PARTS:
        raise FactsError(
            f"{name}: part {number} of {count} cannot be",
            hint=f"a model has at most {_MAX_PARTS} parts, counted from 00001",
            context={"source": name},
        )
    return tuple(f"{stem}-{part:05}-of-{count:05}{suffix}" for part in range(1, count + 1))


def read_file(path: Path) -> GgufModel:
    """Returns what a local GGUF file and its sister parts say.

    Raises:
        ConfigError: a file is missing or cannot be read.
        FactsError: a file is not sound GGUF.
    """
    return read_parts(str(path), lambda name: FileSource(Path(name)))


def read_parts(name: str, opener: Opener) -> GgufModel:
    """Returns what the file called `name` and its sister parts say.

    Raises:
        FactsError: a file is not sound GGUF, or the parts do not belong together.
        WarmsetError: whatever the opener raises.
    """
    names = part_names(name)
    headers: list[Header] = []
    sizes: list[int | None] = []
    notes: list[str] = []
    for part in names:
        with opener(part) as source:
            header = read_header(source)
            size, whole = source.size_bytes, header.whole_bytes
        if size is not None and whole is not None and size < whole:
            notes.append(f"{part} is cut off: {size} of {whole} bytes are there")
            size = whole
        headers.append(header)
        sizes.append(whole if size is None else size)
    _check_together(name, headers)
    known = [size for size in sizes if size is not None]
    return GgufModel(
        facts=headers[0].facts,
        tensors=tuple(tensor for header in headers for tensor in header.tensors),
        file_bytes=sum(known) if len(known) == len(sizes) else None,
        notes=tuple(notes),
    )


def _check_together(name: str, headers: list[Header]) -> None:
    tensors = [tensor.name for header in headers for tensor in header.tensors]
    told = headers[0].facts.get(_COUNT_KEY)
    if told not in (None, 0, len(headers)):
        why = f"{_COUNT_KEY} is {told!r:.20}, the name says {len(headers)}"
    elif len(set(tensors)) < len(tensors):
        why = "the same tensor is in two parts"
    else:
        return
    raise FactsError(
        f"{name}: the parts do not belong together: {why}",
        hint="give the first part, under the name it was published with",
        context={"source": name},
    )
