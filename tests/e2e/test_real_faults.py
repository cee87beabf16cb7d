"""Real processes, really stopped, starved, cut off and shut out."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from resetting_proxy import ResettingProxy
from serving_rig import PROMPT_SECONDS, ROOT, Process, Rig, rigged

BOTH = {"nomic-embed-text:latest", "llama3.2:3b"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A host of a test's own."""
    with rigged(tmp_path) as made:
        yield made


def settled(rig: Rig) -> Process:
    """Starts a daemon and waits until the plan is true."""
    daemon = rig.serve()
    daemon.wait_for("decision", 60, is_converged=True)
    return daemon


def sent_since(daemon: Process, count: int) -> list[str]:
    """What was told to Ollama after so many log lines."""
    daemon.events()
    lines = daemon.lines[count:]
    return [send["do"] for line in lines for send in line.get("sends") or []]


def test_a_stopped_server_is_unknown_and_a_stopped_warmset_goes_on(rig: Rig) -> None:
    """SIGSTOP of Ollama: the look ends without an answer, the alarm is raised, nothing is sent;
    after SIGCONT all is well and nothing was lost. Then the same of warmset."""
    daemon = settled(rig)
    rig._twin.signal(signal.SIGSTOP)
    try:
        daemon.events()
        known = len(daemon.lines)
        daemon.wait_for("alarm", 90, code="unreachable")
        assert sent_since(daemon, known) == []
    finally:
        rig._twin.signal(signal.SIGCONT)
    daemon.wait_for("decision", 60, is_converged=True)
    assert rig.residents() == BOTH
    daemon.signal(signal.SIGSTOP)
    time.sleep(3)
    daemon.events()
    known = len(daemon.lines)
    daemon.signal(signal.SIGCONT)
    time.sleep(2)
    assert not {"unload", "preload"} & set(sent_since(daemon, known))
    assert rig.residents() == BOTH
    daemon.stop()
    assert "decision_failed" not in daemon.events()


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[str]:
    """A disk of 384 KiB at `folder`, if this user may mount one; gives how it was done."""
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=384k,mode=700", "none", str(folder)]
    has_mount = shutil.which("mount") and os.geteuid() == 0
    done = subprocess.run(mount, check=False, capture_output=True) if has_mount else None
    if done is None or done.returncode:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, before[1]))  # children inherit it
        try:
            yield "limit"
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        return
    try:
        yield "disk"
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(path: Path) -> None:
    """Writes until there is no room."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(handle, b"x" * 4096):
            pass
    os.close(handle)


def test_on_a_full_disk_it_goes_on_and_says_so(rig: Rig) -> None:
    """The journal cannot grow: that is told, models are loaded as ever, and when there is room
    again the journal goes on."""
    with small_disk(rig.folder / "state") as how:
        if how == "disk":
            filler = rig.folder / "state" / "filler"
            fill(filler)
        daemon = rig.serve()
        daemon.wait_for("decision", 60, is_converged=True)
        assert rig.residents() == BOTH
        assert "journal_trouble" in daemon.events() or how == "limit"
        assert daemon.stop() < PROMPT_SECONDS
        assert daemon.popen.returncode == 0
        if how == "disk":
            filler.unlink()
            again = settled(rig)
            again.stop()
            told = json.loads(rig.run("history", "-o", "json").stdout)
            assert "started" in [event["kind"] for event in told["events"]]
            assert again.events().count("preloaded") == 0


AS_NOBODY = """
import encodings.ascii, encodings.idna, encodings.latin_1, encodings.utf_8_sig
import importlib, os, pkgutil, sqlite3, sys
import warmset
for module in pkgutil.walk_packages(warmset.__path__, "warmset."):  # the checkout may be closed
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from warmset.cli.app import main
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
main(sys.argv[1:])
"""


def as_nobody(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs warmset as a user who may read nothing of ours."""
    return subprocess.run(
        [sys.executable, "-c", AS_NOBODY, *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "WARMSET_STATE": str(folder / "state"),
            "HOME": str(folder),
        },
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that another user can reach; pytest's own are closed."""
    folder = Path(tempfile.mkdtemp(prefix="warmset-", dir="/tmp"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_what_may_not_be_read_is_named(shared: Path) -> None:
    """A configuration or a state folder of somebody else: one clear line, exit code 3."""
    config = shared / "budgets.toml"
    config.write_text('[model."llama3.2:3b"]\n')
    config.chmod(0o000)
    refused = as_nobody(shared, "plan", "--config", str(config), "--host", "twin://cpu")
    assert (refused.returncode, "Permission denied" in refused.stderr) == (3, True)
    assert str(config) in refused.stderr
    config.chmod(0o644)
    state = shared / "state"
    state.mkdir(mode=0o500)
    url = "http://127.0.0.1:9"
    closed = as_nobody(shared, "serve", "--config", str(config), "--host", url, "--listen", "off")
    assert closed.returncode == 3, closed.stderr
    assert "state folder" in closed.stderr
    assert "Traceback" not in refused.stderr + closed.stderr


def test_connections_that_are_reset_do_no_harm(rig: Rig) -> None:
    """Every third answer is cut off in the middle: the loop goes on, loads each model once in the
    end, and once the line is good all is as wanted."""
    proxy = ResettingProxy(rig.port)
    direct, rig.url = rig.url, proxy.url
    try:
        proxy.every = 3
        daemon = rig.serve()
        daemon.wait_for("started", 30)
        rig.wait_until(lambda: proxy.resets >= 4, 120)
        proxy.every = 0
        daemon.wait_for("decision", 90, is_converged=True)
        daemon.stop()
        assert "decision_failed" not in daemon.events()
        assert "look_failed" not in daemon.events()
    finally:
        proxy.stop()
        rig.url = direct
    assert rig.residents() == BOTH
