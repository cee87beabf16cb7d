"""A server inside this process behind the same client: no socket, every reply still parsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from warmset.adapters.ollama.address import Address
from warmset.adapters.ollama.client import OllamaServer
from warmset.adapters.ollama.lean_httpx import httpx

Answer = tuple[int, Mapping[str, str], bytes]
"""Status, headers, body."""

Answerer = Callable[[str, str, Mapping[str, str], bytes], Answer]
"""Method, path, headers, body -> the whole answer."""


def connect_in_process(name: str, answer: Answerer, *, now: Callable[[], float]) -> OllamaServer:
    """Returns a client whose requests are answered by a function.

    Args:
        name: stands in the URL, for messages.
        answer: the server.
        now: the server's wall clock, Unix seconds.
    """

    def handle(request: httpx.Request) -> httpx.Response:
        status, headers, body = answer(
            request.method, request.url.raw_path.decode(), dict(request.headers), request.content
        )
        return httpx.Response(status, headers=dict(headers), content=body)

    address = Address(scheme="http", host=name, port=11434)
    return OllamaServer(address, transport=httpx.MockTransport(handle), now=now)
