"""A server that means harm costs a bounded time and a bounded memory, and gets nothing."""

from __future__ import annotations

import io
import os
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_server import ATTACKS, HEAD, hostile

from warmset.adapters.journal import make_folder
from warmset.adapters.ollama.address import parse_address
from warmset.adapters.ollama.client import OllamaServer
from warmset.adapters.ollama.sizes import local_blob_bytes
from warmset.adapters.ollama.transport import Http
from warmset.adapters.webhook import post
from warmset.errors import BackendError, BadPayload, BadStatus
from warmset.shell.log import EventLog

ROOT = Path(__file__).parents[2]
MOST_MIB = 700
"""Thirteen attacks at once, each with up to 32 MiB of a reply and its parts."""

VICTIM = """
import sys
from concurrent.futures import ThreadPoolExecutor
import warmset.adapters.ollama.client as client
from warmset.adapters.ollama.address import parse_address
from warmset.errors import BackendError
client.PS_SECONDS = client.TAGS_SECONDS = client.VERSION_SECONDS = 1.0
def ask(url):
    with client.OllamaServer(parse_address(url)) as server:
        for call in (lambda: server.residents(()), server.entries):
            try:
                call()
                return "an answer was believed"
            except BackendError:
                pass
    return "refused"
urls = sys.argv[1:]
with ThreadPoolExecutor(len(urls)) as pool:
    print(*pool.map(ask, urls), sep="\\n")
with open("/proc/self/status") as status:
    print(next(line for line in status if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to ask for memory")
def test_no_answer_is_endless() -> None:
    """Ten gigabytes, rows without number, nesting, headers without end, drips, bombs: each is
    refused, the whole within a minute and less memory than a browser's page."""
    servers = [hostile(attack) for attack in ATTACKS]
    try:
        urls = [server.__enter__().url for server in servers]
        done = subprocess.run(
            [sys.executable, "-c", VICTIM, *urls],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    finally:
        for server in servers:
            server.__exit__(None, None, None)
    assert done.returncode == 0, done.stderr
    *verdicts, peak = done.stdout.split("\n")[:-1]
    assert dict(zip((a.__name__ for a in ATTACKS), verdicts, strict=True)) == {
        attack.__name__: "refused" for attack in ATTACKS
    }
    assert int(peak) >> 10 < MOST_MIB


def test_a_streamed_line_without_end_is_refused() -> None:
    """Downloads and requests are read line by line; one line is bounded too, and so is packing."""

    def endless() -> Iterator[bytes]:
        yield HEAD + b"connection: close\r\n\r\n"
        while True:
            yield b"x" * 65536

    def packed() -> Iterator[bytes]:
        yield HEAD + b"content-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc"

    for attack, words in ((endless, "larger than"), (packed, "encoded")):
        with hostile(attack) as server:
            http = Http(parse_address(server.url), transport=None, monotonic=lambda: 0.0)
            with pytest.raises(BadPayload, match=words):
                list(http.lines("/api/pull", {"model": "a"}, limit_bytes=2 << 20))
            http.close()


def test_streamed_lines_come_whole() -> None:
    """Wherever the parts are cut, each line comes once, the last one too."""

    def lines() -> Iterator[bytes]:
        yield HEAD + b"connection: close\r\n\r\n"
        yield from (b'{"a"', b":1}\n{", b'"b":2}\n', b"\n", b'{"c":3}')

    with hostile(lines) as server:
        http = Http(parse_address(server.url), transport=None, monotonic=lambda: 0.0)
        found = list(http.lines("/api/pull", {"model": "a"}, limit_bytes=1 << 20))
        http.close()
    assert [line for line in found if line.strip()] == [b'{"a":1}', b'{"b":2}', b'{"c":3}']


def test_redirects_lead_nowhere() -> None:
    """A server that points elsewhere is not followed: neither to this machine nor to another."""

    def answers() -> Iterator[bytes]:
        yield HEAD + b'content-length: 13\r\n\r\n{"models":[]}'

    with hostile(answers) as other:

        def elsewhere() -> Iterator[bytes]:
            target = f"{other.url}/api/ps".encode()
            yield b"HTTP/1.1 307 There\r\nlocation: " + target + b"\r\ncontent-length: 0\r\n\r\n"

        with hostile(elsewhere) as server:
            with (
                OllamaServer(parse_address(server.url)) as asked,
                pytest.raises(BadStatus, match="307"),
            ):
                asked.residents(())
            with pytest.raises(BackendError):
                post(server.url, {"event": "x"})
        assert other.requests == []


def test_a_webhook_may_answer_what_it_likes() -> None:
    """Its reply is not read: only the status counts."""

    def endless() -> Iterator[bytes]:
        yield HEAD + b"transfer-encoding: chunked\r\n\r\n"
        while True:
            yield b"10000\r\n" + b" " * 65536 + b"\r\n"

    with hostile(endless) as server:
        post(server.url, {"event": "x"})
        assert server.requests


def test_a_path_from_a_server_is_asked_for_its_size_only(tmp_path: Path) -> None:
    """It must be a blob of a models folder; links, devices and ways around are no blobs."""
    digest = "a" * 64
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    real = blobs / f"sha256-{digest}"
    real.write_bytes(b"12345")
    assert local_blob_bytes(str(real)) == 5
    link = blobs / f"sha256-{'b' * 64}"
    link.symlink_to("/etc/passwd")
    os.mkfifo(blobs / f"sha256-{'c' * 64}")
    for path in (
        str(link),
        f"{blobs}/sha256-{'c' * 64}",
        f"{blobs}/../blobs/sha256-{digest}",
        f"blobs/sha256-{digest}",
        f"/net/evil.example/blobs/sha256-{digest}",
        f"/proc/self/root{real}",
        f"{tmp_path}/other/sha256-{digest}",
        f"{real}\0",
        "/etc/passwd",
        "/",
        "",
    ):
        assert local_blob_bytes(path) is None, path


def test_no_name_steers_a_terminal() -> None:
    """Escape sequences in a model's name are spelled out in log lines for people and for JSON."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    evil = "\x1b]0;owned\x07\x1b[2Jllama\u202e"
    for stream in (Terminal(), io.StringIO()):
        log = EventLog(lambda: 0.0, stream=stream)
        log.write("model_came", model=evil, text=f"loaded {evil}", names=[evil])
        told = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())  # our own colours
        assert "llama" in told
        assert not [c for c in told if not c.isprintable() and c != "\n"]


def test_names_reach_the_core_without_control_characters() -> None:
    """What a server calls its models is made printable where it comes in."""

    def rows() -> Iterator[bytes]:
        body = rb'{"models":[{"name":"\u001b[2Jx","digest":"d","size":1,"size_vram":1,'
        body += rb'"expires_at":"2026-01-01T00:00:00Z"}]}'
        yield HEAD + f"content-length: {len(body)}\r\n\r\n".encode() + body

    with hostile(rows) as server, OllamaServer(parse_address(server.url)) as asked:
        (row,) = asked.residents(())
    assert row.name.isprintable()


def test_a_state_folder_is_ours_alone() -> None:
    """Made 0700 whatever the umask; one that stands open is closed."""
    before = os.umask(0)
    try:
        with tempfile.TemporaryDirectory() as base:
            fresh = make_folder(Path(base) / "fresh")
            open_one = Path(base) / "open"
            open_one.mkdir(mode=0o755)
            make_folder(open_one)
            modes = [stat.S_IMODE(folder.stat().st_mode) for folder in (fresh, open_one)]
            assert modes == [0o700, 0o700]
    finally:
        os.umask(before)


def test_no_shell_and_no_code_from_data() -> None:
    """No source file runs a shell, evaluates text or unpickles."""
    banned = re.compile(r"shell=True|os\.system|os\.popen|\beval\(|\bexec\(|pickle|yaml\.load\(")
    found = [
        f"{path.name}:{number}"
        for path in (ROOT / "src").rglob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if banned.search(line)
    ]
    assert found == []
