"""The rules and the twin give the decisions of the real scheduler."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from warmset.errors import TraceError
from warmset.shell.conformance.decisions import check_file, check_folder

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests/data/ollama-decisions"


@pytest.mark.parametrize("path", sorted(VECTORS.glob("*.json")), ids=lambda path: path.stem)
def test_recorded_decisions_are_reproduced(path: Path) -> None:
    """Every row and every step of the recordings comes out of warmset's own rules."""
    result = check_file(path)
    assert not result.misses, result.misses[:5]
    assert result.checked > 100


def _damaged(tmp_path: Path, name: str, change: str, into: str) -> Path:
    text = (VECTORS / name).read_text()
    assert change in text
    (tmp_path / name).write_text(text.replace(change, into, 1))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "change", "into"),
    [
        ("predict.json", '"predicted":5189174400', '"predicted":5189174401'),
        ("placement.json", '"selected":["ROCm:0"]', '"selected":["ROCm:1"]'),
        ("context.json", '"default_num_ctx":262144', '"default_num_ctx":4096'),
        ("batch.json", '"num_batch_after":128', '"num_batch_after":512'),
        ("scenarios.json", '"outcome":"waiting"', '"outcome":"ok"'),
        ("scenarios.json", '"op":"system_free"', '"op":"teleport"'),
        ("scenarios-real.json", '"vram_by_gpu_seen":{}', '"vram_by_gpu_seen":{"CUDA:1":1}'),
    ],
)
def test_a_wrong_recording_is_a_miss(tmp_path: Path, name: str, change: str, into: str) -> None:
    """The check can fail: one changed value in a file is reported."""
    folder = _damaged(tmp_path, name, change, into)
    (result,) = check_folder(folder)
    assert result.misses


def test_the_script_exits_1_on_a_miss_and_names_the_file(tmp_path: Path) -> None:
    """`scripts/check_decisions DIR` tells which file missed and how."""
    folder = _damaged(tmp_path, "predict.json", '"predicted":5189174400', '"predicted":1')
    script = ROOT / "scripts/check_decisions"
    done = subprocess.run(
        [sys.executable, script, folder], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "predict.json: 196 checked, 1 misses" in done.stdout


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    """A JSON file without tables or scenarios is an error, not a silent success."""
    (tmp_path / "other.json").write_text(json.dumps({"cases": []}))
    with pytest.raises(TraceError, match="neither"):
        list(check_folder(tmp_path))
