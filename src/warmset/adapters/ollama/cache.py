"""What `/api/show` said, kept on disk: one small file per server and manifest digest.

A cache may vanish, be full, foreign or damaged at any time; then it is as if it were empty. So
no error leaves this module. A record counts only if it names the same schema, server, server
version and digest that it is asked for; otherwise it is rewritten.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from msgspec import DecodeError, Meta, Struct, json
from msgspec.structs import asdict as to_dict

from warmset.adapters.ollama.facts import to_facts
from warmset.adapters.ollama.modelfile import Layers
from warmset.adapters.ollama.wire import Shown
from warmset.core.model import Tensor

SCHEMA: Final = 1
MAX_FILE_BYTES: Final = 8 << 20
MAX_FILES: Final = 512
_FOLDER: Final = "ollama-show"
_SUFFIX: Final = ".json"

Count = Annotated[int, Meta(ge=0)]
TensorRecord = tuple[str, str, tuple[Count, ...]]


class _LayersRecord(Struct, forbid_unknown_fields=True):
    weights: str
    projectors: tuple[str, ...]
    adapters: tuple[str, ...]
    draft: str


class _Record(Struct, forbid_unknown_fields=True):
    schema_version: Literal[1]
    server: str
    server_version: str
    digest: str
    layers: _LayersRecord
    num_ctx: Annotated[int, Meta(gt=0)] | None
    main_gpu: Count | None
    text_bytes: Count
    format: str
    family: str
    parameter_size: str
    quantization: str
    capabilities: tuple[str, ...]
    facts: dict[str, Any]
    projector_facts: dict[str, Any]
    tensors: tuple[TensorRecord, ...] | None
    is_remote: bool


class ShowCache:
    """Records of `/api/show` for one server.

    Args:
        folder: the cache folder; `None` keeps nothing.
        server: the server's URL; records of another server never count.
    """

    def __init__(self, folder: Path | None, server: str) -> None:
        self._folder = None if folder is None else folder / _FOLDER
        self._server = server

    def load(self, digest: str, server_version: str) -> Shown | None:
        """Returns the record of a manifest, `None` if there is no sound one."""
        path = self._path(digest)
        content = None if path is None else _quietly(lambda: _read_own_file(path))
        if content is None:
            return None
        try:
            record = json.decode(content, type=_Record)
            shown = _to_shown(record)
        except (DecodeError, ValueError, RecursionError):
            return None
        ours = (record.server, record.server_version, record.digest)
        return shown if ours == (self._server, server_version, digest) else None

    def store(self, digest: str, server_version: str, shown: Shown) -> None:
        """Keeps a record if that can be done; files beyond the bound go, oldest first."""
        path = self._path(digest)
        if path is None:
            return
        record = _Record(
            schema_version=SCHEMA,
            server=self._server,
            server_version=server_version,
            digest=digest,
            tensors=None
            if shown.tensors is None
            else tuple((t.name, t.type, t.shape) for t in shown.tensors),
            layers=_LayersRecord(**asdict(shown.layers)),
            facts=dict(shown.facts),
            projector_facts=dict(shown.projector_facts),
            **{name: getattr(shown, name) for name in _PLAIN},
        )
        content = json.encode(record)
        if len(content) <= MAX_FILE_BYTES:
            _quietly(lambda: _write(path, content))

    def _path(self, digest: str) -> Path | None:
        if self._folder is None or not digest:
            return None
        name = hashlib.sha256(f"{self._server}\n{digest}".encode()).hexdigest()
        return self._folder / f"{name[:40]}{_SUFFIX}"


_PLAIN: Final = (
    "num_ctx",
    "main_gpu",
    "text_bytes",
    "format",
    "family",
    "parameter_size",
    "quantization",
    "capabilities",
    "is_remote",
)


def _to_shown(record: _Record) -> Shown:
    return Shown(
        layers=Layers(**to_dict(record.layers)),
        facts=to_facts(record.facts),
        projector_facts=to_facts(record.projector_facts),
        tensors=None
        if record.tensors is None
        else tuple(Tensor(name=n, type=t, shape=s) for n, t, s in record.tensors),
        **{name: getattr(record, name) for name in _PLAIN},
    )


def _quietly(work: Callable[[], bytes | None]) -> bytes | None:
    try:
        return work()
    except OSError:
        return None


def _read_own_file(path: Path) -> bytes | None:
    """Reads a regular file of ours; links, pipes and other users' files do not count."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        if not is_ours or status.st_size > MAX_FILE_BYTES:
            return None
        return file.read(MAX_FILE_BYTES + 1)


def _write(path: Path, content: bytes) -> None:
    """Writes a whole file or nothing, readable by us alone."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    _prune(path.parent)


def _prune(folder: Path) -> None:
    """Removes the oldest files beyond the bound, and what an interrupted write left behind."""
    files = [entry for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)]
    if len(files) <= MAX_FILES:
        return
    files.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime)
    for entry in files[: len(files) - MAX_FILES]:
        Path(entry.path).unlink(missing_ok=True)
