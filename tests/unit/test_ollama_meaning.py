"""Every status and error text of Ollama's load-type calls has its meaning."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.adapters.ollama.meaning import Meaning, error_text, status_error
from warmset.errors import BackendError, BadStatus, UnknownModel

CASES = [
    (404, "model 'x' not found", Meaning.UNKNOWN_MODEL),
    (404, 'model "x" not found, try pulling it first', Meaning.UNKNOWN_MODEL),
    (400, "model is required", Meaning.NAME_REQUIRED),
    (400, "invalid model name", Meaning.INVALID_NAME),
    (400, '"x" does not support generate', Meaning.EMBEDDING_ONLY),
    (400, '"x" does not support chat', Meaning.EMBEDDING_ONLY),
    (400, '"x" does not support tools', Meaning.MISSING_CAPABILITY),
    (400, "image generation models are not currently supported", Meaning.IMAGE_MODEL),
    (400, "missing request body", Meaning.BAD_REQUEST),
    (400, 'time: missing unit in duration "300"', Meaning.BAD_KEEP_ALIVE),
    (400, "Unsupported type: 'bool'", Meaning.BAD_KEEP_ALIVE),
    (500, 'option "num_ctx" must be of type integer', Meaning.BAD_OPTION),
    (503, "server busy, please try again.  maximum pending requests exceeded", Meaning.QUEUE_FULL),
    (499, "request canceled", Meaning.LOAD_CANCELLED),
    (500, "llama-server has terminated: cudaMalloc failed: no memory", Meaning.OUT_OF_MEMORY),
    (
        500,
        "requires 9 GiB but only 8 GiB are available (after 1 GiB overhead)",
        Meaning.OUT_OF_MEMORY,
    ),
    (500, "an error was encountered while running the model: EOF", Meaning.RUNNER_FAILED),
    (500, "invalid file magic", Meaning.LOAD_FAILED),
    (200, "failed to allocate compute buffers", Meaning.OUT_OF_MEMORY),
    (200, "invalid file magic", Meaning.LOAD_FAILED),
    (403, "ollama cloud is disabled: remote inference is unavailable", Meaning.CLOUD_DISABLED),
    (401, "unauthorized", Meaning.CLOUD_UNAUTHORIZED),
    (502, "bad gateway", Meaning.CLOUD_UNREACHABLE),
    (400, "the prompt is longer than the context length", Meaning.PROMPT_TOO_LONG),
]


@pytest.mark.parametrize(("status", "text", "meaning"), CASES)
def test_each_error_has_its_meaning(status: int, text: str, meaning: Meaning) -> None:
    """Status and text of a load-type call decide; the text stays in the context."""
    body = json.dumps({"error": text}).encode()
    error = status_error(status, body, endpoint="POST /api/generate", model="x")
    assert error.context["meaning"] is meaning
    assert error.context["status"] == status
    assert isinstance(error, UnknownModel if meaning is Meaning.UNKNOWN_MODEL else BadStatus)
    assert "'x'" in error.message


def test_an_empty_403_is_explained_by_the_host_rule() -> None:
    """Ollama on loopback refuses foreign Host headers without a word."""
    error = status_error(403, b"", endpoint="GET /api/ps", model=None)
    assert error.context["meaning"] is Meaning.HOST_REFUSED
    assert "Host" in error.hint


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (404, b"404 page not found", Meaning.UNKNOWN_ENDPOINT),
        (405, b"405 method not allowed", Meaning.UNKNOWN_ENDPOINT),
        (302, b"", Meaning.REDIRECT),
        (500, b"oops", Meaning.UNEXPECTED),
        (418, b"", Meaning.BAD_REQUEST),
        (204, b"", Meaning.UNEXPECTED),
    ],
)
def test_replies_that_are_not_about_a_model(status: int, body: bytes, meaning: Meaning) -> None:
    """A missing page is no missing model."""
    error = status_error(status, body, endpoint="GET /api/ps", model=None)
    assert isinstance(error, BadStatus)
    assert error.context["meaning"] is meaning


def test_a_missing_page_for_a_model_call_is_no_missing_model() -> None:
    """A wrong path prefix must not look like a model that is gone."""
    error = status_error(404, b"404 page not found", endpoint="POST /api/show", model="x")
    assert error.context["meaning"] is Meaning.UNKNOWN_ENDPOINT


def test_what_passes_by_itself_is_marked() -> None:
    """A full queue is worth a second try, a missing model is not."""
    assert Meaning.QUEUE_FULL.is_transient
    assert not Meaning.UNKNOWN_MODEL.is_transient
    assert not Meaning.OUT_OF_MEMORY.is_transient


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"error":{"message":"no","type":"x"}}', "no"),
        (b'{"error":"a\\nb\\u001b[31m"}', "a b?[31m"),
        (b"<html>\n<b>502</b>", "<html> <b>502</b>"),
        (b'{"detail":1}', '{"detail":1}'),
        (b'{"error":5}', '{"error":5}'),
        (b"[1]", "[1]"),
        (b"", ""),
    ],
)
def test_the_error_text_is_found_in_every_form(body: bytes, text: str) -> None:
    """Both APIs' forms, plain text and HTML give one printable line."""
    assert error_text(body) == text


@given(st.integers(100, 599), st.binary(max_size=300), st.none() | st.text(max_size=20))
def test_any_failing_reply_becomes_an_error(status: int, body: bytes, model: str | None) -> None:
    """No status and no body gives a traceback, and every message can be printed."""
    error = status_error(status, body, endpoint="POST /x", model=model)
    assert isinstance(error, BackendError)
    assert error.message.isprintable()
