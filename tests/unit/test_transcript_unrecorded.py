"""Unloads that a recording does not show: when they are inferred, and when they are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from warmset.shell.conformance.recorded_models import ModelKnowledge
from warmset.shell.conformance.recording import read_recording
from warmset.shell.conformance.transcripts import check_recording

JSON = "application/json; charset=utf-8"
BEGUN = "2026-11-22T01:00:00Z"


def request(t: float, wall: float, path: str, body: Any, answer: Any) -> dict[str, Any]:
    return {
        "t_s": t,
        "at": f"2026-11-22T01:00:{t:09.6f}Z",
        "request": {"method": "GET" if body is None else "POST", "path": path, "body": body},
        "response": {"status": 200, "content_type": JSON, "json": answer, "wall_s": wall},
    }


def load(t: float, model: str, wall: float = 0.3) -> dict[str, Any]:
    answer = {
        "model": model,
        "created_at": f"2026-11-22T01:00:{t + wall:09.6f}Z",
        "response": "",
        "done": True,
        "done_reason": "load",
    }
    body = {"model": model, "keep_alive": "10m", "stream": False}
    return request(t, wall, "/api/generate", body, answer)


def ps(t: float, **loaded_at: float) -> dict[str, Any]:
    rows = [
        {
            "name": f"{name}:latest",
            "model": f"{name}:latest",
            "size": 5,
            "digest": name * 64,
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": "llama",
                "families": ["llama"],
                "parameter_size": "1B",
                "quantization_level": "F16",
            },
            "expires_at": f"2026-11-22T01:10:{at:09.6f}Z",
            "size_vram": 0,
            "context_length": 4096,
        }
        for name, at in sorted(loaded_at.items(), key=lambda item: -item[1])
    ]
    return request(t, 0.001, "/api/ps", None, {"models": rows})


def event(t: float, text: str) -> dict[str, Any]:
    return {"t_s": t, "at": f"2026-11-22T01:00:{t:09.6f}Z", "event": text}


def misses(tmp_path: Path, *rows: dict[str, Any]) -> tuple[str, ...]:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"server": {}, "steps": rows}), "utf-8")
    recording = read_recording(path)
    return check_recording(recording, ModelKnowledge([recording]), over_http=False).misses


def test_a_second_load_proves_an_unload_before_it(tmp_path: Path) -> None:
    """A request as slow as a load is explained by an unload in the pause before it."""
    rows = (load(0, "a"), ps(0.3, a=0.3), load(0.31, "a"), ps(0.61, a=0.61))
    assert misses(tmp_path, *rows) == ()


def test_a_second_load_without_a_pause_is_a_miss(tmp_path: Path) -> None:
    """Nothing can have unloaded the model between two requests sent back to back."""
    rows = (load(0, "a"), load(0.3, "a"), ps(0.6, a=0.6))
    assert any("recorded as a load" in miss for miss in misses(tmp_path, *rows))


def test_a_clean_slate_proves_unloads(tmp_path: Path) -> None:
    """New models without the old ones, after a pause: the old ones were unloaded in it."""
    rows = (load(0, "a"), ps(0.3, a=0.3), load(0.32, "b"), ps(0.62, b=0.62))
    assert misses(tmp_path, *rows) == ()


def test_a_clean_slate_needs_a_pause(tmp_path: Path) -> None:
    """Without one the missing model is a miss."""
    rows = (load(0, "a"), ps(0.3, a=0.3), load(0.301, "b"), ps(0.601, b=0.601))
    assert any("rows" in miss for miss in misses(tmp_path, *rows))


def test_a_model_seen_again_was_not_unloaded(tmp_path: Path) -> None:
    """A list that lacks a model which is there later, without a load, is a miss."""
    rows = (
        load(0, "a"),
        ps(0.3, a=0.3),
        load(0.32, "b"),
        ps(0.62, b=0.62),
        ps(0.7, a=0.3, b=0.62),
    )
    assert any("step 3" in miss for miss in misses(tmp_path, *rows))


def test_a_model_missing_beside_others_that_stay_is_a_miss(tmp_path: Path) -> None:
    """A clean slate is clean: when something stays, a lost row is no unload."""
    rows = (
        load(0, "a"),
        load(0.3, "c"),
        ps(0.6, a=0.3, c=0.6),
        load(0.62, "b"),
        ps(0.92, c=0.6, b=0.92),
    )
    assert any("rows" in miss for miss in misses(tmp_path, *rows))


def test_a_case_begins_without_the_models_of_the_last(tmp_path: Path) -> None:
    """Models are gone at a `CASE`, unless seen there before anything asks for them."""
    gone = (load(0, "a"), event(0.4, "CASE two"), load(0.41, "b"), ps(0.71, b=0.71))
    assert misses(tmp_path, *gone) == ()
    stays = (load(0, "a"), event(0.4, "CASE two"), load(0.41, "b"), ps(0.71, a=0.3, b=0.71))
    assert misses(tmp_path, *stays) == ()


def test_an_event_of_an_unknown_form_changes_nothing(tmp_path: Path) -> None:
    """What no exchange shows is counted and noted."""
    assert misses(tmp_path, load(0, "a"), event(0.4, "the fan is loud"), ps(0.5, a=0.3)) == ()


def test_events_are_checked(tmp_path: Path) -> None:
    """Counts of processes, waiting requests and empty lists must be those of the twin."""
    for text in ("runner processes: 5", "X is still waiting", "/api/ps empty 3 s after"):
        assert misses(tmp_path, load(0, "a"), event(0.5, text)) != ()
    assert misses(tmp_path, load(0, "a"), event(0.5, "runner processes: 1")) == ()
