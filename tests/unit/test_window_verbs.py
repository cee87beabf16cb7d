"""What the verbs say of windows and keep-alives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from warmset.cli.app import main

TWIN = "twin://workstation?hours=3&seed=5"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a verb against a twin; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WARMSET_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TZ", "UTC")
    Path("budgets.toml").write_text(  # the twin's users stop on a Monday at 12:00 UTC
        '[class.far]\nwindows = ["Thu 08:00-18:00"]\n'
        '[model."qwen2.5-coder:7b"]\nclass = "far"\npin = true\n'
        '[model."llama3.1:8b"]\npriority = 90\nkeep_alive = "1h"\n'
        'windows = ["Mon 20:30-21:30"]\ntimezone = "Asia/Tokyo"\n'
    )

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--host", TWIN])
        printed = capsys.readouterr()
        return int(str(end.value.code)), printed.out, printed.err

    return call


def test_a_plan_leaves_out_what_is_outside_its_windows(run: Run) -> None:
    """A pin too; what is inside its windows is planned as ever."""
    code, out, _ = run("plan")
    assert code == 0
    assert "qwen2.5-coder:7b: outside its windows" in out
    assert "preload  llama3.1:8b" in out


def test_explain_tells_when_windows_open_and_end(run: Run) -> None:
    """In hours from now, with the keep-alive beside it."""
    out = run("explain", "qwen2.5-coder:7b")[1]
    assert "its windows open in 2d20h" in out
    assert "its next window, or `warmset hold qwen2.5-coder:7b --for 2h`" in out
    out = run("explain", "llama3.1:8b")[1]
    assert "its windows are open for 30m more" in out
    assert "it is kept for 1h after its last use" in out


def test_config_show_prints_windows_as_they_are_written(run: Run) -> None:
    """What a class lends stands with the model, with the line it came from."""
    out = run("config", "show", "--origin")[1]
    line = next(line for line in out.splitlines() if 'qwen2.5-coder:7b".windows' in line)
    assert "08:00-18:00" in line
    assert "budgets.toml:2" in line
    assert 'llama3.1:8b".keep_alive' in out
