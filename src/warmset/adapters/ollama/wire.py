"""Ollama's replies: their form as msgspec structs, and their meaning as core values.

Unknown fields are ignored, since servers grow them; a known field of the wrong type is a
`BadPayload` that names the endpoint and the field. Source: Ollama v0.33 `api/types.go`.

Why not pydantic as for the configuration: its import is a fifth of `status`, that of msgspec a
hundredth.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar

from msgspec import DecodeError, Meta, Struct, ValidationError, json

from warmset.adapters.ollama.facts import printable, to_facts
from warmset.adapters.ollama.instants import parse_expiry
from warmset.adapters.ollama.modelfile import Layers, parse_layers, parse_main_gpu, parse_num_ctx
from warmset.core.model import Facts, Tensor
from warmset.errors import BadPayload

_MAX_SIZE: Final = (1 << 63) - 1
_MAX_ROWS: Final = 10_000

_MAX_VALUES: Final = (400_000, 2_000_000)
"""Of a list, and of a show reply: parsing takes about 150 bytes for each, so that 32 MiB of `{},`
would take 1.6 GB. 262144 tokens with merges, scores and types are 1.3 million (measured)."""

Size = Annotated[int, Meta(ge=0, le=_MAX_SIZE)]
Name = Annotated[str, Meta(min_length=1, max_length=512)]


class VersionReply(Struct, frozen=True):
    """`GET /api/version`."""

    version: Annotated[str, Meta(max_length=200)]


class Details(Struct, frozen=True):
    """The `details` of a model in tags, show and ps."""

    format: str | None = None
    family: str | None = None
    parameter_size: str | None = None
    quantization_level: str | None = None


class TagRow(Struct, frozen=True):
    """One model of `GET /api/tags`."""

    name: Name
    size: Size | None = None
    digest: str | None = None
    details: Details | None = None
    capabilities: list[str] | None = None
    remote_host: str | None = None
    remote_model: str | None = None


class TagsReply(Struct, frozen=True):
    """`GET /api/tags`. Go writes an empty list as `null` where nobody made it."""

    models: Annotated[list[TagRow], Meta(max_length=_MAX_ROWS)] | None


class TensorRow(Struct, frozen=True):
    """One row of the tensor table in `POST /api/show`."""

    name: str
    type: str
    shape: Annotated[list[Size], Meta(max_length=8)] | None = None


class ShowReply(Struct, frozen=True):
    """`POST /api/show`."""

    details: Details
    modelfile: str | None = None
    parameters: str | None = None
    template: str | None = None
    system: str | None = None
    license: str | None = None
    capabilities: list[str] | None = None
    model_info: dict[str, Any] | None = None
    projector_info: dict[str, Any] | None = None
    tensors: list[TensorRow] | None = None
    remote_host: str | None = None
    remote_model: str | None = None


class PsRow(Struct, frozen=True):
    """One resident model of `GET /api/ps`."""

    name: Name
    digest: str | None = None
    size: Size | None = None
    size_vram: Size | None = None
    context_length: Size | None = None
    expires_at: str | None = None


class PsReply(Struct, frozen=True):
    """`GET /api/ps`. Only a list counts: what is resident is never taken to be empty by default."""

    models: Annotated[list[PsRow], Meta(max_length=_MAX_ROWS)]


class LoadReply(Struct, frozen=True):
    """`POST /api/generate` without a prompt, or `POST /api/embed` without an input."""

    done: bool | None = None
    done_reason: str | None = None
    embeddings: list[Any] | None = None
    error: Any = None


class StreamLine(Struct, frozen=True):
    """One line of a streamed generate or pull, or the whole of an embed.

    Units:
        `load_duration` is nanoseconds.
    """

    response: str | None = None
    thinking: str | None = None
    load_duration: Size | None = None
    digest: str | None = None
    completed: Size | None = None
    status: str | None = None
    done: bool | None = None
    embeddings: list[Any] | None = None
    error: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What `/api/show` says of one manifest, without its tokenizer and its long texts."""

    layers: Layers
    num_ctx: int | None
    main_gpu: int | None
    text_bytes: int  # template, system and licence: manifest layers that are not weights
    format: str = ""
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    capabilities: tuple[str, ...] = ()
    facts: Facts = field(default_factory=dict)
    projector_facts: Facts = field(default_factory=dict)
    tensors: tuple[Tensor, ...] | None = None
    is_remote: bool = False


ReplyT = TypeVar("ReplyT", bound=Struct)

_STEP: Final = re.compile(r"[^.\[\]`]+")
"""One step of a path such as `.models[1].size`."""

_NO_TEMPLATE: Final = "{{ .Prompt }}"
"""Shown where the manifest has no template layer. Source: transcripts 01 and 03."""


def parse_reply(form: type[ReplyT], body: bytes, endpoint: str) -> ReplyT:
    """Returns a reply body in its documented form.

    Raises:
        BadPayload: naming the endpoint and the first field that is wrong.
    """
    values = body.count(b",")
    if values > _MAX_VALUES[form.__name__ == "ShowReply"]:
        raise bad_payload(endpoint, "", f"it holds {values} values")
    try:
        return json.decode(body, type=form)
    except ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        path = ".".join(_STEP.findall(place))
        raise bad_payload(endpoint, path, problem) from None
    except (DecodeError, UnicodeDecodeError) as error:
        raise bad_payload(endpoint, "", str(error)) from None
    except RecursionError:
        raise bad_payload(endpoint, "", "it is nested too deeply") from None


def bad_payload(endpoint: str, path: str, problem: str) -> BadPayload:
    """Returns the error for a reply whose field `path` (dotted, may be empty) is wrong."""
    where = f" in field {printable(path, 200)!r}" if path else ""
    return BadPayload(
        f"Ollama's reply to {endpoint} cannot be used{where}: {printable(problem, 300)}",
        hint="is this address really Ollama, and its version one that warmset knows?",
        context={"endpoint": endpoint, "field": path},
    )


def to_shown(reply: ShowReply, endpoint: str = "POST /api/show") -> Shown:
    """Returns the part of a show reply that decides memory.

    Raises:
        BadPayload: if a metadata value is of a kind that GGUF does not have.
    """
    try:
        facts = to_facts(reply.model_info or {})
        projector_facts = to_facts(reply.projector_info or {})
    except ValueError as error:
        key, _, problem = str(error).partition(": ")
        raise bad_payload(endpoint, f"model_info.{key}", problem) from None
    details = reply.details
    template = reply.template if reply.template != _NO_TEMPLATE else None
    texts = (template, reply.system, reply.license)
    return Shown(
        layers=parse_layers(reply.modelfile or ""),
        num_ctx=parse_num_ctx(reply.parameters or ""),
        main_gpu=parse_main_gpu(reply.parameters or ""),
        text_bytes=sum(len((text or "").encode()) for text in texts),
        format=printable(details.format or ""),
        family=printable(details.family or ""),
        parameter_size=printable(details.parameter_size or ""),
        quantization=printable(details.quantization_level or ""),
        capabilities=tuple(printable(name) for name in reply.capabilities or ()),
        facts=facts,
        projector_facts=projector_facts,
        tensors=None if reply.tensors is None else tuple(_tensor(row) for row in reply.tensors),
        is_remote=bool(reply.remote_host or reply.remote_model),
    )


def expiry_of(row: PsRow, now: float, endpoint: str = "GET /api/ps") -> float | None:
    """Returns when a resident model expires, as Unix seconds; `None` if the server does not say.

    Raises:
        BadPayload: if the text is not an instant.
    """
    if not row.expires_at:
        return None
    try:
        return parse_expiry(row.expires_at, now)
    except ValueError as error:
        raise bad_payload(endpoint, "models.expires_at", f"{row.expires_at!r}: {error}") from None


def bare_digest(digest: str | None) -> str:
    """Returns a manifest digest as hex without its `sha256:` prefix, empty if there is none."""
    return printable((digest or "").strip().lower().removeprefix("sha256:"), 200)


def _tensor(row: TensorRow) -> Tensor:
    return Tensor(name=printable(row.name), type=printable(row.type), shape=tuple(row.shape or ()))
