"""Recordings of a real Ollama against the served twin, and recordings that lie."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from warmset.errors import TraceError
from warmset.shell.conformance.recorded_models import ModelKnowledge
from warmset.shell.conformance.recording import Recording, read_recording
from warmset.shell.conformance.transcripts import (
    Attempt,
    check_recording,
    check_transcripts,
)

FOLDER = Path(__file__).parent / "transcripts"
PATHS = sorted(FOLDER.glob("*.json"))
SCRIPT = Path(__file__).parents[2] / "scripts" / "check_transcripts"


@pytest.fixture(scope="module")
def recordings() -> dict[str, Recording]:
    return {path.name: read_recording(path) for path in PATHS}


@pytest.fixture(scope="module")
def knowledge(recordings: dict[str, Recording]) -> ModelKnowledge:
    return ModelKnowledge(recordings.values())


@pytest.mark.parametrize("name", [path.name for path in PATHS])
def test_the_twin_behaves_as_recorded_over_http(
    name: str, recordings: dict[str, Recording], knowledge: ModelKnowledge
) -> None:
    """Every recorded step has the same status and body from the served twin."""
    assert check_recording(recordings[name], knowledge).misses == ()


@pytest.mark.parametrize("name", [path.name for path in PATHS])
def test_each_transcript_holds_alone(
    name: str, recordings: dict[str, Recording], knowledge: ModelKnowledge
) -> None:
    """In process the same recordings hold too: the server adds nothing but sockets."""
    assert check_recording(recordings[name], knowledge, over_http=False).misses == ()


Change = Callable[[list[Any]], None]


def mutate(tmp_path: Path, name: str, change: Change) -> tuple[str, ...]:
    document = json.loads((FOLDER / name).read_text("utf-8"))
    change(document["steps"])
    path = tmp_path / name
    path.write_text(json.dumps(document), "utf-8")
    changed = read_recording(path)
    known = ModelKnowledge([*map(read_recording, PATHS)])
    return check_recording(changed, known, over_http=False).misses


def set_status(index: int, status: int) -> Change:
    return lambda steps: steps[index]["response"].update(status=status)


def set_field(index: int, key: str, value: object) -> Change:
    return lambda steps: steps[index]["response"]["json"].update({key: value})


def drop_row(index: int, row: int) -> Change:
    def change(steps: list[Any]) -> None:
        del steps[index]["response"]["json"]["models"][row]

    return change


def add_row(index: int, source: int) -> Change:
    def change(steps: list[Any]) -> None:
        rows = steps[index]["response"]["json"]["models"]
        rows.append(steps[source]["response"]["json"]["models"][0])

    return change


def reverse_rows(index: int) -> Change:
    return lambda steps: steps[index]["response"]["json"]["models"].reverse()


def set_row(index: int, key: str, value: object) -> Change:
    return lambda steps: steps[index]["response"]["json"]["models"][0].update({key: value})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        pytest.param("27-queue-full.json", set_status(4, 200), id="status"),
        pytest.param("27-queue-full.json", set_status(2, 503), id="status of a load"),
        pytest.param("06-preload-keep-alive-invalid.json", set_status(3, 500), id="status 400"),
        pytest.param(
            "12-load-aborted.json", set_field(4, "done_reason", "load"), id="done_reason unload"
        ),
        pytest.param(
            "13-expires-at-and-requests.json", set_field(2, "done_reason", "stop"), id="length"
        ),
        pytest.param(
            "08-unknown-model-and-bad-requests.json", set_field(0, "error", "no"), id="error"
        ),
        pytest.param("04-ps-empty-one-several.json", drop_row(5, 1), id="ps row lost"),
        pytest.param("04-ps-empty-one-several.json", reverse_rows(5), id="ps order"),
        pytest.param("02-version-root-tags.json", reverse_rows(4), id="tags order"),
        pytest.param("05-preload-keep-alive-forms.json", drop_row(13, 0), id="ps row lost in 05"),
        pytest.param("05-preload-keep-alive-forms.json", add_row(15, 13), id="ps row added in 05"),
        pytest.param("20-max-loaded-eviction-order.json", drop_row(5, 0), id="ps after eviction"),
        pytest.param("11-ps-while-loading.json", add_row(12, 15), id="ps lists a loading model"),
        pytest.param(
            "14-options-and-reload.json", set_row(10, "context_length", 4096), id="context"
        ),
        pytest.param(
            "13-expires-at-and-requests.json",
            set_row(3, "expires_at", "2026-11-22T01:49:02.28Z"),
            id="expiry",
        ),
        pytest.param(
            "16-names-copies-delete.json", set_row(8, "name", "tiny-llama:20m"), id="name"
        ),
        pytest.param(
            "20-max-loaded-eviction-order.json",
            lambda steps: steps[6].update(event="evicted: small-llama:100m"),
            id="victim",
        ),
        pytest.param(
            "14-options-and-reload.json",
            lambda steps: steps[9].update(event="runner process unchanged"),
            id="reload",
        ),
        pytest.param(
            "18-unload-then-preload-race.json",
            lambda steps: steps[0].update(
                event=steps[0]["event"].replace("later resident", "later NOT resident")
            ),
            id="race",
        ),
        pytest.param(
            "25-server-restart.json",
            lambda steps: steps[7]["response"].update(client_error="TimeoutError: timed out"),
            id="refused",
        ),
    ],
)
def test_a_corrupted_recording_is_a_miss(tmp_path: Path, name: str, change: Change) -> None:
    """The check fails when a recording says what Ollama never does."""
    assert mutate(tmp_path, name, change)


def test_unrecorded_unloads_are_few_and_proven(
    recordings: dict[str, Recording], knowledge: ModelKnowledge
) -> None:
    """Unloads are inferred only where a recorded load proves that the model was gone."""
    inferred = {
        name: len(Attempt(recording=recording, knowledge=knowledge, digests={}).run().unloads)
        for name, recording in recordings.items()
    }
    assert {name[:2]: count for name, count in inferred.items() if count} == {
        "05": 15,
        "12": 1,
    }


def test_the_script_prints_a_line_per_file_and_fails_on_a_miss(tmp_path: Path) -> None:
    """`scripts/check_transcripts DIR` names the file, counts steps and exits 1 on a miss."""
    document = json.loads((FOLDER / "08-unknown-model-and-bad-requests.json").read_text("utf-8"))
    (tmp_path / "good.json").write_text(json.dumps(document), "utf-8")
    run = subprocess.run(
        [sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout) == (0, "good.json: 16 steps, ok\n")
    document["steps"][0]["response"]["status"] = 200
    (tmp_path / "good.json").write_text(json.dumps(document), "utf-8")
    run = subprocess.run(
        [sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert re.match(r"good\.json: 16 steps, \d+ misses\n    step 0: ", run.stdout)


def test_a_folder_without_transcripts_is_refused(tmp_path: Path) -> None:
    """An empty folder and a file of another form are errors that name it."""
    with pytest.raises(TraceError, match="no .json files"):
        list(check_transcripts(tmp_path))
    (tmp_path / "x.json").write_text("{}", "utf-8")
    with pytest.raises(TraceError, match=r"x\.json: not a transcript"):
        list(check_transcripts(tmp_path))
