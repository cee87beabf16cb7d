"""`warmset add --dry-run` of models that are nowhere near: published, behind URLs, in files."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf_bytes as raw
import pytest
from range_server import RangeServer, serving

from warmset.core.model import Entry, Observation
from warmset.core.settings import Settings
from warmset.core.units import MIB
from warmset.errors import BadPayload, FactsError, UnknownModel, Unreachable
from warmset.shell.newcomer import find_newcomer
from warmset.shell.observe import look_closely

ROOT = Path(__file__).parents[2]
TWIN = "twin://workstation?demand=office&hours=3&seed=5"
NOBODY = "http://127.0.0.1:9"
HEAD = raw.tiny_llama(vocabulary=60_000)  # 1 MiB of header
Run = Callable[..., subprocess.CompletedProcess[str]]
Find = Callable[..., Entry]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"WARMSET_REGISTRY": NOBODY, "CACHE_DIRECTORY": str(tmp_path / "cache")}


@pytest.fixture
def server(environ: dict[str, str]):
    with serving() as state:
        environ["WARMSET_REGISTRY"] = state.url
        yield state


@pytest.fixture(scope="module")
def host() -> Observation:
    return look_closely(Settings(url=TWIN)).observation


@pytest.fixture
def find(environ: dict[str, str], host: Observation) -> Find:
    return lambda name, **how: find_newcomer(host, name, environ, **how)


@pytest.fixture
def add(environ: dict[str, str], tmp_path: Path) -> Run:
    def add(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "warmset", "add", *arguments, "--dry-run", "--host", TWIN],
            cwd=tmp_path,
            env={
                **os.environ,
                **environ,
                "PYTHONPATH": str(ROOT / "src"),
                "HOME": str(tmp_path),
                "WARMSET_STATE": str(tmp_path / "state"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return add


def published(server: RangeServer, folder: Path, size: int = 40 * 10**9) -> str:
    """Puts a model of any size into the pretended library; its name."""
    path = raw.write_sparse(folder / "weights", HEAD, size)
    server.publish("library/tiny", "1b", {"model": path}, model_type="1B", file_type="F16")
    return "tiny:1b"


def test_a_published_model_is_tried_out_before_the_download(
    add: Run, server: RangeServer, tmp_path: Path
) -> None:
    """The registry's header decides, a few MB of 40 GB are read, and a second try reads none."""
    name = published(server, tmp_path, 8 * 10**9)
    done = add(name, "-o", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["model"], report["basis"]) == (name, "header read from the registry")
    assert report["ollama_forecast_bytes"] > 8 * 10**9
    assert report["verdict"].startswith("fits")
    read = server.sent_bytes
    assert read < 16 * 10**6
    again = add(name)
    assert "facts: header read earlier" in again.stdout
    assert server.sent_bytes - read < MIB // 4


@pytest.fixture
def secure_server(environ: dict[str, str], tmp_path: Path):
    """A registry of its own, with a certificate that `environ` trusts."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl command to make a certificate with")
    pair = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(pair[0]), "-out", str(pair[1])),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair[1], pair[0])
    environ["SSL_CERT_FILE"] = str(pair[1])
    with serving(tls=context) as state:
        yield state


def test_a_model_of_a_hub_is_tried_out_under_its_hosts_name(
    add: Run, secure_server: RangeServer, environ: dict[str, str], tmp_path: Path
) -> None:
    """HOST/USER/REPO:QUANT, as for hf.co: always encrypted, and blobs come from elsewhere."""
    path = raw.write_sparse(tmp_path / "weights", HEAD, 5 * 10**9)
    secure_server.publish("someone/Model-GGUF", "Q4_K_M", {"model": path}, file_type="Q4_K_M")
    blob = next(p for p in secure_server.files if "/blobs/" in p)
    name = f"{secure_server.url.removeprefix('https://')}/someone/Model-GGUF:Q4_K_M"
    secure_server.redirects[blob] = f"{secure_server.url}/store/weights"
    secure_server.files["/store/weights"] = path
    done = add(name, "-o", "json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["model"], report["basis"]) == (name, "header read from the registry")
    assert report["ollama_forecast_bytes"] > 5 * 10**9
    assert secure_server.sent_bytes < 16 * 10**6
    del environ["SSL_CERT_FILE"]
    environ["CACHE_DIRECTORY"] = str(tmp_path / "another")
    distrusted = add(name)
    assert distrusted.returncode == 4
    assert "certificate" in distrusted.stderr.lower()


def test_what_the_network_says_beats_the_built_in_facts(
    find: Find, server: RangeServer, tmp_path: Path
) -> None:
    """A well-known name is looked up all the same; what is installed is not."""
    path = raw.write_sparse(tmp_path / "w", HEAD, 9 * 10**9)
    server.publish("library/phi4", "14b", {"model": path})
    assert find("phi4:14b").file_bytes == 9 * 10**9
    asked = len(server.requests)
    assert find("llama3.1:8b").basis == "show verbose"
    assert len(server.requests) == asked


@pytest.mark.parametrize("habit", ["good", "ignores", "crumbs", "blind", "more"])
def test_servers_that_are_bad_at_ranges_still_tell(
    find: Find, server: RangeServer, tmp_path: Path, habit: str
) -> None:
    """The same facts come out, and the weights stay where they are."""
    server.habit = habit
    entry = find(published(server, tmp_path))
    assert (entry.facts["llama.block_count"], len(entry.tensors or ())) == (2, 4)
    assert entry.file_bytes == 40 * 10**9
    assert server.sent_bytes < 64 * MIB


def test_redirects_are_followed_to_the_store(
    find: Find, server: RangeServer, tmp_path: Path
) -> None:
    """As registries and hubs send readers of blobs to another host."""
    with serving() as store:
        name = published(server, tmp_path)
        for blob in [path for path in server.files if "/blobs/" in path]:
            store.files[blob] = server.files[blob]
            server.redirects[blob] = f"{store.url}{blob}?signature=secret"
        entry = find(name)
    assert entry.facts["llama.block_count"] == 2
    assert "secret" not in entry.basis


def test_a_registry_that_breaks_off_is_an_error_unless_the_name_is_known(
    find: Find, server: RangeServer, tmp_path: Path
) -> None:
    """No half-read header is used; well-known names fall back, and the basis says why."""
    server.habit = "truncates"
    with pytest.raises(BadPayload):
        find(published(server, tmp_path))
    path = raw.write_sparse(tmp_path / "w", HEAD, 9 * 10**9)
    server.publish("library/phi4", "14b", {"model": path})
    assert find("phi4:14b").basis.startswith("built-in facts (")


def test_a_registry_that_is_down(find: Find, add: Run) -> None:
    """Well-known names have facts of their own, marked so; others are an error that helps."""
    assert find("phi4:14b").basis.startswith("built-in facts (no connection to http://127.0.0.1:9")
    with pytest.raises(Unreachable, match="no connection"):
        find("nosuch:1b")
    done = add("phi4:14b")
    assert done.returncode == 0, done.stderr
    assert "facts: built-in facts (no connection" in done.stdout
    lost = add("nosuch:1b")
    assert (lost.returncode, lost.stdout) == (4, "")
    assert "--offline" in lost.stderr


def test_files_and_urls_are_tried_out(add: Run, server: RangeServer, tmp_path: Path) -> None:
    """A local GGUF and one behind a URL give one answer; broken ones say what is wrong."""
    path = raw.write_sparse(tmp_path / "mine.gguf", HEAD, 2 * 10**9)
    server.files["/mine.gguf"] = path
    local, remote = add("./mine.gguf", "-o", "json"), add(f"{server.url}/mine.gguf", "-o", "json")
    assert local.returncode == remote.returncode == 0, local.stderr + remote.stderr
    here, there = json.loads(local.stdout), json.loads(remote.stdout)
    assert (here["basis"], there["basis"]) == ("GGUF file", "header read from its URL")
    assert here["ollama_forecast_bytes"] == there["ollama_forecast_bytes"] > 2 * 10**9
    (tmp_path / "bad.gguf").write_bytes(b"<html>")
    broken = add("./bad.gguf")
    assert broken.returncode == 6
    assert "does not begin with GGUF" in broken.stderr
    assert add("./missing.gguf").returncode == 3


def test_offline_asks_nobody(find: Find, server: RangeServer, tmp_path: Path) -> None:
    """The cache answers for what was seen, built-in facts for what is known, an error else."""
    name = published(server, tmp_path)
    with pytest.raises(UnknownModel):
        find(name, offline=True)
    assert server.requests == []
    find(name)
    asked = len(server.requests)
    assert find(name, offline=True).basis == "header read earlier; --offline"
    assert find("phi4:14b", offline=True).basis == "built-in facts (--offline)"
    assert len(server.requests) == asked


def test_a_file_that_is_no_model_is_refused(find: Find, server: RangeServer) -> None:
    """Even under a name that the registry serves."""
    server.publish("library/odd", "1b", {"model": b"<html>" + bytes(100)})
    with pytest.raises(FactsError, match="does not begin with GGUF"):
        find("odd:1b")
