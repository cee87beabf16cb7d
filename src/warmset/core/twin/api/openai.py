"""The `/v1` endpoints: requests translated to the native ones, answers to OpenAI's forms.

None of them can carry a keep-alive or a context length.

Source: Ollama v0.33 `openai/openai.go: FromChatRequest, FromCompleteRequest, ToChatCompletion,
ToStreamChunks, FinishChunk, ToCompletion, ToEmbeddingList, NewError`, `middleware/openai.go`.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Final

from warmset.core.twin.api.answer import BARE_JSON, Answer, Payload, Refuse
from warmset.core.twin.api.exchange import Exchange
from warmset.core.twin.api.gojson import Fields, encode
from warmset.core.twin.api.listing import owner
from warmset.core.twin.host import TwinHost

_EVENTS: Final = "text/event-stream"
_ERROR_TYPES: Final = {400: "invalid_request_error", 404: "not_found_error"}
_SAMPLING: Final = {
    "max_tokens": "num_predict",
    "seed": "seed",
    "stop": "stop",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}


def models(host: TwinHost) -> dict[str, object]:
    """Returns the body of `/v1/models`."""
    data = [_model(model.name, model.modified_at) for model in host.library.models()]
    return {"object": "list", "data": data or None}


def model(host: TwinHost, name: str) -> dict[str, object]:
    """Returns the body of `/v1/models/NAME`."""
    found = host.library.find(name)
    if found is None:
        raise Refuse(404, f"model '{name}' not found")
    return _model(name, found.modified_at)


def _model(name: str, modified_at: float) -> dict[str, object]:
    created = int(modified_at)
    return {"id": name, "object": "model", "created": created, "owned_by": owner(name)}


class OpenAiAnswer(Answer):
    """OpenAI's errors; the rest passes through."""

    def fail(self, status: int, error: str, content_type: str = BARE_JSON) -> None:
        """See `Answer`."""
        del content_type
        kind = _ERROR_TYPES.get(status, "api_error")
        body = {"error": {"message": error, "type": kind, "param": None, "code": None}}
        if self.exchange.status:
            self.exchange.write(encode(body) + b"\n")
            self.exchange.end()
        else:
            self.exchange.reply(status, BARE_JSON, encode(body))

    def whole(self, payload: Payload) -> None:
        """See `Answer`."""
        self.exchange.reply(200, BARE_JSON, encode(payload))

    def event(self, payload: Payload) -> None:
        """Sends one server-sent event."""
        if not self.exchange.status:
            self.exchange.start(200, _EVENTS)
        self.exchange.write(b"data: " + encode(payload) + b"\n\n")

    def end(self) -> None:
        """See `Answer`."""
        self.exchange.write(b"data: [DONE]\n\n")
        self.exchange.end()


class TextAnswer(OpenAiAnswer):
    """Chat completions and text completions, whole or as events.

    Args:
        number: of the request, for its id.
        created: Unix seconds.
        is_chat: which of the two.
        is_stream: whether the client wants events.
        has_usage: whether a streamed answer ends with its token counts.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        number: int,
        created: float,
        is_chat: bool,
        is_stream: bool,
        has_usage: bool,
    ) -> None:
        super().__init__(exchange)
        self._is_chat = is_chat
        self._is_stream = is_stream
        self._has_usage = has_usage
        self._has_begun = False
        prefix = "chatcmpl" if is_chat else "cmpl"
        self._head: dict[str, object] = {"id": f"{prefix}-{number % 1000}"}
        self._created = int(created)

    def whole(self, payload: Payload) -> None:
        """Sends a complete answer; in a stream it is the only and last part."""
        if self._is_stream:
            self.line(payload)
            self.end()
            return
        reason = payload.get("done_reason") or None
        if self._is_chat:
            choice = {"index": 0, "message": payload["message"], "finish_reason": reason}
            kind = "chat.completion"
        else:
            choice = {"text": payload["response"], "index": 0, "finish_reason": reason}
            kind = "text_completion"
        super().whole({**self._shell(kind, payload), "choices": [choice], "usage": _usage(payload)})

    def line(self, payload: Payload) -> None:
        """Sends one part of an answer as its events."""
        if self._is_chat:
            self._chat_events(payload)
        else:
            choice = {
                "text": payload["response"],
                "index": 0,
                "finish_reason": payload.get("done_reason") or None,
            }
            zero = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
            usage = {"usage": zero} if self._has_usage else {}
            chunk = {**self._shell("text_completion", payload), "choices": [choice]}
            self.event({**chunk, **usage})
            self._usage_event("text_completion", payload)

    def _chat_events(self, payload: Payload) -> None:
        kind = "chat.completion.chunk"
        message = payload["message"]
        assert isinstance(message, dict)
        if not payload["done"] or message["content"] or not self._has_begun:
            role = {} if self._has_begun else {"role": "assistant"}
            delta = {**role, "content": message["content"]}
            self._choice_event(kind, payload, delta, None)
            self._has_begun = True
        if payload["done"]:
            self._choice_event(kind, payload, {}, payload.get("done_reason") or "stop")
            self._usage_event(kind, payload)

    def _choice_event(
        self, kind: str, payload: Payload, delta: dict[str, object], reason: object
    ) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        self.event({**self._shell(kind, payload), "choices": [choice]})

    def _usage_event(self, kind: str, payload: Payload) -> None:
        if self._has_usage and payload["done"]:
            self.event({**self._shell(kind, payload), "choices": [], "usage": _usage(payload)})

    def _shell(self, kind: str, payload: Payload) -> dict[str, object]:
        return {
            **self._head,
            "object": kind,
            "created": self._created,
            "model": payload["model"],
            "system_fingerprint": "fp_ollama",
        }


class EmbeddingAnswer(OpenAiAnswer):
    """The list of vectors, as numbers or packed."""

    def __init__(self, exchange: Exchange, *, is_packed: bool) -> None:
        super().__init__(exchange)
        self._is_packed = is_packed

    def whole(self, payload: Payload) -> None:
        """See `Answer`."""
        vectors = payload["embeddings"]
        assert isinstance(vectors, list)
        data = [
            {"object": "embedding", "embedding": self._pack(vector), "index": index}
            for index, vector in enumerate(vectors)
        ]
        tokens = payload.get("prompt_eval_count", 0)
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        body = {"object": "list", "data": data or None, "model": payload["model"], "usage": usage}
        super().whole(body)

    def _pack(self, vector: list[float]) -> object:
        if not self._is_packed:
            return vector
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _usage(payload: Payload) -> dict[str, object]:
    prompt, said = payload.get("prompt_eval_count", 0), payload.get("eval_count", 0)
    assert isinstance(prompt, int)
    assert isinstance(said, int)
    total = prompt + said
    return {"prompt_tokens": prompt, "completion_tokens": said, "total_tokens": total}


def has_usage(fields: Fields) -> bool:
    """Returns whether a client asked for token counts at the end of a stream."""
    return fields.mapping("stream_options").get("include_usage") is True


def native_chat(fields: Fields) -> dict[str, object]:
    """Returns the `/api/chat` request that a chat completion stands for."""
    messages = []
    for message in fields.items("messages", "[]openai.Message"):
        if not isinstance(message, dict):
            raise Refuse(400, "invalid message format")
        content = message.get("content")
        if isinstance(content, list):
            texts = [str(part.get("text", "")) for part in content if isinstance(part, dict)]
            content = "".join(texts)
        messages.append({"role": message.get("role", ""), "content": content or ""})
    native = _native(fields)
    if not messages:
        raise Refuse(400, "[] is too short - 'messages'")
    tools = {"tools": list(fields.items("tools", "[]api.Tool"))} if fields.raw("tools") else {}
    return {**native, "messages": messages, **tools}


def native_completion(fields: Fields) -> dict[str, object]:
    """Returns the `/api/generate` request that a completion stands for."""
    native = {**_native(fields), "prompt": fields.text("prompt")}
    return {**native, "suffix": fields.text("suffix")}


def native_embedding(fields: Fields) -> dict[str, object]:
    """Returns the `/api/embed` request that an embedding stands for."""
    value = fields.raw("input")
    if value is None or value == []:
        raise Refuse(400, "invalid input")
    return {
        "model": fields.text("model"),
        "input": [""] if value == "" else value,
        "dimensions": fields.integer("dimensions"),
    }


def is_packed(fields: Fields) -> bool:
    """Returns whether the client wants its vectors as base64."""
    wanted = fields.text("encoding_format").lower()
    if wanted not in ("", "float", "base64"):
        raise Refuse(
            400,
            f"Invalid value for 'encoding_format' = {fields.text('encoding_format')}. "
            "Supported values: ['float', 'base64'].",
        )
    return wanted == "base64"


def _native(fields: Fields) -> dict[str, object]:
    options: dict[str, object] = {"temperature": 1.0, "top_p": 1.0}
    for key, option in _SAMPLING.items():
        value = fields.raw(key)
        if value is not None:
            options[option] = [value] if isinstance(value, str) else value
    for key in ("temperature", "top_p"):
        value = fields.raw(key)
        if value is not None:
            options[key] = value
    stream = bool(fields.flag("stream"))
    return {"model": fields.text("model"), "options": options, "stream": stream}


def as_fields(native: Mapping[str, object], struct: str, source: object) -> Fields:
    """Returns a translated request as the native endpoint reads it; `source` is the original."""
    fields = Fields(dict(native), struct)
    fields.source = source
    return fields
