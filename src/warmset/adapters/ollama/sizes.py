"""Sizes of a model's files, of which Ollama only tells the sum.

`/api/tags` gives the sum of all layers of a manifest; Ollama's forecast uses the weights file
alone. In this order:

1. The blobs can be seen, since the server is on this machine: their real sizes.
2. The weights are the only large file: the sum minus the texts that show printed. What remains
   beside the weights is the configuration (179 and 181 bytes in transcripts 01 and 02) and the
   parameters, so the figure is a little too large, never too small.
3. There is one more kind of file: its size is at most the sum minus texts and tensors. The
   weights file stays unknown (`None`), for which the forecast takes the whole sum.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from warmset.adapters.ollama.modelfile import Layers, blob_digest
from warmset.adapters.ollama.wire import Shown
from warmset.core.footprint.weights import tensor_bytes
from warmset.core.model import Entry
from warmset.errors import FactsError

_NO_BLOBS: Final = frozenset({"proc", "sys", "dev", "net"})
"""Where to ask for a file may have an effect: devices, processes, mounts on demand."""

BlobBytes = Callable[[str], int | None]
"""From a blob's path on the server to its size; `None` where it cannot be seen."""

Installed = tuple[int | None, Shown]
"""The sum of one manifest's layers, and what show says of it."""


def local_blob_bytes(path: str) -> int | None:
    """Returns the size of a blob of a server on this machine, if we may see it.

    The path is the server's word: it must have the form of a blob's, and no more is asked of the
    file than its size. Nothing is opened, and no link is followed at the end.
    """
    blob = Path(path)
    if blob_digest(path) is None or not blob.is_absolute() or ".." in blob.parts:
        return None
    if blob.parts[1] in _NO_BLOBS or blob.parent.name != "blobs":
        return None
    try:
        status = blob.lstat()
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def with_sizes(entry: Entry, installed: Sequence[Installed], blob_bytes: BlobBytes) -> Entry:
    """Returns the entry with the sizes of its files, the largest where its names differ.

    A draft model counts as an adapter: further weights that are loaded beside the model's own.
    """
    weights = blob_bytes(installed[0][1].layers.weights)
    projectors = [_extra(one, blob_bytes, is_projector=True) for one in installed]
    adapters = [_extra(one, blob_bytes, is_projector=False) for one in installed]
    return replace(
        entry,
        file_bytes=weights if weights is not None else _remainder(installed),
        projector_bytes=_largest(projectors),
        adapter_bytes=_largest(adapters),
        basis=entry.basis if weights is None else f"{entry.basis}, blob sizes",
    )


def _remainder(installed: Sequence[Installed]) -> int | None:
    rests = [
        max(size - shown.text_bytes, 0)
        for size, shown in installed
        if size is not None and _is_alone(shown.layers)
    ]
    return min(rests, default=None)


def _extra(one: Installed, blob_bytes: BlobBytes, *, is_projector: bool) -> int | None:
    """Returns the bytes of a manifest's projectors, or of its adapters and draft."""
    size, shown = one
    beside = _beside(shown.layers)
    wanted, others = (
        (shown.layers.projectors, beside)
        if is_projector
        else (
            beside,
            shown.layers.projectors,
        )
    )
    seen = [blob_bytes(path) for path in wanted]
    known = [found for found in seen if found is not None]
    if len(known) == len(seen):
        return sum(known)
    tensors = None if others or size is None else _tensors_bytes(shown)
    if tensors is None or size is None:
        return None
    return max(size - shown.text_bytes - tensors, 0)


def _tensors_bytes(shown: Shown) -> int | None:
    if shown.tensors is None:
        return None
    try:
        return sum(tensor_bytes(tensor) for tensor in shown.tensors)
    except FactsError:
        return None


def _beside(layers: Layers) -> tuple[str, ...]:
    return (*layers.adapters, layers.draft) if layers.draft else layers.adapters


def _is_alone(layers: Layers) -> bool:
    return not (layers.projectors or _beside(layers))


def _largest(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return max(known, default=0) if len(known) == len(sizes) else None
