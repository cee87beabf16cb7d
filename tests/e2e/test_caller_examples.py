"""The examples for callers are run as they are shipped, against a pretended Ollama over HTTP."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.shell.assets import BUNDLES
from warmset.shell.twin_server import TwinServer

ROOT = Path(__file__).parents[2]
CALLERS = ROOT / "src/warmset/share/callers"
CHAT, EMBED = "llama3.2:3b", "nomic-embed-text:latest"
BY_HAND = {"open-webui.txt"}
"""Open WebUI has a page, not a program."""


@pytest.fixture(scope="module")
def server() -> Iterator[TwinServer]:
    """A workstation, a hundred times as fast as the clock."""
    spec = named_host("workstation")
    host = TwinHost(spec, physics_of(spec), Timeline(time.time()))
    with TwinServer(Api(host), speed=100.0) as started:
        yield started


@pytest.fixture(scope="module")
def npm_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the npm package `ollama`; skips loudly where it cannot be had."""
    folder = tmp_path_factory.mktemp("npm")
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm on this machine: the example for the package `ollama` is NOT checked")
    done = subprocess.run(
        [npm, "install", "--no-audit", "--no-fund", "--fetch-retries=0", "ollama"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"npm cannot install `ollama`, so its example is NOT checked: {done.stderr}")
    return folder


@pytest.fixture(scope="module")
def langchain_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with langchain-ollama; skips loudly where it cannot be had.

    Not beside the tests' own packages: httpx and uvicorn behave otherwise with what it brings.
    """
    folder = tmp_path_factory.mktemp("langchain")
    quiet = ("--quiet", "--no-input", "--disable-pip-version-check", "--retries=1")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *quiet, "--target", folder, "langchain-ollama"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        pytest.skip(
            f"pip cannot install langchain-ollama, its example is NOT checked: {done.stderr}"
        )
    return folder


def run(
    server: TwinServer,
    *command: str | Path,
    cwd: Path | None = None,
    packages: Path = ROOT / "src",
) -> str:
    """Returns what a program prints that ends well."""
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, "OLLAMA_HOST": server.url, "PYTHONPATH": str(packages)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def kept(server: TwinServer) -> dict[str, float]:
    """Returns model -> keep-alive as the pretended scheduler has it, and unloads all."""
    with server.locked() as host:
        found = {}
        for row in host.residents():
            found[row.model.name] = host.scheduler.loaded[row.model.key].duration
            host.unload(row.model)
    return found


def need(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"no {program} on this machine: its example is NOT checked")
    return found


def test_with_curl(server: TwinServer) -> None:
    """Chat, embedding and job; the last one counts."""
    need("curl")
    assert "embeddings" in run(server, "sh", CALLERS / "curl.sh")
    assert kept(server) == {CHAT: 60.0, EMBED: 86400.0}


def test_with_httpx(server: TwinServer) -> None:
    """A hook adds what the call does not say."""
    assert run(server, sys.executable, CALLERS / "python_httpx.py").strip()
    assert kept(server) == {CHAT: 60.0}


def test_with_the_python_package(server: TwinServer) -> None:
    """A transport for the `ollama` package, streaming too."""
    assert "768 numbers" in run(server, sys.executable, CALLERS / "python_ollama.py")
    assert kept(server) == {CHAT: 3600.0, EMBED: 86400.0}


def test_with_node(server: TwinServer) -> None:
    """Node's own fetch."""
    assert run(server, need("node"), CALLERS / "node_fetch.mjs").strip()
    assert kept(server) == {CHAT: 60.0}


def test_with_the_npm_package(server: TwinServer, npm_folder: Path) -> None:
    """Its calls take `keep_alive` themselves."""
    example = npm_folder / "node_ollama.mjs"
    example.write_text((CALLERS / "node_ollama.mjs").read_text())
    assert "768 numbers" in run(server, need("node"), example, cwd=npm_folder)
    assert kept(server) == {CHAT: 3600.0, EMBED: 86400.0}


def test_with_langchain(server: TwinServer, langchain_folder: Path) -> None:
    """Chat model and embeddings take `keep_alive` themselves."""
    example = (sys.executable, "-S", CALLERS / "langchain_chat.py")
    assert "768 numbers" in run(server, *example, packages=langchain_folder)
    assert kept(server) == {CHAT: 3600.0, EMBED: 86400.0}


def test_every_example_is_run_or_named_as_one_that_is_not() -> None:
    """The bundle lists the folder, and each file of it stands in a test above or in `BY_HAND`."""
    (bundle,) = (bundle for bundle in BUNDLES if bundle.name == "callers")
    files = {path.name for path in CALLERS.iterdir()}
    assert set(bundle.files) == files
    tested = Path(__file__).read_text()
    assert [name for name in files - BY_HAND if f'/ "{name}"' not in tested] == []
