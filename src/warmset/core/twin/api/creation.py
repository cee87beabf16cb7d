"""What changes the installed models: blobs, create, copy, delete, pull. No runner is touched.

Source: Ollama v0.33 `server/create.go`, `server/routes.go: CopyHandler, DeleteHandler,
HeadBlobHandler, CreateBlobHandler, PullHandler, waitForStream`; transcripts 01 and 16.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from warmset.core.ollama.options import OptionError, check_options
from warmset.core.twin.api.answer import BARE_JSON, Answer, Refuse
from warmset.core.twin.api.exchange import Exchange
from warmset.core.twin.api.gojson import Fields, encode
from warmset.core.twin.host import TwinHost
from warmset.core.twin.library import COMPLETION, EMBEDDING, InstalledModel, Weights, digest_of
from warmset.core.twin.names import is_cloud_name, parse_name

_DIGEST: Final = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
_BAD_DIGEST: Final = "invalid digest format"
_FILE_TYPES: Final = {0: "F32", 1: "F16", 2: "Q4_0", 7: "Q8_0", 15: "Q4_K_M", 32: "BF16"}
"""GGUF's `general.file_type` as Ollama names it. Source: `fs/ggml/type.go`, those seen here."""


def head_blob(host: TwinHost, digest: str, exchange: Exchange) -> None:
    """Answers `HEAD /api/blobs/DIGEST`."""
    if not _DIGEST.fullmatch(digest):
        raise Refuse(400, _BAD_DIGEST)
    if not host.library.has_blob(digest.replace("-", ":")):
        raise Refuse(404, f'blob "{digest}" not found')
    exchange.reply(200, "", b"")


def post_blob(host: TwinHost, digest: str, content: bytes, exchange: Exchange) -> None:
    """Answers `POST /api/blobs/DIGEST`."""
    if not _DIGEST.fullmatch(digest):
        raise Refuse(400, _BAD_DIGEST)
    if host.library.has_blob(digest):
        exchange.reply(200, "", b"")
    elif host.library.put_blob(digest, content):
        exchange.reply(201, "", b"")
    else:
        raise Refuse(400, f'digest mismatch, expected "{digest}", got another')


def copy(host: TwinHost, fields: Fields, exchange: Exchange) -> None:
    """Answers `/api/copy`."""
    source, destination = fields.text("source"), fields.text("destination")
    for word, text in (("source", source), ("destination", destination)):
        if parse_name(text) is None:
            raise Refuse(400, f'{word} "{text}" is invalid')
    if not host.library.copy(source, destination, host.timeline.now):
        raise Refuse(404, f'model "{source}" not found')
    exchange.reply(200, "", b"")


def delete(host: TwinHost, fields: Fields, exchange: Exchange) -> None:
    """Answers `/api/delete`; a resident model stays resident."""
    text = fields.text("model") or fields.text("name")
    if not text.strip():
        raise Refuse(400, "model is required")
    if parse_name(text.strip()) is None:
        raise Refuse(400, f'name "{text}" is invalid')
    if not host.library.delete(text.strip()):
        raise Refuse(404, f"model '{text}' not found")
    exchange.reply(200, "", b"")


def pull(host: TwinHost, fields: Fields, answer: Answer) -> None:
    """Answers `/api/pull`: what is installed is up to date, all else is out of reach."""
    text = fields.text("model") or fields.text("name")
    name = parse_name(text.strip())
    if name is None:
        raise Refuse(400, "invalid model name")
    model = host.library.find(text.strip())
    if model is None:
        _progress(answer, fields, _missing_pull(name.display))
        return
    sizes = [(layer.digest, layer.size_bytes) for layer in model.layers]
    layers: list[dict[str, object]] = [
        {"status": f"pulling {digest[7:19]}", "digest": digest, "total": n, "completed": n}
        for digest, n in sizes
    ]
    after = ("verifying sha256 digest", "writing manifest", "success")
    steps: list[dict[str, object]] = [{"status": "pulling manifest"}, *layers]
    steps += [{"status": text} for text in after]
    _progress(answer, fields, iter(steps))


def _missing_pull(name: str) -> Iterator[dict[str, object]]:
    yield {"status": "pulling manifest"}
    yield {"error": f"pull model manifest: {name}: the twin of a host has no registry"}


def create(host: TwinHost, fields: Fields, answer: Answer) -> None:
    """Answers `/api/create`: from uploaded GGUF files, or from an installed model."""
    text = fields.text("model") or fields.text("name")
    files = {str(k): str(v) for k, v in fields.mapping("files").items()}
    parameters, source = dict(fields.mapping("parameters")), fields.text("from")
    fresh = {key: fields.text(key) for key in ("template", "system", "license")}
    if any(not digest for digest in files.values()):
        raise Refuse(400, _BAD_DIGEST)
    name = parse_name(text)
    if name is None:
        raise Refuse(400, "invalid model name")
    steps = _Creation(host, name.display, fresh, parameters)
    if source:
        if parse_name(source) is None:
            raise Refuse(400, "invalid model name", BARE_JSON)
        _progress(answer, fields, steps.from_model(source))
    elif files:
        _progress(answer, fields, steps.from_files(files))
    else:
        raise Refuse(400, "neither 'from' or 'files' was specified", BARE_JSON)


class _Creation:
    """One run of `/api/create`, told as its progress."""

    def __init__(
        self, host: TwinHost, name: str, fresh: dict[str, str], parameters: dict[str, object]
    ) -> None:
        self._host = host
        self._name = name
        self._fresh = {key: text for key, text in fresh.items() if text}
        self._parameters = parameters
        self._known = {
            digest for model in host.library.models() for digest in _text_layers(model).values()
        }

    def from_model(self, source: str) -> Iterator[dict[str, object]]:
        """Derives from an installed model; its layers are used again."""
        base = self._host.library.find(source)
        if base is None:
            yield {"status": "pulling manifest"}
            yield {"error": "pull model manifest: file does not exist"}
            return
        parent = base.name if base.name and not is_cloud_name(source) else ""
        merged = {**base.parameters, **self._parameters}
        yield from self._install(replace(base, parent=parent), merged, is_new=False)

    def from_files(self, files: dict[str, str]) -> Iterator[dict[str, object]]:
        """Imports uploaded files; the first that is a model counts."""
        found: Weights | None = None
        is_new = True
        for _, digest in sorted(files.items()):
            yield {"status": "parsing GGUF"}
            weights = self._host.library.blob(digest)
            if weights is None:
                root = self._host.env.raw.get("OLLAMA_MODELS", "/root/.ollama/models")
                path = f"{root}/blobs/{digest.replace(':', '-')}"
                yield {"error": f"open {path}: no such file or directory"}
                return
            if weights.broken:
                yield {"error": "supplied file was not in GGUF format"}
                return
            is_new = not any(m.key == weights.digest for m in self._host.library.models())
            found = found or weights
        assert found is not None
        yield {"status": "verifying conversion"}
        yield from self._install(imported(self._name, found), self._parameters, is_new=is_new)

    def _install(
        self, base: InstalledModel, parameters: dict[str, object], *, is_new: bool
    ) -> Iterator[dict[str, object]]:
        try:
            check_options(parameters)
        except OptionError as problem:
            yield {"error": str(problem)}
            return
        model = replace(
            base,
            name=self._name,
            digest="",
            size_bytes=0,
            parameters=parameters,
            modified_at=self._host.timeline.now,
            template=self._fresh.get("template", base.template),
            system=self._fresh.get("system", base.system),
            license=self._fresh.get("license", base.license),
        )
        kept = _text_layers(base) if not is_new else {}
        yield _layer(base.key, is_new=is_new)
        for key, digest in _text_layers(model).items():
            if key in self._fresh or key == "parameters" or key in kept:
                yield _layer(f"sha256:{digest}", is_new=digest not in self._known)
        yield {"status": "writing manifest"}
        self._host.library.install(model)
        yield {"status": "success"}


def imported(name: str, weights: Weights) -> InstalledModel:
    """Returns the model that importing a file makes, with what its header tells."""
    embeds_only = weights.fact("pooling_type") is not None
    count = weights.facts.get("general.parameter_count")
    kind = weights.facts.get("general.file_type")
    return InstalledModel(
        name=name,
        weights=weights,
        parameter_size=human_number(count) if isinstance(count, int) else "",
        quantization=_FILE_TYPES.get(kind, "unknown") if isinstance(kind, int) else "unknown",
        capabilities=(EMBEDDING,) if embeds_only else (COMPLETION,),
    )


def human_number(count: int) -> str:
    """Returns a count as Ollama shows parameters. Source: `format/format.go: HumanNumber`."""
    for limit, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= limit:
            value = count / limit
            is_whole = count % limit == 0 or letter == "K"
            digits = 0 if is_whole else 2 if letter == "M" else 1
            return f"{value:.{digits}f}{letter}"
    return str(count)


def _text_layers(model: InstalledModel) -> dict[str, str]:
    """Returns the digests of a manifest's small layers, in Ollama's order."""
    plain = InstalledModel(name=model.name, weights=model.weights)
    layers = {}
    for key in ("template", "system", "license"):
        text = getattr(model, key)
        if text and text != getattr(plain, key):
            layers[key] = digest_of(key, text)
    if model.parameters:
        layers["parameters"] = digest_of("parameters", repr(sorted(model.parameters.items())))
    return layers


def _layer(digest: str, *, is_new: bool) -> dict[str, object]:
    word = "creating new layer" if is_new else "using existing layer"
    return {"status": f"{word} {digest}"}


def _progress(answer: Answer, fields: Fields, steps: Iterator[dict[str, object]]) -> None:
    """Sends progress line by line, or only its end when the client wants no stream."""
    if fields.flag("stream") is not False:
        for step in steps:
            answer.line(step)
        answer.end()
        return
    last = list(steps)[-1]
    failed = "error" in last
    answer.exchange.reply(500 if failed else 200, BARE_JSON, encode(last))
