"""The three calls that steer Ollama, as plain values: preload, safe ping, unload.

What must hold (ollama-behaviour 1.6, 2.1, 3.6 and traps 2, 3, 14, 17, 27):

- A ping echoes the context that the resident model really has, since other load options reload
  it; an embedding model below 2048 gets no options, since its batch derives from `num_ctx`.
- An unload goes through generate for every kind of model: embed would load it first.
- A cloud name is refused before any request: the body would be sent on to the cloud.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from warmset.core.model import Entry, Resident, normalise_name
from warmset.core.ollama.generation import Generation
from warmset.core.ollama.keepalive import SAFE_MAX_SECONDS, to_wire
from warmset.errors import Refused

GENERATE: Final = "/api/generate"
EMBED: Final = "/api/embed"

EMBED_BATCH: Final = 2048
"""An embedding model's batch is the smaller of this and `num_ctx`. Source: ollama-behaviour 3.6."""

_SHORTEST_SECONDS: Final = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One POST: path and JSON body."""

    path: str
    body: Mapping[str, object]

    @property
    def model(self) -> str:
        """The name in the body."""
        return str(self.body["model"])


def preload_call(entry: Entry, *, keep_alive: float, num_ctx: int | None = None) -> Call:
    """Returns the call that loads a model without a prompt.

    Raises:
        Refused: for a cloud name, or a keep-alive that would unload at once.
    """
    return _load_call(entry, entry.name, keep_alive, num_ctx)


def ping_call(
    entry: Entry, resident: Resident, *, keep_alive: float, generation: Generation
) -> Call:
    """Returns the call that renews a keep-alive and does not reload the model.

    Raises:
        Refused: if the row of `/api/ps` is not of this entry: the ping would load another model.
    """
    if resident.key != entry.key:
        raise Refused(
            f"no ping of {entry.name!r}: what is resident as {resident.name!r} are other weights",
            hint="the tag was pulled again or deleted; its old runner ends by itself",
            context={"model": entry.name, "resident": resident.name},
        )
    context = _echoed_context(entry, resident.context or 0, generation)
    return _load_call(entry, _loaded_name(entry, resident), keep_alive, context)


def unload_call(name: str) -> Call:
    """Returns the call that unloads a model when it is idle.

    Raises:
        Refused: for a cloud name.
    """
    return Call(path=GENERATE, body={"model": _local(name), "keep_alive": 0, "stream": False})


def through_embed(call: Call) -> Call:
    """Returns the same load through `/api/embed`, for a model that turned out to only embed.

    A short `num_ctx` goes, since it would set the batch and so reload the model.
    """
    body = {key: value for key, value in call.body.items() if key != "stream"}
    options = body.get("options")
    if isinstance(options, Mapping) and options.get("num_ctx", 0) < EMBED_BATCH:
        del body["options"]
    return Call(path=EMBED, body=body)


def is_cloud_name(name: str) -> bool:
    """Returns whether Ollama would send requests for this name on to its cloud.

    Source: Ollama v0.33 `internal/modelref/modelref.go: parseSourceSuffix`.
    """
    _, colon, suffix = name.strip().lower().rpartition(":")
    suffix = suffix.strip()
    return bool(colon) and (suffix == "cloud" or (suffix.endswith("-cloud") and "/" not in suffix))


def _load_call(entry: Entry, name: str, keep_alive: float, num_ctx: int | None) -> Call:
    if math.isnan(keep_alive) or keep_alive < _SHORTEST_SECONDS:
        raise Refused(
            f"keep-alive of {keep_alive} s for {name!r} would not keep it",
            hint="use a positive number of seconds, or unload the model",
            context={"model": name, "keep_alive_seconds": keep_alive},
        )
    finite = keep_alive if math.isinf(keep_alive) else min(keep_alive, SAFE_MAX_SECONDS)
    body: dict[str, object] = {"model": _local(name), "keep_alive": to_wire(finite)}
    if num_ctx is not None:
        body["options"] = {"num_ctx": num_ctx}
    if entry.is_embedding:
        return Call(path=EMBED, body=body)
    return Call(path=GENERATE, body={**body, "stream": False})


def _echoed_context(entry: Entry, context: int, generation: Generation) -> int | None:
    """The `num_ctx` to send with a ping; `None` where sending one could reload the model."""
    shortest = EMBED_BATCH if "embedding" in entry.capabilities else 1
    may_echo = entry.format != "safetensors" and generation.has_automatic_flags
    return context if may_echo and context >= shortest else None


def _loaded_name(entry: Entry, resident: Resident) -> str:
    """The tag that caused the load if it still exists, since its Modelfile matches the runner."""
    wanted = normalise_name(resident.name)
    return next((name for name in entry.names if normalise_name(name) == wanted), entry.name)


def _local(name: str) -> str:
    if not name.strip():
        raise Refused("no model name was given", hint="name a model that `ollama list` shows")
    if is_cloud_name(name):
        raise Refused(
            f"{name!r} is a cloud model: nothing is loaded here, and the call would be sent on",
            hint="leave cloud models out of the configuration",
            context={"model": name},
        )
    return name
