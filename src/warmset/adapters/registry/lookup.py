"""From a published name or a URL to one model: sizes from its manifest, bytes from its files.

Source: media types of Ollama v0.33 `manifest/layer.go`, `server/create.go`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from warmset.adapters.registry.cache import RegistryCache
from warmset.adapters.registry.ranged import RangedFile
from warmset.adapters.registry.reference import Reference, file_url
from warmset.adapters.registry.web import Web
from warmset.errors import BackendError, BackendTimeout, BadPayload, BadStatus, Unreachable

_ACCEPT: Final = "application/vnd.docker.distribution.manifest.v2+json"
_MAX_MANIFEST_BYTES: Final = 1 << 20
_MAX_TEXT_BYTES: Final = 64 << 10
_MAX_NUM_CTX: Final = 1 << 28
_KIND: Final = "application/vnd.ollama.image."
_DIGEST: Final = r"^sha256:[0-9a-f]{64}$"


class _Layer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    media_type: Annotated[str, Field(alias="mediaType", max_length=200)] = ""
    digest: Annotated[str, Field(pattern=_DIGEST)]
    size: Annotated[int, Field(ge=0, le=1 << 50)]


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    config: _Layer
    layers: Annotated[tuple[_Layer, ...], Field(max_length=4096)]


class _Config(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    model_family: Annotated[str, Field(max_length=100)] = ""
    model_type: Annotated[str, Field(max_length=100)] = ""
    file_type: Annotated[str, Field(max_length=100)] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteModel:
    """One model that could be downloaded.

    Attributes:
        digest: `sha256:HEX` of the weights; empty where only a URL is known.
        manifest_digest: hex; empty likewise.
        url: where the weights are.
        size_bytes: all layers together.
        num_ctx: what its Modelfile sets, if it does.
        note: why this may be out of date; empty if it is not.
    """

    name: str
    url: str
    digest: str = ""
    manifest_digest: str = ""
    file_bytes: int | None = None
    size_bytes: int | None = None
    projector_bytes: int = 0
    adapter_bytes: int = 0
    num_ctx: int | None = None
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    note: str = ""

    def opened(self, web: Web, name: str = "") -> AbstractContextManager[RangedFile]:
        """Gives the weights file to read from, or a sister part of it by URL."""
        return closing(RangedFile(web, name or self.url))


def find_link(text: str) -> RemoteModel:
    """Returns the model behind the URL of a GGUF file; asks nothing yet."""
    url = file_url(text)
    return RemoteModel(name=url.partition("?")[0], url=url)


def find_model(reference: Reference, web: Web, cache: RegistryCache) -> RemoteModel:
    """Returns what the registry says of a name; what it last said where it is not reached.

    Raises:
        UnknownModel: the registry has no such model.
        BackendError: the registry is not reached and nothing is remembered, or it talks nonsense.
    """
    url, note = reference.manifest_url, ""
    try:
        content = web.fetch(url, limit_bytes=_MAX_MANIFEST_BYTES, accept=_ACCEPT)
    except (Unreachable, BackendTimeout, BadStatus) as error:
        remembered = cache.manifest(url)
        if remembered is None:
            raise
        content, note = remembered, f"manifest as last seen: {error.message}"
    manifest = _read_manifest(content, url)
    model = _describe(reference, manifest, content, note)
    if not note:
        cache.keep_manifest(url, content)
    return _with_texts(model, reference, manifest, web)


def recall_model(reference: Reference, cache: RegistryCache) -> RemoteModel | None:
    """Returns what the registry last said of a name, `None` where nothing is remembered."""
    content = cache.manifest(reference.manifest_url)
    if content is None:
        return None
    return _describe(reference, _read_manifest(content, reference.manifest_url), content, "")


def _read_manifest(content: bytes, url: str) -> _Manifest:
    try:
        return _Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadPayload(
            f"{url}: not a manifest: {where}: {first['msg']}",
            hint="check the registry's address",
            context={"url": url},
        ) from error


def _describe(reference: Reference, manifest: _Manifest, content: bytes, note: str) -> RemoteModel:
    weights = _layers(manifest, "model")
    if not weights:
        raise BadPayload(
            f"{reference.name} has no GGUF weights: it cannot be estimated from its manifest",
            hint="only models with one GGUF file are known before the download",
            context={"model": reference.name},
        )
    size = manifest.config.size + sum(layer.size for layer in manifest.layers)
    return RemoteModel(
        name=reference.name,
        url=reference.blob_url(weights[0].digest),
        digest=weights[0].digest,
        manifest_digest=hashlib.sha256(content).hexdigest(),
        file_bytes=weights[0].size,
        size_bytes=size,
        projector_bytes=_bytes(_layers(manifest, "projector")),
        adapter_bytes=_bytes((*_layers(manifest, "adapter"), *_layers(manifest, "draft"))),
        note=note,
    )


def _layers(manifest: _Manifest, kind: str) -> tuple[_Layer, ...]:
    return tuple(layer for layer in manifest.layers if layer.media_type == _KIND + kind)


def _bytes(layers: Sequence[_Layer]) -> int:
    return sum(layer.size for layer in layers)


def _with_texts(
    model: RemoteModel, reference: Reference, manifest: _Manifest, web: Web
) -> RemoteModel:
    """Adds what two small files say; a model is estimated without them just as well."""
    from dataclasses import replace

    raw = _text(manifest.config, reference, web)
    try:
        config = _Config.model_validate_json(raw)
    except ValidationError:
        config = _Config()
    params = _layers(manifest, "params")
    return replace(
        model,
        num_ctx=_num_ctx(_text(params[0], reference, web)) if params else None,
        family=config.model_family,
        parameter_size=config.model_type,
        quantization=config.file_type,
    )


def _text(layer: _Layer, reference: Reference, web: Web) -> bytes:
    if layer.size > _MAX_TEXT_BYTES:
        return b""
    try:
        return web.fetch(reference.blob_url(layer.digest), limit_bytes=_MAX_TEXT_BYTES)
    except BackendError:
        return b""


def _num_ctx(raw: bytes) -> int | None:
    try:
        found = json.loads(raw)
    except ValueError:
        return None
    value = found.get("num_ctx") if isinstance(found, dict) else None
    return value if type(value) is int and 0 < value <= _MAX_NUM_CTX else None
