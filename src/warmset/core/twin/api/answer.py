"""How an endpoint answers: one object, or lines as they come; errors in the endpoint's own form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from warmset.core.twin.api.exchange import Exchange
from warmset.core.twin.api.gojson import encode

JSON: Final = "application/json; charset=utf-8"
BARE_JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"

Payload = Mapping[str, object]


class Refuse(Exception):
    """Ends a handler with a status and Ollama's text."""

    def __init__(self, status: int, error: str, content_type: str = JSON) -> None:
        super().__init__(error)
        self.status = status
        self.error = error
        self.content_type = content_type


class Answer:
    """The native form: plain JSON, or one JSON value per line."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def fail(self, status: int, error: str, content_type: str = JSON) -> None:
        """Answers with an error, as a line of its own when the stream has begun."""
        if self.exchange.status:
            self.exchange.write(encode({"error": error}) + b"\n")
            self.exchange.end()
        else:
            self.exchange.reply(status, content_type, encode({"error": error}))

    def whole(self, payload: Payload) -> None:
        """Answers with one object."""
        self.exchange.reply(200, JSON, encode(payload))

    def line(self, payload: Payload) -> None:
        """Sends one part of a streamed answer."""
        if not self.exchange.status:
            self.exchange.start(200, NDJSON)
        self.exchange.write(encode(payload) + b"\n")

    def end(self) -> None:
        """Ends a streamed answer."""
        self.exchange.end()
