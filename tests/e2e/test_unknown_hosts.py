"""What is not known of a host is said, and nothing is promised or done on a guess."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from recorded_server import RecordedHost, serving
from test_verbs import TWIN, Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A fresh directory with the pins of `test_verbs`."""
    return Shell(tmp_path)


class Odd(RecordedHost):
    """The recorded server with some of its answers replaced."""

    def __init__(self, **replaced: Any) -> None:
        super().__init__()
        self._replaced = replaced

    def __call__(self, method: str, path: str, body: Any) -> tuple[int, str, bytes]:
        """Answers `path` with a replaced value, everything else as recorded."""
        key = path.rsplit("/", 1)[-1]
        if key not in self._replaced:
            return super().__call__(method, path, body)
        status, value = self._replaced[key]
        return status, "application/json", json.dumps(value).encode()


def test_a_plan_without_the_residents_has_no_steps(shell: Shell) -> None:
    """A `/api/ps` that makes no sense is unknown: no "nothing to do", and exit code 8."""
    with serving(Odd(ps=(200, {"models": "none"}))) as url:
        done = shell.run("plan", "--host", url)
        document = shell.read("plan", "--host", url)
    assert done.returncode == 8
    assert "what is resident is not known" in done.stdout
    assert "Nothing to do" not in done.stdout
    assert document["knows_residents"] is False


def test_a_server_with_gpus_that_are_not_here_is_not_planned_in_ram(shell: Shell) -> None:
    """A resident with GPU bytes proves GPUs; without a reading of them nothing is promised."""
    row = {
        "name": "tiny-llama:20m",
        "model": "tiny-llama:20m",
        "size": 10**9,
        "size_vram": 10**9,
        "digest": "0" * 64,
        "details": {},
        "expires_at": "2030-01-01T00:00:00Z",
        "context_length": 4096,
    }
    with serving(Odd(ps=(200, {"models": [row]}))) as url:
        done = shell.run("fit", "tiny-llama:20m", "--host", url)
        (shell.folder / "budgets.toml").write_text('[model."tiny-llama:20m"]\n')
        plan = shell.run("plan", "--host", url)
        told = shell.run("explain", "tiny-llama:20m", "--host", url)
    assert done.returncode == 6
    assert "cannot promise" in done.stdout
    assert "run on the CPU" not in done.stderr
    assert plan.stdout.startswith("nothing can be promised\n")
    assert "would bring it back: a reading of what is not known (`warmset doctor`)" in told.stdout
    assert "or a pin" not in told.stdout


def test_metadata_that_does_not_come_has_a_reason(shell: Shell) -> None:
    """A failed show is named in `plan`, and nothing of that model is unloaded for it."""
    with serving(Odd(show=(500, {"error": "disk on fire"}))) as url:
        done = shell.run("plan", "--host", url)
    assert "metadata is not known" in done.stderr
    assert "unload" not in done.stdout


def test_a_pin_that_is_not_installed_is_said(shell: Shell) -> None:
    """`plan` does not pass over a pin that nothing can hold."""
    (shell.folder / "budgets.toml").write_text('[model."ghost:7b"]\npin = true\n')
    done = shell.run("plan", "--host", TWIN)
    assert "ghost:7b is pinned, but not installed" in done.stderr


def test_another_context_than_the_resident_one_is_a_reload(shell: Shell) -> None:
    """What a resident holds today says nothing about the context that its clients will get."""
    (shell.folder / "budgets.toml").write_text("")
    seen = shell.read("status", "--host", TWIN)
    name = seen["residents"][0]["name"]
    as_it_is = shell.read("fit", name, "--host", TWIN)["members"][0]
    larger = shell.read("fit", name, "--ctx", "65536", "--host", TWIN)["members"][0]
    assert sum(larger["placement_upper_bytes"].values()) > sum(
        as_it_is["placement_upper_bytes"].values()
    )


def test_a_known_model_that_is_not_here_points_to_add(shell: Shell) -> None:
    """`fit` is about installed models, and says which verb is for the others."""
    done = shell.run("fit", "phi4:14b", "--host", TWIN)
    assert done.returncode == 4
    assert "add phi4:14b --dry-run" in done.stderr
