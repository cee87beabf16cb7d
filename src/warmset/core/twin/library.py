"""What is installed on a pretended host: names, and the weights files behind them.

Several names may share one file of weights; a runner belongs to the file, not to the name.
Names are compared as Ollama compares them: case does not matter, no tag means `:latest`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from warmset.core.model import Facts, Tensor
from warmset.core.ollama.types import OptionValues, WeightsFile
from warmset.core.twin.names import ModelName, parse_name
from warmset.core.twin.runner import TwinModel

COMPLETION: Final = "completion"
EMBEDDING: Final = "embedding"
VISION: Final = "vision"
_CONFIG_BYTES: Final = 250
"""About what a manifest's configuration layer adds to a model's size (transcript 02)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One GGUF file among the blobs.

    Attributes:
        digest: `sha256:HEX`; the order of digests breaks ties between victims.
        broken: what Ollama says when it cannot read the file; empty when it can.
        is_missing: the file is gone from the disk.
    """

    digest: str
    size_bytes: int
    facts: Facts = field(default_factory=dict)
    tensors: tuple[Tensor, ...] = ()
    broken: str = ""
    is_missing: bool = False

    @property
    def family(self) -> str:
        """`general.architecture`; empty when unknown."""
        return str(self.facts.get("general.architecture") or "")

    def fact(self, key: str) -> object:
        """Returns the value of a key without its architecture prefix."""
        return self.facts.get(f"{self.family}.{key}")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledModel:
    """One installed name with all that belongs to it.

    Attributes:
        digest: of the manifest, hex; made up from the content when empty.
        size_bytes: all layers together; 0 means the weights and projectors plus a little.
        parameters: of the Modelfile, as decoded from JSON.
        parent: name that a derived model was made from.
        remote_host: not empty for a cloud stub, which is never loaded here.

    Units:
        `modified_at` is Unix seconds.
    """

    name: str
    weights: Weights
    digest: str = ""
    size_bytes: int = 0
    format: str = "gguf"
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    capabilities: tuple[str, ...] = (COMPLETION,)
    parameters: OptionValues = field(default_factory=dict)
    template: str = "{{ .Prompt }}"
    system: str = ""
    license: str = ""
    parent: str = ""
    modified_at: float = 0.0
    adapters: tuple[Weights, ...] = ()
    projectors: tuple[Weights, ...] = ()
    remote_model: str = ""
    remote_host: str = ""

    @property
    def key(self) -> str:
        """The identity of its runner."""
        return self.weights.digest

    @property
    def layers(self) -> tuple[Weights, ...]:
        """Every file that a load reads."""
        return (self.weights, *self.adapters, *self.projectors)

    @property
    def completes(self) -> bool:
        """Whether it generates text; others embed only."""
        return COMPLETION in self.capabilities

    def as_loaded(self) -> TwinModel:
        """Returns the model as the scheduler sees it."""
        return TwinModel(
            key=self.key,
            name=self.name,
            file=WeightsFile.from_facts(self.weights.size_bytes, self.weights.facts),
            digest=self.digest,
            completes=self.completes,
            embeds=EMBEDDING in self.capabilities,
            has_vision=VISION in self.capabilities,
            modelfile=self.parameters,
            adapters=tuple(layer.digest for layer in self.adapters),
            projectors=tuple(layer.digest for layer in self.projectors),
            broken=next((layer.broken for layer in self.layers if layer.broken), ""),
        )


def digest_of(*parts: str) -> str:
    """Returns 64 hex digits that stand for the parts, always the same ones."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _completed(model: InstalledModel) -> InstalledModel:
    """Fills in what a spec may leave out: the tag, the manifest's digest, the total size."""
    name = parse_name(model.name)
    assert name is not None, f"{model.name!r} is no model name"
    content = (model.template, model.system, model.license, repr(sorted(model.parameters.items())))
    size = sum(layer.size_bytes for layer in model.layers) + _CONFIG_BYTES
    return replace(
        model,
        name=name.display,
        digest=model.digest or digest_of(*(layer.digest for layer in model.layers), *content),
        size_bytes=model.size_bytes or size,
        family=model.family or model.weights.family,
    )


def _broken_at(weights: Weights, size_bytes: int) -> str:
    """Returns what Ollama says of a file cut off at a size.

    Source: transcript 30. Offsets are not in the metadata: tensors are taken to lie in the order
    of the table, all of them at the end of the file, as they do in GGUF.
    """
    cells = [math.prod(tensor.shape) for tensor in weights.tensors]
    whole = max(sum(cells), 1)
    end = 0
    for tensor, count in zip(weights.tensors, cells, strict=True):
        end += weights.size_bytes * count // whole
        if end > size_bytes:
            name = tensor.name
            break
    else:
        name, end = "output.weight", weights.size_bytes
    return f'tensor "{name}" offset+size ({end}) exceeds file size ({size_bytes})'


class Library:
    """The installed models, and blobs that were uploaded.

    Args:
        models: installed from the start.
    """

    def __init__(self, models: Iterable[InstalledModel] = ()) -> None:
        self._models: dict[ModelName, InstalledModel] = {}
        self._blobs: dict[str, bytes] = {}
        self._readable: dict[str, Weights] = {}
        for model in models:
            self.install(model)

    def expect(self, readable: Mapping[str, Weights]) -> None:
        """Adds files by digest that become readable once a client has uploaded them."""
        self._readable.update(readable)

    def install(self, model: InstalledModel) -> InstalledModel:
        """Adds a model or replaces the one of its name; returns it completed."""
        completed = _completed(model)
        name = parse_name(completed.name)
        assert name is not None
        self._models[name] = completed
        return completed

    def find(self, text: str) -> InstalledModel | None:
        """Returns the model of a name in any case, tag optional."""
        name = parse_name(text)
        return self._models.get(name) if name is not None else None

    def models(self) -> tuple[InstalledModel, ...]:
        """Returns all, newest modification first; ties in the order of installing."""
        return tuple(sorted(self._models.values(), key=lambda m: -int(m.modified_at)))

    def delete(self, text: str) -> bool:
        """Removes a name; the weights stay as long as another name or a runner has them."""
        name = parse_name(text)
        return name is not None and self._models.pop(name, None) is not None

    def copy(self, source: str, destination: str, now: float) -> bool:
        """Gives a model a second name."""
        model, name = self.find(source), parse_name(destination)
        if model is None or name is None:
            return False
        self.install(replace(model, name=name.display, modified_at=now))
        return True

    def change_weights(self, digest: str, **changes: object) -> None:
        """Damages or repairs a file of weights under every name that uses it."""
        for name, model in self._models.items():
            if model.weights.digest == digest:
                weights = replace(model.weights, **changes)  # type: ignore[arg-type]  # by name
                self._models[name] = replace(model, weights=weights)

    def truncate(self, digest: str, size_bytes: int) -> None:
        """Cuts a file of weights off; reading it fails at the first tensor beyond its end."""
        broken = "unexpected EOF"
        for model in self._models.values():
            if model.weights.digest == digest:
                broken = _broken_at(model.weights, size_bytes)
        self.change_weights(digest, size_bytes=size_bytes, broken=broken)

    def has_blob(self, digest: str) -> bool:
        """Whether a file of this digest is on the disk, uploaded or installed."""
        return digest in self._blobs or any(
            layer.digest == digest and not layer.is_missing
            for model in self._models.values()
            for layer in model.layers
        )

    def put_blob(self, digest: str, content: bytes) -> bool:
        """Stores an upload; `False` when the content is not that of the digest.

        A file known as readable is taken for what it stands for, whatever the bytes.
        """
        actual = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if digest != actual and digest not in self._readable:
            return False
        self._blobs[digest] = content
        return True

    def blob(self, digest: str) -> Weights | None:
        """Returns what an uploaded or installed file holds, `None` when there is no such file."""
        for model in self._models.values():
            for layer in model.layers:
                if layer.digest == digest and not layer.is_missing:
                    return layer
        if digest not in self._blobs:
            return None
        stored = Weights(
            digest=digest, size_bytes=len(self._blobs[digest]), broken="invalid file magic"
        )
        return self._readable.get(digest, stored)
