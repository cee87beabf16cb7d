"""What a failing reply means: every status and error text of Ollama's load-type calls.

Ollama has no machine-readable error codes, so the text decides where the status does not.
Source: Ollama v0.33 `server/routes.go: GenerateHandler, EmbedHandler, handleScheduleError,
allowedHostsMiddleware`, `server/cloud_proxy.go`; transcripts 02, 06, 08, 09, 14, 27, 29, 30.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Final

from warmset.adapters.ollama.facts import printable
from warmset.core.ollama.victim import is_out_of_memory
from warmset.errors import BackendError, BadStatus, UnknownModel

_MAX_ERROR_TEXT: Final = 2000


class Meaning(StrEnum):
    """Why a server did not do what was asked."""

    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_ENDPOINT = "unknown_endpoint"
    INVALID_NAME = "invalid_name"
    NAME_REQUIRED = "name_required"
    EMBEDDING_ONLY = "embedding_only"
    MISSING_CAPABILITY = "missing_capability"
    IMAGE_MODEL = "image_model"
    BAD_KEEP_ALIVE = "bad_keep_alive"
    BAD_OPTION = "bad_option"
    BAD_REQUEST = "bad_request"
    PROMPT_TOO_LONG = "prompt_too_long"
    HOST_REFUSED = "host_refused"
    CLOUD_DISABLED = "cloud_disabled"
    CLOUD_UNAUTHORIZED = "cloud_unauthorized"
    CLOUD_UNREACHABLE = "cloud_unreachable"
    REDIRECT = "redirect"
    LOAD_CANCELLED = "load_cancelled"
    QUEUE_FULL = "queue_full"
    OUT_OF_MEMORY = "out_of_memory"
    RUNNER_FAILED = "runner_failed"
    LOAD_FAILED = "load_failed"
    UNEXPECTED = "unexpected"

    @property
    def is_transient(self) -> bool:
        """Whether the same call may succeed a little later without anyone changing anything."""
        return self in _TRANSIENT


_TRANSIENT: Final = frozenset(
    {Meaning.LOAD_CANCELLED, Meaning.QUEUE_FULL, Meaning.CLOUD_UNREACHABLE, Meaning.RUNNER_FAILED}
)

_HINTS: Final = {
    Meaning.UNKNOWN_MODEL: "see `ollama list`; install it with `ollama pull`",
    Meaning.UNKNOWN_ENDPOINT: "is this Ollama 0.1.38 or newer, and is the path prefix right?",
    Meaning.EMBEDDING_ONLY: "the model only embeds: load it through /api/embed",
    Meaning.IMAGE_MODEL: "image models cannot be loaded through /api/generate",
    Meaning.HOST_REFUSED: "a loopback server refuses foreign Host headers with an empty 403: "
    "use 127.0.0.1, localhost or the machine's own name",
    Meaning.CLOUD_DISABLED: "cloud models never take memory here; leave them out",
    Meaning.CLOUD_UNAUTHORIZED: "cloud models never take memory here; `ollama signin` to use them",
    Meaning.CLOUD_UNREACHABLE: "a proxy or the cloud behind the server does not answer",
    Meaning.REDIRECT: "warmset follows no redirects: give the final address",
    Meaning.LOAD_CANCELLED: "a client went away while the model loaded, which ends the load",
    Meaning.QUEUE_FULL: "Ollama's queue (OLLAMA_MAX_QUEUE) is full: try again later",
    Meaning.OUT_OF_MEMORY: "Ollama may have evicted every other model before it gave up",
    Meaning.RUNNER_FAILED: "the model's process ended; Ollama starts it anew at the next request",
    Meaning.UNKNOWN_ENDPOINT: "is this address really Ollama, and its version one that has this?",
    Meaning.UNEXPECTED: "is this address really Ollama? Its log tells more",
    Meaning.LOAD_FAILED: "see Ollama's log; a damaged file needs a fresh `ollama pull`",
}

_BAD_REQUESTS: Final = (
    ("does not support generate", Meaning.EMBEDDING_ONLY),
    ("does not support chat", Meaning.EMBEDDING_ONLY),
    ("does not support", Meaning.MISSING_CAPABILITY),
    ("image generation models", Meaning.IMAGE_MODEL),
    ("model is required", Meaning.NAME_REQUIRED),
    ("invalid model name", Meaning.INVALID_NAME),
    ("time:", Meaning.BAD_KEEP_ALIVE),
    ("unsupported type:", Meaning.BAD_KEEP_ALIVE),
    ("longer than the context", Meaning.PROMPT_TOO_LONG),
    ("exceeds the context", Meaning.PROMPT_TOO_LONG),
    ("exceeds maximum context", Meaning.PROMPT_TOO_LONG),
)

_SERVER_ERRORS: Final = (
    ("must be of type", Meaning.BAD_OPTION),
    ("are available (after", Meaning.OUT_OF_MEMORY),
    ("requires more system memory", Meaning.OUT_OF_MEMORY),
    ("encountered while running the model", Meaning.RUNNER_FAILED),
)

_BY_STATUS: Final = {
    **dict.fromkeys(range(300, 400), Meaning.REDIRECT),
    401: Meaning.CLOUD_UNAUTHORIZED,
    405: Meaning.UNKNOWN_ENDPOINT,
    499: Meaning.LOAD_CANCELLED,
    502: Meaning.CLOUD_UNREACHABLE,
    503: Meaning.QUEUE_FULL,
}


def meaning_of(status: int, text: str, *, names_model: bool) -> Meaning:
    """Returns what a failing reply means.

    Args:
        status: the HTTP status; 200 for an error line inside a good reply.
        text: the error text of the reply, empty if it has none.
        names_model: whether the call was about one model, so that 404 can be about it.
    """
    lowered = text.lower()
    if is_out_of_memory(lowered):
        return Meaning.OUT_OF_MEMORY
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status == 404:
        about_model = names_model and "page not found" not in lowered
        return Meaning.UNKNOWN_MODEL if about_model else Meaning.UNKNOWN_ENDPOINT
    if status == 403:
        return Meaning.CLOUD_DISABLED if "cloud" in lowered else Meaning.HOST_REFUSED
    if status in range(400, 500):
        return _first_match(_BAD_REQUESTS, lowered, Meaning.BAD_REQUEST)
    otherwise = Meaning.LOAD_FAILED if names_model else Meaning.UNEXPECTED
    return _first_match(_SERVER_ERRORS, lowered, otherwise)


def status_error(status: int, body: bytes, *, endpoint: str, model: str | None) -> BackendError:
    """Returns the error for a reply whose status is not 200, or that holds an error line."""
    text = error_text(body)
    meaning = meaning_of(status, text, names_model=model is not None)
    about = f" for {printable(model, 200)!r}" if model is not None else ""
    kind = UnknownModel if meaning is Meaning.UNKNOWN_MODEL else BadStatus
    return kind(
        f"{endpoint}{about} failed with {status}: {text or 'no text'}",
        hint=_HINTS.get(meaning, ""),
        context={
            "status": status,
            "error": text,
            "meaning": meaning,
            "is_transient": meaning.is_transient,
            "endpoint": endpoint,
            "model": model,
        },
    )


def error_text(body: bytes) -> str:
    """Returns the error text of a reply: its `error` field in either API's form, else the body."""
    plain = body.decode("utf-8", "replace")
    try:
        decoded: object = json.loads(plain)
    except (ValueError, RecursionError):
        return _one_line(plain)
    if not isinstance(decoded, dict):
        return _one_line(plain)
    error = decoded.get("error", plain)
    if isinstance(error, dict):
        error = error.get("message", plain)
    return _one_line(error if isinstance(error, str) else plain)


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()), _MAX_ERROR_TEXT)


def _first_match(table: tuple[tuple[str, Meaning], ...], text: str, otherwise: Meaning) -> Meaning:
    return next((meaning for needle, meaning in table if needle in text), otherwise)
