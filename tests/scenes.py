"""One machine for scripted scenes: a pretended driver, a twin over HTTP, real processes.

The driver is the C double behind the real nvidia-ml-py, the server a twin whose clock stands
still, and its processes are real ones with real command lines.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from actors import Actors
from fakenvml import GIB, MIB, FakeNvml
from warm_shell import WarmShell

from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import physics_of
from warmset.shell.twin_files import find_host
from warmset.shell.twin_server import TwinServer

ROOT = Path(__file__).parents[1]
MODEL, OTHER = "llama3.1:8b", "qwen3:8b"
RESERVED = 400 * MIB
CARD_0 = "GPU-00000000-0000-4000-8000-000000000000"
PAST_SECONDS = 4000.0
"""The twin's clock stands this far behind ours, so that a scene can have a past."""
PATIENCE_SECONDS = 30.0
LAUNCH = """
import sys
from warmset.adapters.procs import table
from warmset.core.host.processes import PidSpace
table.read_pid_space = lambda *_, **__: PidSpace.{space}
from warmset.cli.app import main
main(sys.argv[1:])
"""
"""The command, as if run on the host or in a container, wherever these tests run themselves."""


class Scene:
    """A machine with two cards of 24 GiB and an Ollama on it, and `warmset status` to look.

    Args:
        folder: for all files of the scene.
        environment: of the Ollama server.
        shell: runs the verbs, for scenes of many; without one each is a cold process.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        shell: WarmShell | None = None,
    ) -> None:
        self.folder = folder
        self.shell = shell
        self.nvml = FakeNvml(folder)
        for index in (0, 1):
            self.nvml.gpu(index, total=24 * GIB, reserved=RESERVED)
        spec = find_host("2x24")
        self.twin = TwinHost(spec, physics_of(spec), Timeline(time.time() - PAST_SECONDS))
        self.server = TwinServer(Api(self.twin), speed=None)
        self.server.start()
        self.actors = Actors(folder, self.server.port, environment)
        self.watches: list[subprocess.Popen[str]] = []

    def hexes(self, name: str) -> str:
        """Returns the digest of a model's weights."""
        model = self.twin.library.find(name)
        assert model is not None
        return model.key.rpartition("sha256")[2][1:]

    def key(self, name: str) -> str:
        """Returns the key of a model."""
        return f"sha256:{self.hexes(name)}"

    def start_runner(self, name: str, options: str = "-c 8192 -np 2") -> int:
        """Starts a runner process of a model, which /api/ps does not list yet."""
        return self.actors.load(self.hexes(name), options)

    def list_model(self, name: str) -> None:
        """Makes /api/ps list a model, idle."""
        with self.server.locked() as host:
            host.use(name, 0.0, keep_alive=7200.0)
        self.server.advance(self.twin.timeline.now + 120)
        assert name in [row.model.name for row in self.twin.residents()]

    def unlist_model(self, name: str) -> None:
        """Lets Ollama unload a model."""
        with self.server.locked() as host:
            model = host.library.find(name)
            assert model is not None
            host.unload(model)
        self.server.advance(self.twin.timeline.now + 1)

    def hold(
        self, index: int, *rows: tuple[int, int] | tuple[int, int, str], rest: int = 0
    ) -> None:
        """Puts processes with their bytes on a card, and bytes that no process owns."""
        self.nvml.set(index, used=sum(row[1] for row in rows) + rest)
        self.nvml.procs(index, rows)

    def look(self, *, space: str = "HOST") -> dict[str, Any]:
        """Returns the document of one `status` in a process of its own."""
        done = self.run("status", "-o", "json", space=space)
        assert done.returncode == 0, done.stderr
        return checked(json.loads(done.stdout))

    def run(self, *arguments: str, space: str = "HOST") -> subprocess.CompletedProcess[str]:
        """Runs a verb in a process of its own."""
        if self.shell is not None:
            words = (*arguments, "--host", self.server.url)
            return self.shell.run(*words, env=self.environ(), folder=self.folder, space=space)
        return subprocess.run(
            self._command(*arguments, space=space),
            env=self.environ(),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def watch(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts `status --watch`."""
        watch = subprocess.Popen(
            self._command("status", "--watch", "0.1", *arguments),
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.watches.append(watch)
        return watch

    def serve(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts `warmset serve`, which looks often."""
        daemon = subprocess.Popen(
            self._command("serve", "--tick", "0.2", *arguments),
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.watches.append(daemon)
        return daemon

    def end(self) -> None:
        """Ends the server, every process and every hang."""
        for watch in self.watches:
            watch.kill()
            watch.communicate()
        self.actors.end()
        self.server.stop()

    def _command(self, *arguments: str, space: str = "HOST") -> list[str]:
        launch = [sys.executable, "-c", LAUNCH.format(space=space)]
        return [*launch, *arguments, "--host", self.server.url]

    def environ(self) -> dict[str, str]:
        """Returns the environment in which the scene's driver and processes are seen."""
        base = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HOME": str(self.folder)}
        base["WARMSET_STATE"] = str(self.folder / "state")
        base["HOST_PROC"] = str(self.actors.proc)  # nobody else's processes belong to the scene
        return self.nvml.env(base | {"XDG_CACHE_HOME": str(self.folder / "cache")})


def checked(document: dict[str, Any]) -> dict[str, Any]:
    """Returns a document whose sums are the driver's and whose unknowns are null, never 0."""
    for device in document["devices"]:
        taken = device["taken_bytes"]["value"]
        known = sum(share["used_bytes"] or 0 for share in device["shares"])
        assert taken is None or known - device["excess_bytes"] == taken
        for key in ("total_bytes", "free_bytes", "used_bytes", "reserved_bytes", "taken_bytes"):
            reading = device[key]
            assert (reading["value"] is None) == (reading["quality"] == "unknown")
            assert reading["value"] is not None or reading["reason"]
    return document


def split(document: dict[str, Any], index: int) -> dict[str, int]:
    """Returns owner -> bytes of a card."""
    (device,) = [d for d in document["devices"] if d["index"] == index]
    found: dict[str, int] = {}
    for share in device["shares"]:
        found[share["owner"]] = found.get(share["owner"], 0) + share["used_bytes"]
    return found


def phase(document: dict[str, Any], pid: int) -> str:
    """Returns the phase of a runner; the machine may have others than this scene's."""
    (found,) = [row["phase"] for row in document["runners"] if row["pid"] == pid]
    return found


def until(watch: subprocess.Popen[str], fact: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Returns the first document of a watch for which `fact` holds."""
    assert watch.stdout is not None
    deadline = time.monotonic() + PATIENCE_SECONDS
    for line in watch.stdout:
        assert time.monotonic() < deadline, line
        document = json.loads(line)
        if "error" in document or fact(checked(document)):
            return document
    raise AssertionError(watch.stderr.read() if watch.stderr else "")
