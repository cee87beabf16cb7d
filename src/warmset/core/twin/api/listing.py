"""What only looks: version, status, tags, show, ps. Nothing here loads or touches a timer.

Source: Ollama v0.33 `server/routes.go: ListHandler, ShowHandler, GetModelInfo, PsHandler,
StatusHandler`, `server/images.go: Model.String`, `parser/parser.go: quote`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from warmset.core.model import Facts, FactValue
from warmset.core.ollama.env import ServerEnv
from warmset.core.twin.api.answer import Answer, Refuse
from warmset.core.twin.api.gojson import Fields, instant
from warmset.core.twin.host import TwinHost
from warmset.core.twin.library import InstalledModel
from warmset.core.twin.names import parse_name

Payload = dict[str, object]

_DEFAULT_MODELS: Final = "/root/.ollama/models"
_HIDDEN_FACTS: Final = frozenset(("general.name", "tokenizer.chat_template"))


def status(host: TwinHost) -> Payload:
    """Returns the body of `/api/status`."""
    disabled = host.env.no_cloud
    return {"cloud": {"disabled": disabled, "source": "env" if disabled else "none"}}


def tags(host: TwinHost) -> Payload:
    """Returns the body of `/api/tags`."""
    return {"models": [_tag(model) for model in host.library.models()]}


def ps(host: TwinHost) -> Payload:
    """Returns the body of `/api/ps`."""
    rows = []
    for row in host.residents():
        runner = row.runner
        rows.append(
            {
                "name": row.model.name,
                "model": row.model.name,
                "size": runner.total_bytes,
                "digest": row.model.digest,
                "details": _details(row.model, parent=""),
                "expires_at": instant(row.expires_at),
                "size_vram": runner.vram_bytes,
                "context_length": runner.shape.options.num_ctx,
            }
        )
    return {"models": rows}


class ShowCache:
    """Answers of `/api/show` by name and verbosity, good until the manifest changes.

    So a model whose weights are gone is still shown. Source: `server/model_show_cache.go`;
    transcript 30.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, bool], tuple[str, Payload]] = {}

    def get(self, model: InstalledModel, *, verbose: bool) -> Payload | None:
        """Returns the answer for a model as it is now, if it was given before."""
        digest, payload = self._kept.get((model.name, verbose), ("", {}))
        return payload if digest == model.digest else None

    def put(self, model: InstalledModel, payload: Payload, *, verbose: bool) -> None:
        """Keeps an answer."""
        self._kept[model.name, verbose] = (model.digest, payload)


def show(host: TwinHost, cache: ShowCache, fields: Fields, answer: Answer) -> None:
    """Answers `/api/show`."""
    text = fields.text("model") or fields.text("name")
    verbose = bool(fields.flag("verbose"))
    if not text:
        raise Refuse(400, "model is required")
    name = parse_name(text.strip())
    if name is None:
        raise Refuse(400, "invalid model name")
    model = host.library.find(text.strip())
    payload = cache.get(model, verbose=verbose) if model is not None else None
    if model is None or (payload is None and model.weights.is_missing):
        raise Refuse(404, f"model '{name.display}' not found")
    if payload is None:
        if model.weights.broken:
            raise Refuse(500, model.weights.broken)
        payload = describe(host.env, model, verbose=verbose)
        cache.put(model, payload, verbose=verbose)
    answer.whole(payload)


def describe(env: ServerEnv, model: InstalledModel, *, verbose: bool) -> Payload:
    """Returns the body of `/api/show`; empty fields are left out, as Go does."""
    facts = model.weights.facts
    full: Payload = {
        "license": model.license,
        "modelfile": _modelfile(env, model),
        "parameters": "\n".join(_parameters(model)),
        "template": model.template,
        "system": model.system,
        "details": _details(model, parent=model.parent),
        "remote_model": model.remote_model,
        "remote_host": model.remote_host,
        "model_info": _facts(facts, verbose=verbose),
    }
    if model.projectors:
        full["projector_info"] = _facts(model.projectors[0].facts, verbose=verbose)
    full["tensors"] = [
        {"name": tensor.name, "type": tensor.type, "shape": list(tensor.shape)}
        for tensor in model.weights.tensors
    ]
    full["capabilities"] = list(model.capabilities)
    full["modified_at"] = instant(model.modified_at)
    return {key: value for key, value in full.items() if value or key == "model_info"}


def owner(model_name: str) -> str:
    """Returns what `/v1/models` calls the owner: the namespace."""
    name = parse_name(model_name)
    return name.key[1] if name is not None else "library"


def _tag(model: InstalledModel) -> Payload:
    details = _details(model, parent=model.parent)
    for key in ("context_length", "embedding_length"):
        value = model.weights.fact(key)
        if value:
            details[key] = value
    remote = {"remote_model": model.remote_model, "remote_host": model.remote_host}
    return {
        "name": model.name,
        "model": model.name,
        **(remote if model.remote_host else {}),
        "modified_at": instant(model.modified_at),
        "size": model.size_bytes,
        "digest": model.digest,
        "details": details,
        "capabilities": list(model.capabilities),
    }


def _details(model: InstalledModel, *, parent: str) -> Payload:
    return {
        "parent_model": parent,
        "format": model.format,
        "family": model.family,
        "families": [model.family] if model.family else None,
        "parameter_size": model.parameter_size,
        "quantization_level": model.quantization,
    }


def _facts(facts: Facts, *, verbose: bool) -> Mapping[str, FactValue]:
    """Returns the keys of a file; arrays are `null` unless asked for."""
    return {
        key: None if isinstance(value, tuple) and not verbose else value
        for key, value in facts.items()
        if key not in _HIDDEN_FACTS
    }


def _modelfile(env: ServerEnv, model: InstalledModel) -> str:
    root = env.raw.get("OLLAMA_MODELS", _DEFAULT_MODELS)

    def path(digest: str) -> str:
        return f"{root}/blobs/{digest.replace(':', '-')}"

    lines = [f"FROM {path(model.key)}"]
    lines += [f"ADAPTER {path(layer.digest)}" for layer in model.adapters]
    lines += [f"FROM {path(layer.digest)}" for layer in model.projectors]
    texts = (("TEMPLATE", model.template), ("SYSTEM", model.system))
    lines += [f"{word} {_quote(text)}" for word, text in texts if text]
    for key, value in model.parameters.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            lines.append(f"PARAMETER {key} {_quote(_go_number(item, 21))}")
    if model.license:
        lines.append(f"LICENSE {_quote(model.license)}")
    head = '# Modelfile generated by "ollama show"\n'
    hint = "# To build a new Modelfile based on this, replace FROM with:\n"
    return f"{head}{hint}# FROM {model.name}\n\n" + "".join(f"{line}\n" for line in lines)


def _quote(text: str) -> str:
    if "\n" not in text and text == text.strip(" "):
        return text
    return f'"""{text}"""' if '"' in text else f'"{text}"'


def _parameters(model: InstalledModel) -> list[str]:
    lines = []
    for key, value in model.parameters.items():
        for item in value if isinstance(value, list | tuple) else (value,):
            shown = f'"{item}"' if isinstance(item, str) else _go_number(item, 6)
            lines.append(f"{key:<30} {shown}")
    return lines


def _go_number(value: object, exponent_from: int) -> str:
    """Returns a value as Go prints a JSON number: with an exponent from 10 to that power on."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if value and not 1e-4 <= abs(value) < 10**exponent_from:
        mantissa, _, exponent = f"{float(value):.16e}".partition("e")
        shortest = repr(float(value))
        digits = shortest.partition("e")[0].replace(".", "").replace("-", "").strip("0") or "0"
        sign = "-" if mantissa.startswith("-") else ""
        point = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{point}e{int(exponent):+03d}"
    return str(int(value)) if value == int(value) else repr(value)
