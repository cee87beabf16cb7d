"""When two answers count as the same, and what behaviour tells of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from warmset.shell.conformance.compare import compare_answer, differences, normalised
from warmset.shell.conformance.model_hints import behaviour
from warmset.shell.conformance.recorded_models import ModelKnowledge
from warmset.shell.conformance.recording import Recording, read_recording, unix

ROW = {"name": "a:1b", "expires_at": "2026-11-22T01:00:10.5Z", "size_vram": 0}
LATER = {"name": "b:1b", "expires_at": "2026-11-22T01:05:10.5Z", "size_vram": 0}


def differ(recorded: Any, actual: Any) -> bool:
    return bool(list(differences("", recorded, actual)))


@pytest.mark.parametrize(
    ("recorded", "actual"),
    [
        ({"created_at": "2026-01-01T00:00:00Z"}, {"created_at": "2027-01-01T00:00:00Z"}),
        ({"response": "word", "done_reason": "stop"}, {"response": "other", "done_reason": "stop"}),
        ({"eval_count": 3}, {"eval_count": 400}),
        ({"size": 5}, {"size": 6}),
        ({"context": [1, "... 285 numbers in all"]}, {"context": [1, 2]}),
        ({"done": True}, {"done": True, "context": [1]}),
        ({"error": "offset+size (9854560)"}, {"error": "offset+size (1234567)"}),
        ({"status": f"layer sha256:{'a' * 64}"}, {"status": f"layer sha256:{'b' * 64}"}),
        ({"models": [LATER, ROW]}, {"models": [LATER, ROW]}),
        ({"models": ["a:1b"], "(shortened)": "names only"}, {"models": [ROW]}),
        (
            {"models": [{**ROW, "name": "x"}, ROW]},
            {"models": [ROW, {**ROW, "name": "x"}]},
        ),
        ({"models": [ROW]}, {"models": [{**ROW, "expires_at": "2026-11-22T01:00:11Z"}]}),
    ],
)
def test_what_cannot_repeat_does_not_matter(recorded: Any, actual: Any) -> None:
    """Instants, texts, counts, digests, and the order of ties."""
    assert not differ(recorded, actual)


@pytest.mark.parametrize(
    ("recorded", "actual"),
    [
        ({"done": True}, {"done": False}),
        ({"done_reason": "load"}, {"done_reason": "unload"}),
        ({"response": "", "done_reason": "load"}, {"response": "x", "done_reason": "load"}),
        ({"a": 1}, {}),
        ({}, {"a": 1}),
        ({"error": "busy"}, {"error": "idle"}),
        ({"size": 5}, {"size": None}),
        ({"n": 1}, {"n": True}),
        ({"embeddings": []}, {"embeddings": [[1.0]]}),
        ({"models": [ROW]}, {"models": []}),
        ({"models": []}, {"models": [ROW]}),
        ({"models": [LATER, ROW]}, {"models": [ROW, LATER]}),
        ({"models": [ROW]}, {"models": [{**ROW, "size_vram": 7}]}),
        ({"models": [ROW]}, {"models": [{**ROW, "expires_at": "2026-11-22T01:00:13Z"}]}),
        ({"models": ["a:1b"], "(shortened)": "names only"}, {"models": [LATER]}),
        (["a", "b"], ["a"]),
    ],
)
def test_what_ollama_decides_does_matter(recorded: Any, actual: Any) -> None:
    """Reasons, flags, fields, rows, order, expiry and whether there is GPU memory."""
    assert differ(recorded, actual)


def test_error_texts_are_compared_without_their_numbers() -> None:
    """Byte counts and digests go, short numbers stay."""
    assert normalised("a 123456.78 MB, sha256-" + "f" * 64) == "a <n> MB, <digest>"
    assert normalised("status 404") == "status 404"


def test_instants_of_any_precision_and_zone_are_read() -> None:
    """Nine digits, an offset, a year beyond 2262."""
    assert unix("2026-11-22T01:00:00.123456789Z") == pytest.approx(1795309200.123456789)
    assert unix("2026-11-22T02:00:00+01:00") == 1795309200
    assert unix("2319-03-04T01:31:06Z") > 1.1e10


def answered(tmp_path: Path, response: str, status: int, kind: str, body: bytes) -> list[str]:
    """Compares an answer with a recorded one of `/v1/chat/completions`."""
    row = (
        '{"t_s": 0, "at": "2026-11-22T01:00:00Z", "request": {"method": "POST", '
        f'"path": "/v1/chat/completions", "body": {{}}}}, "response": {response}}}'
    )
    (recorded,) = transcript(tmp_path, row).steps
    return list(compare_answer(recorded, status, kind, body))


def test_status_and_content_type_are_compared_exactly(tmp_path: Path) -> None:
    """Another status or type is a difference, and so is a body that is no JSON."""
    response = '{"status": 200, "content_type": "application/json", "json": {"done": true}}'
    good = b'{"done": true}'
    assert answered(tmp_path, response, 200, "application/json", good) == []
    assert answered(tmp_path, response, 500, "application/json", good)
    assert answered(tmp_path, response, 200, "text/plain", good)
    assert answered(tmp_path, response, 200, "application/json", b"<html>")


def test_streams_of_events_are_compared_by_their_ends(tmp_path: Path) -> None:
    """First and last event, and that the end mark is there; not how many there are."""
    chunk = 'data: {\\"id\\": \\"x\\", \\"finish\\": null}\\n\\n'
    last = 'data: {\\"id\\": \\"x\\", \\"finish\\": \\"stop\\"}\\n\\n'
    text = f"{chunk}{chunk}{last}data: [DONE]\\n\\n"
    response = f'{{"status": 200, "content_type": "text/event-stream", "text": "{text}"}}'
    shorter = b'data: {"id": "y", "finish": null}\n\ndata: {"id": "y", "finish": "stop"}\n\n'
    end = b"data: [DONE]\n\n"
    assert answered(tmp_path, response, 200, "text/event-stream", shorter + end) == []
    assert answered(tmp_path, response, 200, "text/event-stream", shorter)
    other = shorter.replace(b"stop", b"length") + end
    assert answered(tmp_path, response, 200, "text/event-stream", other)


def test_plain_text_is_compared(tmp_path: Path) -> None:
    """Up to digests and byte counts."""
    response = '{"status": 404, "content_type": "text/plain", "text": "404 page not found"}'
    assert answered(tmp_path, response, 404, "text/plain", b"404 page not found") == []
    assert answered(tmp_path, response, 404, "text/plain", b"405 method not allowed")


def transcript(tmp_path: Path, *steps: str) -> Recording:
    path = tmp_path / "x.json"
    path.write_text(f'{{"server": {{}}, "steps": [{",".join(steps)}]}}', "utf-8")
    return read_recording(path)


def step(t: float, path: str, body: str, answer: str) -> str:
    return (
        f'{{"t_s": {t}, "at": "2026-11-22T01:00:00Z", "request": {{"method": "POST", '
        f'"path": "{path}", "body": {body}}}, "response": {{"status": 200, "json": {answer}, '
        '"content_type": "application/json; charset=utf-8", "wall_s": 0.1}}'
    )


def test_behaviour_tells_kind_and_trained_context(tmp_path: Path) -> None:
    """Who embeds is an embedder, and a context below the one asked for was clamped."""
    load = '{"model": "e", "embeddings": [[0.5, "... 384 numbers in all"]], "load_duration": 9}'
    rows = '{"models": [{"name": "e:latest", "context_length": 512}]}'
    recording = transcript(
        tmp_path,
        step(0, "/api/embed", '{"model": "e", "input": "x"}', load),
        step(1, "/api/ps", "null", rows),
    )
    hints = behaviour(recording)["e:latest"]
    assert hints.capabilities == {"embedding"}
    assert (hints.trained_context, hints.embedding_length) == (512, 384)
    (model,) = ModelKnowledge([recording]).installed(recording)
    assert model.capabilities == ("embedding",)
    assert model.weights.fact("context_length") == 512
