"""Shell completion: verbs, options, and the names of models as they were last seen."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.adapters.ollama.names import recall_names, remember_names
from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.shell.twin_server import TwinServer

ROOT = Path(__file__).parents[2]
NOWHERE = "http://192.0.2.1:11434"  # TEST-NET-1: whoever asks it waits


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment whose cache is this test's own."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "CACHE_DIRECTORY": str(tmp_path / "cache"),
        "HOME": str(tmp_path),
        "SHELL": "/bin/bash",
    }


def complete(environ: dict[str, str], *words: str) -> list[str]:
    """Returns what bash would offer for the last word."""
    done = subprocess.run(
        [sys.executable, "-m", "warmset"],
        env={
            **environ,
            "_WARMSET_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["warmset", *words]),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.split()


def test_names_are_offered_as_a_verb_last_saw_them(environ: dict[str, str]) -> None:
    """Any verb that lists models keeps their names; completion finds them."""
    spec = named_host("workstation")
    host = TwinHost(spec, physics_of(spec), Timeline(time.time()))
    with TwinServer(Api(host)) as server:
        subprocess.run(
            [sys.executable, "-m", "warmset", "plan", "-o", "name", "--host", server.url],
            env=environ,
            capture_output=True,
            check=False,  # on a host whose GPUs cannot be read the plan says so
            timeout=60,
        )
    assert complete(environ, "pin", "llama3.2") == ["llama3.2:3b"]
    assert "qwen2.5-coder:7b" in complete(environ, "explain", "qwen2.5-c")
    assert complete(environ, "fit", "llama3.2:3b", "nomic") == ["nomic-embed-text:latest"]
    assert complete(environ, "run", "--with", "phi4:14b,nomic") == [
        "phi4:14b,nomic-embed-text:latest"
    ]
    assert "run" in complete(environ, "ru")
    assert "--with" in complete(environ, "run", "--w")


def test_completion_asks_no_server_and_loads_nothing_slow(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Not even one that the environment names; HTTP, pydantic and the core stay out."""
    remember_names(tmp_path / "cache", NOWHERE, ["here:1b"])
    remember_names(tmp_path / "cache", "http://127.0.0.1:1", ["there:1b"])
    assert complete(environ, "pin", "") == ["here:1b", "there:1b"]
    assert complete({**environ, "OLLAMA_HOST": "192.0.2.1"}, "pin", "") == ["here:1b"]
    program = (
        "import sys; from warmset.cli.completing import complete_model; complete_model('');"
        "print([m for m in ('httpx', 'pydantic', 'psutil', 'asyncio', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_script_can_be_shown_and_installed(environ: dict[str, str], tmp_path: Path) -> None:
    """`--show-completion` prints it, `--install-completion` writes it where the shell looks."""
    warmset = [sys.executable, "-m", "warmset"]
    shown = subprocess.run(
        [*warmset, "--show-completion", "bash"],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "complete_bash" in shown.stdout
    subprocess.run(
        [*warmset, "--install-completion", "bash"], env=environ, capture_output=True, check=True
    )
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("complete_bash" in path.read_text(errors="replace") for path in written)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("pin qwen2.5-c", "pin qwen2.5-coder:7b "),
        ("pin phi4:1", "pin phi4:14b "),
        ("explain qwen2.5:", "14b  7b"),
        ("run --with phi4:14b,nom", "run --with phi4:14b,nomic-embed-text:latest "),
        ("run --with=qwen2.5:7", "run --with=qwen2.5:7b "),
        ("fit 'phi4:14b' qwen2.5:14", "fit 'phi4:14b' qwen2.5:14b "),
        (
            'plan --what-if "drop phi4:14b" --det',
            'plan --what-if "drop phi4:14b" --detailed-exitcode ',
        ),
        ("config sh", "config show "),
        ("footprint ./mi", "footprint ./mine.gguf "),
    ],
    ids=lambda text: text.strip(),
)
def test_a_real_bash_completes_names_beyond_their_colon(
    environ: dict[str, str], tmp_path: Path, typed: str, completed: str
) -> None:
    """Bash takes a colon for the end of a word; the script that warmset installs puts names
    together again, and leaves COMP_WORDBREAKS, which all programs share, as it is."""
    names = ["qwen2.5:7b", "qwen2.5:14b", "qwen2.5-coder:7b", "phi4:14b", "nomic-embed-text:latest"]
    remember_names(tmp_path / "cache", "http://127.0.0.1:1", names)
    (tmp_path / "mine.gguf").touch()
    program = tmp_path / "warmset"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m warmset "$@"\n')
    program.chmod(0o755)
    (tmp_path / "rc").write_text(
        f'eval "$({program} --show-completion)"\n'
        "bind 'set show-all-if-ambiguous on' 'set bell-style none'\n"
        "bind 'set enable-bracketed-paste off'\nPS1='ready> '\n"
    )
    clean = {name: value for name, value in environ.items() if name != "COLUMNS"}
    terminal, theirs = pty.openpty()
    bash = subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", str(tmp_path / "rc"), "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env={**clean, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TERM": "dumb"},
        start_new_session=True,
    )
    os.close(theirs)
    try:
        read_until(terminal, "ready> ")
        os.write(terminal, f"warmset {typed}\t".encode())
        read_until(terminal, completed)
    finally:
        bash.kill()
        bash.wait()
        os.close(terminal)


def read_until(terminal: int, expected: str) -> None:
    """Reads until a text is there."""
    shown, deadline = "", time.monotonic() + 30
    while expected not in shown:
        left = deadline - time.monotonic()
        assert select.select([terminal], [], [], max(0.0, left))[0], (expected, shown)
        shown += os.read(terminal, 1 << 16).decode(errors="replace")


def test_damaged_names_are_as_if_there_were_none(tmp_path: Path) -> None:
    """No file, a torn one, one of another form: nothing is offered, nothing fails."""
    assert recall_names(None) == recall_names(tmp_path) == ()
    remember_names(None, "x", ["a"])
    remember_names(tmp_path, "http://a", ["b:1", "a:1", "a:1"])
    (file,) = (tmp_path / "model-names").iterdir()
    assert recall_names(tmp_path) == ("a:1", "b:1")
    for content in ("", "{", "[]", '{"schema_version": 1}', '{"schema_version": 9, "names": []}'):
        file.write_text(content)
        assert recall_names(tmp_path) == ()
    (tmp_path / "model-names").chmod(0o500)
    file.write_bytes(b"\xff")
    remember_names(tmp_path / "no" / "such", "http://b", ["c"])
    assert recall_names(tmp_path) == ()
    (tmp_path / "model-names").chmod(0o700)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=8))
def test_what_is_kept_is_found_again(names: list[str]) -> None:
    """In order, each once, for the server it was kept for."""
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        remember_names(Path(folder), "http://a", names)
        remember_names(Path(folder), "http://b", ["other"])
        assert recall_names(Path(folder), "http://a") == tuple(sorted(set(names)))
