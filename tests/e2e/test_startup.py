"""Start-up is a feature: what a command does not need is not loaded. Counted in modules."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from warmset.adapters.journal import state_folder
from warmset.cli.app import VERBS
from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import physics_of
from warmset.shell.twin_files import find_host
from warmset.shell.twin_server import TwinServer

HEAVY = {"pydantic", "httpx", "rich", "pynvml", "psutil", "starlette", "uvicorn", "tomlkit"}
HEAVY |= {"asyncio", "sqlite3", "prometheus_client", "structlog", "importlib.metadata"}

PROGRAM = """
import sys
from warmset.cli.app import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
print("LOADED", *sys.modules, file=sys.stderr)
"""


def loaded_by(*arguments: str, cwd: Path | None = None) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return set(done.stderr.partition("LOADED")[2].split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["-h"]])
def test_asking_for_help_loads_nothing_heavy(arguments: list[str]) -> None:
    """Neither libraries, nor any verb, nor a room of the core."""
    loaded = loaded_by(*arguments)
    assert "warmset.cli.app" in loaded
    assert loaded & HEAVY == set()
    assert not [name for name in loaded if name.startswith("warmset.cli.commands.")]
    assert not [name for name in loaded if name.startswith(("warmset.core", "warmset.adapters"))]


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_help_of_a_verb_loads_nothing_heavy(verb: str) -> None:
    """A verb's module imports its libraries when it runs, not when it explains itself."""
    assert loaded_by(verb, "--help") & HEAVY == set()


def test_status_of_a_host_that_taught_nothing_loads_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite comes with the first kept load only."""
    monkeypatch.setenv("WARMSET_STATE", str(tmp_path))
    loaded = loaded_by("status", "--host", "twin://cpu?demand=idle")
    assert "sqlite3" not in loaded


def test_status_loads_only_the_rooms_of_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither planner, policies, demand, loop nor twin; not even where demand has been kept.

    Nor, where no file wants to be checked, pydantic.
    """
    monkeypatch.setenv("WARMSET_STATE", str(tmp_path))
    spec = find_host("cpu")
    server = TwinServer(Api(TwinHost(spec, physics_of(spec), Timeline(time.time()))), speed=None)
    server.start()
    try:
        folder = state_folder(os.environ, server.url)
        folder.mkdir(parents=True)
        (folder / "demand.sqlite3").touch()
        loaded = loaded_by("status", "-o", "wide", "--host", server.url, cwd=tmp_path)
    finally:
        server.stop()
    rooms = {".".join(name.split(".")[:3]) for name in loaded if name.startswith("warmset.core.")}
    others = {f"warmset.core.{room}" for room in ("planner", "policy", "demand", "control", "twin")}
    assert "warmset.core.host" in rooms
    assert rooms & others == set()
    assert loaded & HEAVY <= {"httpx", "psutil", "pynvml"}


def test_completion_loads_nothing_heavy() -> None:
    """Shells ask at every key stroke."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "warmset"],
        env={**os.environ, "_WARMSET_COMPLETE": "complete_bash", "COMP_WORDS": "warmset con"}
        | {"COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.split() == ["config"]
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in loaded
    assert loaded & HEAVY == set()


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    """`warmset config show | head -0` ends quietly, with the code of a broken pipe."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-m", "warmset", "config", "show"],
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (141, "")


def test_an_ascii_terminal_loses_no_answer(tmp_path: Path) -> None:
    """Where the locale cannot show a letter it is spelled out, instead of an error."""
    (tmp_path / "budgets.toml").write_text('[model."模"]\npin = true\n', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "warmset", "config", "show", "-o", "name"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "\\u6a21" in done.stdout
