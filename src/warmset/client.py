"""The right keep-alive for each caller, without a change to its code: for any client on httpx.

    from warmset.client import Caller, KeepAlive, KeepAliveTransport
    client = ollama.Client(transport=KeepAliveTransport(KeepAlive(Caller.BATCH)))

What a request says itself counts. Only `/api/generate`, `/api/chat`, `/api/embed` and
`/api/embeddings` can carry a keep-alive; `/v1` cannot, and is passed on as it is, as are streamed
request bodies, cloud models, and everything that is no JSON object. Replies are never touched, so
they stream as ever.

Source: ollama-behaviour 1.7, 2.1 and 2.3.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import httpx

from warmset.core.callers import HABITS, Caller
from warmset.core.model import normalise_name
from warmset.core.ollama.keepalive import DurationError, parse_keep_alive

__all__ = [
    "AsyncKeepAliveTransport",
    "Caller",
    "KeepAlive",
    "KeepAliveTransport",
    "async_keep_alive_hook",
    "keep_alive_hook",
]

_PATHS: Final = ("/api/generate", "/api/chat", "/api/embed", "/api/embeddings")
_EMBEDS: Final = ("/api/embed", "/api/embeddings")


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Which keep-alive a request gets.

    Args:
        caller: who asks. Requests to the embedding endpoints count as `EMBEDDING` in any case.
        models: name -> keep-alive of this model, in any form that Ollama takes.
        overrides: whether a value that the request has is replaced.

    Raises:
        ValueError: a value in `models` is no keep-alive.
    """

    caller: Caller = Caller.INTERACTIVE
    models: Mapping[str, str | float] = field(default_factory=lambda: MappingProxyType({}))
    overrides: bool = False

    def __post_init__(self) -> None:
        """Checks the values once, not at each request."""
        for name, value in self.models.items():
            try:
                parse_keep_alive(value)
            except DurationError as error:
                raise ValueError(f"{name}: {value!r} is no keep-alive: {error}") from error
        named = {normalise_name(name): value for name, value in self.models.items()}
        object.__setattr__(self, "models", MappingProxyType(named))

    def choose(self, path: str, model: str) -> str | float:
        """Returns the keep-alive for a model, as it is sent."""
        if normalise_name(model) in self.models:
            return self.models[normalise_name(model)]
        caller = Caller.EMBEDDING if path.endswith(_EMBEDS) else self.caller
        return HABITS[caller].text


class KeepAliveTransport(httpx.BaseTransport):
    """A transport that adds keep-alives and leaves the rest to another one.

    Args:
        keep_alive: which.
        inner: does the work; a plain `httpx.HTTPTransport` if nothing is said.
    """

    def __init__(
        self, keep_alive: KeepAlive | None = None, inner: httpx.BaseTransport | None = None
    ) -> None:
        self._hook = keep_alive_hook(keep_alive)
        self._inner = inner or httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Sends the request with its keep-alive."""
        self._hook(request)
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Closes the inner transport."""
        self._inner.close()


class AsyncKeepAliveTransport(httpx.AsyncBaseTransport):
    """`KeepAliveTransport` for `httpx.AsyncClient`."""

    def __init__(
        self, keep_alive: KeepAlive | None = None, inner: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._hook = async_keep_alive_hook(keep_alive)
        self._inner = inner or httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Sends the request with its keep-alive."""
        await self._hook(request)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        """Closes the inner transport."""
        await self._inner.aclose()


def keep_alive_hook(keep_alive: KeepAlive | None = None) -> Callable[[httpx.Request], None]:
    """Returns a hook for `httpx.Client(event_hooks={"request": [hook]})`."""
    chosen = keep_alive or KeepAlive()

    def hook(request: httpx.Request) -> None:
        if _may_carry(request):
            _put(request, _with_keep_alive(request.read(), request.url.path, chosen))

    return hook


def async_keep_alive_hook(
    keep_alive: KeepAlive | None = None,
) -> Callable[[httpx.Request], Awaitable[None]]:
    """Returns a hook for `httpx.AsyncClient`."""
    chosen = keep_alive or KeepAlive()

    async def hook(request: httpx.Request) -> None:
        if _may_carry(request):
            _put(request, _with_keep_alive(await request.aread(), request.url.path, chosen))

    return hook


def _may_carry(request: httpx.Request) -> bool:
    """Whether Ollama would read a keep-alive here; a body without a length may have no end."""
    path = request.url.path.rstrip("/")
    is_known = path.endswith(_PATHS) and "/v1/" not in path
    return request.method == "POST" and is_known and "content-length" in request.headers


def _with_keep_alive(body: bytes, path: str, keep_alive: KeepAlive) -> bytes:
    """Returns the body with a keep-alive; the same bytes where it gets none."""
    try:
        said = json.loads(body.decode())
    except ValueError:
        return body
    if not isinstance(said, dict) or not isinstance(said.get("model"), str):
        return body
    keys = [key for key in said if key.lower() == "keep_alive"]  # Go reads keys in any case
    is_said = any(said[key] is not None for key in keys)
    if _is_cloud(said["model"]) or (is_said and not keep_alive.overrides):
        return body
    value = keep_alive.choose(path.rstrip("/"), said["model"])
    if keys:
        rest = {key: said[key] for key in said if key not in keys}
        return json.dumps({**rest, "keep_alive": value}, ensure_ascii=False).encode()
    # Put in front, so that the caller's own bytes stay as they are.
    head = json.dumps({"keep_alive": value})[:-1].encode()
    return head + b"," + body.lstrip().removeprefix(b"{")


def _is_cloud(model: str) -> bool:
    """Source: Ollama v0.33 `internal/modelref/modelref.go: parseSourceSuffix`."""
    suffix = model.strip().lower().rpartition(":")[2]
    return ":" in model and (suffix == "cloud" or suffix.endswith("-cloud"))


def _put(request: httpx.Request, body: bytes) -> None:
    """Gives a request another body, in place: hooks cannot replace it."""
    if body == request.content:
        return
    headers = request.headers.copy()
    del headers["content-length"]
    fresh = httpx.Request(
        request.method, request.url, headers=headers, content=body, extensions=request.extensions
    )
    vars(request).update(vars(fresh))
