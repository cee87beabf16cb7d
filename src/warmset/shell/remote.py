"""Models that are not on the host: a file, a URL, a published name, else the built-in facts."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from warmset.core.catalogue import CATALOGUE
from warmset.core.model import Entry, Facts, ModelKey, normalise_name
from warmset.errors import BackendError, ConfigError, FactsError, UnknownModel

if TYPE_CHECKING:
    from warmset.adapters.registry import RegistryCache, RemoteModel
    from warmset.core.model import Tensor

REGISTRY_VARIABLE = "WARMSET_REGISTRY"
"""Replaces the Ollama library's registry, as by a mirror in a closed network."""


def is_path(name: str) -> bool:
    """Whether this means a local file rather than a model's name."""
    from warmset.adapters.registry import is_link

    if is_link(name):
        return False
    return name.startswith(("/", "./", "../", "~")) or name.lower().endswith(".gguf")


def read_path(name: str) -> Entry:
    """Returns the model in a local GGUF file and its sister parts.

    Raises:
        ConfigError: the file cannot be read.
        FactsError: it is not sound GGUF.
    """
    from warmset.adapters.gguf import read_file

    try:
        path = Path(name).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{name}: {error}", hint="write the path in full") from error
    model = read_file(path)
    basis = "; ".join(("GGUF file", *model.notes))
    return Entry(
        key=ModelKey(f"file:{path}"),
        names=(path.name,),
        manifest_digests={},
        file_bytes=model.file_bytes,
        facts=model.facts,
        tensors=model.tensors,
        family=str(model.facts.get("general.architecture") or ""),
        capabilities=capabilities(model.facts),
        basis=basis,
    )


def find_remote(name: str, environ: Mapping[str, str], *, offline: bool = False) -> Entry:
    """Returns a model that could be downloaded, from its header; the weights stay where they are.

    Where the network gives nothing, well-known names get the built-in facts, and the basis says
    why.

    Raises:
        UnknownModel: nothing is published under that name, and nothing is built in.
        FactsError: the file behind it is not sound GGUF.
        BackendError: the network gives nothing, and nothing is built in.
    """
    known = CATALOGUE.get(normalise_name(name))
    if offline:
        return _remembered(name, environ) or _built_in(name, "--offline")
    try:
        return _published(name, environ)
    except (BackendError, FactsError) as error:
        if known is None:
            raise
        return _built_in(name, error.message)


def _published(name: str, environ: Mapping[str, str]) -> Entry:
    from warmset.adapters.gguf import read_parts
    from warmset.adapters.registry import Web, find_link, find_model, is_link, parse_reference

    cache = _cache(environ)
    with Web() as web:
        if is_link(name):
            model, where = find_link(name), "header read from its URL"
        else:
            reference = parse_reference(name, registry=_registry(environ))
            model, where = find_model(reference, web, cache), "header read from the registry"
        kept = cache.header(model.digest)
        notes: tuple[str, ...] = ()
        if kept is not None:
            where = "header read earlier"
            (facts, tensors), file_bytes = kept, model.file_bytes
        else:
            found = read_parts(model.url, lambda part: model.opened(web, part))
            facts, tensors, notes = found.facts, found.tensors, found.notes
            file_bytes = model.file_bytes if model.digest else found.file_bytes
            cache.keep_header(model.digest, facts, tensors)
    entry = _entry(model, facts, tensors, "; ".join(t for t in (where, model.note, *notes) if t))
    return replace(entry, file_bytes=file_bytes)


def _remembered(name: str, environ: Mapping[str, str]) -> Entry | None:
    """Returns a published model from the cache alone, `None` where that does not suffice."""
    from warmset.adapters.registry import is_link, parse_reference
    from warmset.adapters.registry.lookup import recall_model

    if is_link(name):
        return None
    cache = _cache(environ)
    model = recall_model(parse_reference(name, registry=_registry(environ)), cache)
    kept = None if model is None else cache.header(model.digest)
    if model is None or kept is None:
        return None
    return _entry(model, *kept, "header read earlier; --offline")


def _entry(model: RemoteModel, facts: Facts, tensors: tuple[Tensor, ...], basis: str) -> Entry:
    return Entry(
        key=ModelKey(model.digest or f"file:{model.name}"),
        names=(model.name,),
        manifest_digests={model.name: model.manifest_digest} if model.manifest_digest else {},
        file_bytes=model.file_bytes,
        size_bytes=model.size_bytes,
        family=model.family or str(facts.get("general.architecture") or ""),
        parameter_size=model.parameter_size,
        quantization=model.quantization,
        capabilities=capabilities(facts, has_projector=model.projector_bytes > 0),
        facts=facts,
        tensors=tensors,
        projector_bytes=model.projector_bytes,
        adapter_bytes=model.adapter_bytes,
        modelfile_num_ctx={model.name: model.num_ctx} if model.num_ctx else {},
        basis=basis,
    )


def _nearest(name: str) -> str:
    """Returns a question for the name that was meant: `phi4` for `phi4:14b`, or a misspelt one."""
    bare = name.strip().lower()
    same = [known for known in sorted(CATALOGUE) if known.partition(":")[0] == bare]
    close = same or difflib.get_close_matches(bare, sorted(CATALOGUE), n=3, cutoff=0.7)
    return f"Did you mean {' or '.join(close)}? " if close else ""


def _built_in(name: str, why: str) -> Entry:
    known = CATALOGUE.get(normalise_name(name))
    if known is None:
        raise UnknownModel(
            f'"{name}" is not installed, and nothing is known of it without the network',
            hint=f"{_nearest(name)}Built in are {', '.join(sorted(CATALOGUE))}.",
            context={"model": name},
        )
    return Entry(
        key=ModelKey(known.key),
        names=(known.name,),
        manifest_digests={},
        file_bytes=known.file_bytes,
        family=known.arch,
        parameter_size=known.parameter_size,
        quantization=known.quantization,
        capabilities=frozenset(known.capabilities),
        facts=known.facts,
        basis=f"built-in facts ({why})",
    )


def capabilities(facts: Facts, *, has_projector: bool = False) -> frozenset[str]:
    """Returns what a model can do as far as its header tells.

    Source: Ollama v0.33 `server/images.go: Capabilities`: a pooling type means embedding.
    """
    architecture = facts.get("general.architecture")
    if f"{architecture}.pooling_type" in facts:
        return frozenset({"embedding"})
    sees = has_projector or f"{architecture}.vision.block_count" in facts
    return frozenset({"completion", "vision"} if sees else {"completion"})


def _cache(environ: Mapping[str, str]) -> RegistryCache:
    from warmset.adapters.ollama.names import default_folder
    from warmset.adapters.registry import RegistryCache

    return RegistryCache(default_folder(environ))


def _registry(environ: Mapping[str, str]) -> str:
    from warmset.adapters.registry.reference import DEFAULT_REGISTRY

    return environ.get(REGISTRY_VARIABLE, "") or DEFAULT_REGISTRY
