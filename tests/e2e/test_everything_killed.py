"""Ollama, the machine under it and warmset as three processes, killed one by one and together."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from fakenvml import FakeNvml
from living_rig import CHAT, CODER, PINS
from machine import sweep
from serving_rig import ROOT, Process, Rig

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None,
    reason="needs Linux and a C compiler",
)
HOST = f"""
ram = "64GiB"
[gpu.0]
name = "NVIDIA GeForce RTX 4090"
memory = "24564MiB"
foreign = "600MiB"
[model."{CODER}"]
file = "200MB"
[model."{CHAT}"]
file = "300MB"
"""
WANTED = {CODER, CHAT}
FAKENVML = ROOT / "tests/fakenvml"
PATIENCE_SECONDS = 120.0
"""Nothing here is a matter of speed; a machine with other work may take long."""


class Three(Rig):
    """Three processes of one host.

    Args:
        folder: holds everything.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "host.toml").write_text(HOST)
        self.budgets.write_text(PINS)
        self._nvml = FakeNvml(folder)
        assert self._proc is not None
        self._table = self._proc
        self.processes: dict[str, Process] = {}

    @property
    def environ(self) -> dict[str, str]:
        """The pretended driver too."""
        return self._nvml.env(super().environ | {"OLLAMA_MAX_LOADED_MODELS": "6"})

    def show(self, pid: int) -> None:
        """The server's own process is not seen: the machine has one that looks like Ollama's."""

    def start(self, *names: str) -> None:
        """Starts some of the three; whoever needs another one comes after it."""
        for name in names:
            self.processes[name] = getattr(self, f"_start_{name}")()

    def kill(self, *names: str) -> None:
        """Ends some of them as kill -9 does, before any of it is waited for."""
        for name in names:
            self.processes[name].popen.kill()
        for name in names:
            self.processes[name].popen.wait()

    def end(self) -> None:
        """Ends whatever is left."""
        if "machine" in self.processes:
            self.kill("machine")
        sweep(self.folder)  # they hold the machine's pipes
        super().end()

    def _start_server(self) -> Process:
        return self.start_twin()

    def _start_machine(self) -> Process:
        popen = subprocess.Popen(
            [sys.executable, ROOT / "tests/machine.py", self.folder, self._table, self.url],
            env=self.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}:{FAKENVML}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        made = Process(popen)
        self._started.append(made)
        assert popen.stdout is not None
        assert popen.stdout.readline() == "ready\n", made.raw
        return made

    def _start_warmset(self) -> Process:
        config = ("--config", str(self.budgets), "--host", self.url)
        daemon = self._start("serve", *config)
        daemon.wait_for("started", PATIENCE_SECONDS)
        return daemon


ALL = ("server", "machine", "warmset")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Three]:
    """A host of a test's own, with everything running."""
    made = Three(tmp_path)
    try:
        made.start(*ALL)
        yield made
    finally:
        made.end()


def are_there(rig: Three) -> bool:
    """Whether the pins, and nothing else, are resident."""
    try:
        return rig.residents() == WANTED
    except httpx.HTTPError:
        return False


def nothing_is_left_to_do(rig: Three) -> bool:
    """Whether warmset plans no change, by the residents, runners and bytes that it sees."""
    return rig.run("plan", "--detailed-exitcode").returncode == 0


def test_whoever_is_killed_all_is_as_wanted_again(rig: Three) -> None:
    """kill -9 of the machine with driver and runners, of warmset, of Ollama, and of all three at
    once while pins are being loaded: started again, the pins come back, none of them was unloaded,
    and the journal is whole and decides the same again."""
    rig.wait_until(lambda: are_there(rig), PATIENCE_SECONDS)
    for victim in ("machine", "server", "warmset"):
        rig.kill(victim)
        rig.start(victim)
        rig.wait_until(lambda: are_there(rig), PATIENCE_SECONDS)
    daemon = rig.processes["warmset"]
    rig.kill("server")
    rig.start("server")
    daemon.wait_for("preloaded", PATIENCE_SECONDS)  # the other one is to come
    rig.kill(*ALL)
    rig.start(*ALL)
    rig.wait_until(lambda: are_there(rig) and nothing_is_left_to_do(rig), PATIENCE_SECONDS)
    daemon = rig.processes["warmset"]
    daemon.stop(PATIENCE_SECONDS)
    assert not {"decision_failed", "look_failed"} & set(daemon.events())
    check_journal(rig)


def check_journal(rig: Three) -> None:
    """What was written down is whole, and says what happened."""
    (path,) = rig.folder.rglob("journal.sqlite3")
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert not list(path.parent.glob("*damaged*"))
    told = json.loads(rig.run("history", "-o", "json", "--limit", "10000").stdout)["events"]
    kinds = [event["kind"] for event in told]
    assert kinds.count("started") == 3  # the first one, and one after each time it was killed
    assert not [e for e in told if e["kind"] == "unload_ordered"]
    again = rig.run("replay", "--detailed-exitcode", "-o", "json")
    assert again.returncode == 0, again.stdout + again.stderr
