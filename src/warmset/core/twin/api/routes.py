"""Which endpoint answers which method and path, and what all others get.

Source: Ollama v0.33 `server/routes.go: GenerateRoutes, allowedHostsMiddleware`; transcript 02 for
unknown paths and wrong methods.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from warmset.core.twin.api import creation, embedding, inference, listing, openai
from warmset.core.twin.api.answer import JSON, Answer, Refuse
from warmset.core.twin.api.exchange import Exchange
from warmset.core.twin.api.gojson import EmptyBody, Fields, GoJsonError, decode, encode
from warmset.core.twin.api.speech import BandwidthPace, Pace
from warmset.core.twin.host import TwinHost

_PLAIN: Final = "text/plain"
_LOCAL_SUFFIXES: Final = (".localhost", ".local", ".internal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request on its way to an endpoint. `rest` is the last segment of its path."""

    path: str
    rest: str
    body: bytes
    exchange: Exchange
    number: int


Endpoint = Callable[["Api", Call], None]


class Api:
    """A pretended Ollama: `handle` takes a request and returns its exchange at once.

    An exchange that waits for a load or for text goes on when the host's timeline moves.

    Args:
        host: whose interface this is.
        pace: how requests are served; at the speed of the memory unless given.
    """

    def __init__(self, host: TwinHost, pace: Pace | None = None) -> None:
        self.host = host
        self.pace = pace or BandwidthPace(host.spec.seed)
        self.shown = listing.ShowCache()
        self._handled = 0

    def handle(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Exchange:
        """Takes one request.

        Args:
            method: of HTTP, in capitals.
            path: decoded, without a query.
            body: complete.
            headers: names in lower case.
        """
        exchange = Exchange()
        self._handled += 1
        if not self.host.is_up:
            exchange.drop()
            return exchange
        name = (headers or {}).get("host", "localhost")
        if not _is_allowed(name):
            exchange.reply(403, "", b"")
            return exchange
        found = _find(path)
        if found is None:
            exchange.reply(404, _PLAIN, b"404 page not found")
            return exchange
        endpoints, rest = found
        endpoint = endpoints.get(method)
        if endpoint is None:
            exchange.reply(405, _PLAIN, b"405 method not allowed")
            return exchange
        call = Call(path=path, rest=rest, body=body, exchange=exchange, number=self._handled)
        is_openai = path.startswith("/v1/")
        answer = openai.OpenAiAnswer(exchange) if is_openai else Answer(exchange)
        try:
            endpoint(self, call)
        except Refuse as refusal:
            answer.fail(refusal.status, refusal.error, refusal.content_type)
        except EmptyBody as problem:
            answer.fail(400, str(problem) if is_openai else "missing request body")
        except GoJsonError as problem:
            answer.fail(400, str(problem))
        return exchange


def _is_allowed(host: str) -> bool:
    """A server on loopback answers only to names of its own machine or network."""
    name = host.strip("[]") if host.endswith("]") else host.rpartition(":")[0] or host
    name = name.strip("[]").lower().rstrip(".")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name in ("", "localhost") or name.endswith(_LOCAL_SUFFIXES) or "." not in name
    return address.is_loopback or address.is_private or address.is_unspecified


def _find(path: str) -> tuple[Mapping[str, Endpoint], str] | None:
    """Returns the endpoints of a path, and its last segment where that is a parameter."""
    exact = _ROUTES.get(path)
    if exact is not None:
        return exact, ""
    head, _, rest = path.rpartition("/")
    endpoints = _ROUTES.get(f"{head}/*")
    return (endpoints, rest) if endpoints is not None and rest else None


def _json(api: Api, call: Call, view: Callable[[TwinHost], object]) -> None:
    call.exchange.reply(200, JSON, encode(view(api.host)))


def _fields(call: Call, struct: str) -> Fields:
    return Fields(decode(call.body), struct)


def _root(api: Api, call: Call) -> None:
    del api
    call.exchange.reply(200, "text/plain; charset=utf-8", b"Ollama is running")


def _version(api: Api, call: Call) -> None:
    _json(api, call, lambda host: {"version": host.spec.version})


def _status(api: Api, call: Call) -> None:
    _json(api, call, listing.status)


def _tags(api: Api, call: Call) -> None:
    _json(api, call, listing.tags)


def _ps(api: Api, call: Call) -> None:
    _json(api, call, listing.ps)


def _show(api: Api, call: Call) -> None:
    fields = _fields(call, "ShowRequest")
    listing.show(api.host, api.shown, fields, Answer(call.exchange))


def _generate(api: Api, call: Call) -> None:
    fields = _fields(call, "GenerateRequest")
    inference.generate(api.host, api.pace, fields, call.path, Answer(call.exchange))


def _chat(api: Api, call: Call) -> None:
    fields = _fields(call, "ChatRequest")
    inference.chat(api.host, api.pace, fields, call.path, Answer(call.exchange))


def _embed(api: Api, call: Call) -> None:
    fields = _fields(call, "EmbedRequest")
    embedding.embed_texts(api.host, api.pace, fields, call.path, Answer(call.exchange))


def _embeddings(api: Api, call: Call) -> None:
    fields = _fields(call, "EmbeddingRequest")
    embedding.embed_prompt(api.host, api.pace, fields, call.path, Answer(call.exchange))


def _create(api: Api, call: Call) -> None:
    creation.create(api.host, _fields(call, "CreateRequest"), Answer(call.exchange))


def _copy(api: Api, call: Call) -> None:
    creation.copy(api.host, _fields(call, "CopyRequest"), call.exchange)


def _delete(api: Api, call: Call) -> None:
    creation.delete(api.host, _fields(call, "DeleteRequest"), call.exchange)


def _pull(api: Api, call: Call) -> None:
    creation.pull(api.host, _fields(call, "PullRequest"), Answer(call.exchange))


def _head_blob(api: Api, call: Call) -> None:
    creation.head_blob(api.host, call.rest, call.exchange)


def _post_blob(api: Api, call: Call) -> None:
    creation.post_blob(api.host, call.rest, call.body, call.exchange)


def _models(api: Api, call: Call) -> None:
    openai.OpenAiAnswer(call.exchange).whole(openai.models(api.host))


def _model(api: Api, call: Call) -> None:
    openai.OpenAiAnswer(call.exchange).whole(openai.model(api.host, call.rest))


def _chat_completions(api: Api, call: Call) -> None:
    fields = _fields(call, "ChatCompletionRequest")
    native = openai.as_fields(openai.native_chat(fields), "ChatRequest", fields.source)
    inference.chat(api.host, api.pace, native, call.path, _text_answer(api, call, fields, True))


def _completions(api: Api, call: Call) -> None:
    fields = _fields(call, "CompletionRequest")
    native = openai.as_fields(openai.native_completion(fields), "GenerateRequest", fields.source)
    answer = _text_answer(api, call, fields, False)
    inference.generate(api.host, api.pace, native, call.path, answer)


def _v1_embeddings(api: Api, call: Call) -> None:
    fields = _fields(call, "EmbedRequest")
    answer = openai.EmbeddingAnswer(call.exchange, is_packed=openai.is_packed(fields))
    native = openai.as_fields(openai.native_embedding(fields), "EmbedRequest", fields.source)
    embedding.embed_texts(api.host, api.pace, native, call.path, answer)


def _text_answer(api: Api, call: Call, fields: Fields, is_chat: bool) -> openai.TextAnswer:
    return openai.TextAnswer(
        call.exchange,
        number=call.number,
        created=api.host.timeline.now,
        is_chat=is_chat,
        is_stream=bool(fields.flag("stream")),
        has_usage=openai.has_usage(fields),
    )


_ROUTES: Final[Mapping[str, Mapping[str, Endpoint]]] = {
    "/": {"GET": _root, "HEAD": _root},
    "/api/version": {"GET": _version, "HEAD": _version},
    "/api/status": {"GET": _status},
    "/api/tags": {"GET": _tags, "HEAD": _tags},
    "/api/show": {"POST": _show},
    "/api/ps": {"GET": _ps},
    "/api/generate": {"POST": _generate},
    "/api/chat": {"POST": _chat},
    "/api/embed": {"POST": _embed},
    "/api/embeddings": {"POST": _embeddings},
    "/api/create": {"POST": _create},
    "/api/copy": {"POST": _copy},
    "/api/delete": {"DELETE": _delete},
    "/api/pull": {"POST": _pull},
    "/api/blobs/*": {"HEAD": _head_blob, "POST": _post_blob},
    "/v1/models": {"GET": _models},
    "/v1/models/*": {"GET": _model},
    "/v1/chat/completions": {"POST": _chat_completions},
    "/v1/completions": {"POST": _completions},
    "/v1/embeddings": {"POST": _v1_embeddings},
}
