"""Headers by the digest of their file, and manifests by URL, as small files on disk.

A cache may vanish, be full, foreign or damaged at any time; then it is as if it were empty, and
no error leaves this module.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from warmset.core.model import Facts, FactValue, Tensor

MAX_FILES: Final = 256
MAX_FILE_BYTES: Final = 8 << 20
_FOLDER: Final = "registry"

_TensorRecord = tuple[str, str, tuple[Annotated[int, Field(ge=0)], ...]]


class _HeaderRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    schema_version: Literal[1] = 1
    digest: str
    facts: dict[str, Any]
    tensors: tuple[_TensorRecord, ...]


class RegistryCache:
    """What was read of published models.

    Args:
        folder: the cache folder; `None` keeps nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = None if folder is None else folder / _FOLDER

    def header(self, digest: str) -> tuple[Facts, tuple[Tensor, ...]] | None:
        """Returns facts and tensors of a file, `None` if they are not kept."""
        content = self._load(f"header {digest}") if digest else None
        if content is None:
            return None
        try:
            record = _HeaderRecord.model_validate_json(content)
            facts = {key: _to_fact(value) for key, value in record.facts.items()}
        except (ValidationError, ValueError):
            return None
        if record.digest != digest:
            return None
        return facts, tuple(Tensor(name=n, type=t, shape=s) for n, t, s in record.tensors)

    def keep_header(self, digest: str, facts: Facts, tensors: Sequence[Tensor]) -> None:
        """Keeps facts and tensors of a file whose content this digest names."""
        record = _HeaderRecord.model_construct(
            schema_version=1,
            digest=digest,
            facts=dict(facts),
            tensors=tuple((t.name, t.type, t.shape) for t in tensors),
        )
        if digest:
            self._store(f"header {digest}", record.model_dump_json().encode())

    def manifest(self, url: str) -> bytes | None:
        """Returns a manifest as it was last seen."""
        return self._load(f"manifest {url}")

    def keep_manifest(self, url: str, content: bytes) -> None:
        """Keeps a manifest."""
        self._store(f"manifest {url}", content)

    def _path(self, what: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{hashlib.sha256(what.encode()).hexdigest()[:40]}.json"

    def _load(self, what: str) -> bytes | None:
        path = self._path(what)
        try:
            return None if path is None else _read_own_file(path)
        except OSError:
            return None

    def _store(self, what: str, content: bytes) -> None:
        path = self._path(what)
        if path is None or len(content) > MAX_FILE_BYTES:
            return
        try:
            _write(path, content)
        except OSError:
            return


def _to_fact(value: object) -> FactValue:
    if isinstance(value, list | tuple):
        return tuple(_to_fact(item) for item in value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(type(value).__name__)


def _read_own_file(path: Path) -> bytes | None:
    """Reads a regular file of ours; links, pipes and other users' files do not count."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    with os.fdopen(os.open(path, flags), "rb") as file:
        status = os.fstat(file.fileno())
        is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        return file.read(MAX_FILE_BYTES) if is_ours and status.st_size <= MAX_FILE_BYTES else None


def _write(path: Path, content: bytes) -> None:
    """Writes a whole file or nothing, readable by us alone; the oldest beyond the bound go."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    files = [entry for entry in os.scandir(path.parent) if entry.is_file(follow_symlinks=False)]
    files.sort(key=lambda entry: entry.stat(follow_symlinks=False).st_mtime)
    for entry in files[: max(len(files) - MAX_FILES, 0)]:
        Path(entry.path).unlink(missing_ok=True)
