"""A machine divided by real namespaces: warmset in a container of its own, servers in others'."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from actors import Actors, wait_until
from fakenvml import GIB
from scenes import MODEL, RESERVED, Scene, split

from warmset.adapters.procs import ProcessTable
from warmset.core.host.processes import ProcessFacts, choose_server

CONTAINED = 'mount --rbind /proc "$OUTER" && mount -t proc proc /proc && exec "$@"'


def unshares(*kinds: str) -> bool:
    """Whether we may make namespaces of these kinds."""
    done = subprocess.run(["unshare", *kinds, "true"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A machine for one scene."""
    made = Scene(tmp_path)
    yield made
    made.end()


def look_contained(scene: Scene, environ: dict[str, str]) -> dict[str, Any]:
    """Returns what `status` says in a PID namespace of its own, with its own /proc."""
    outer = scene.folder / "outer"
    outer.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "warmset", "status", "-o", "json", "--host", scene.server.url]
    done = subprocess.run(
        ["unshare", "-m", "-p", "-f", "sh", "-c", CONTAINED, "sh", *command],
        env=environ | {"OUTER": str(outer)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(not unshares("-m", "-p", "-f"), reason="no right to make a PID namespace")
def test_a_container_with_the_hosts_table_sees_what_the_host_sees(scene: Scene) -> None:
    """HOST_PROC gives back the server, its runners and whose bytes are whose."""
    runner = scene.start_runner(MODEL)
    scene.list_model(MODEL)
    scene.hold(0, (runner, 9 * GIB))
    environ = {name: text for name, text in scene.environ().items() if name != "HOST_PROC"}
    blind = look_contained(scene, environ)
    assert blind["vantage"]["name"] == "container"
    assert split(blind, 0) == {"unattributed": 9 * GIB, "reserved": RESERVED}
    table = scene.folder / "host-proc"
    table.mkdir()
    for entry in scene.actors.proc.iterdir():
        if entry.name != "1":
            (table / entry.name).symlink_to(scene.folder / "outer" / entry.name)
    (table / "1").mkdir()  # the first process where these tests run may be no init
    (table / "1/comm").write_text("systemd\n")
    seeing = look_contained(scene, environ | {"HOST_PROC": str(table)})
    assert seeing["vantage"]["name"] == "local"
    assert seeing["server"]["pid"] == scene.actors.server.pid
    assert split(seeing, 0) == {"model": 9 * GIB, "reserved": RESERVED}
    assert seeing["residents"][0]["pid"] == runner


def test_a_scene_sees_no_process_but_its_own(scene: Scene, tmp_path: Path) -> None:
    """What runs beside it on the machine, an Ollama with a model too, is not in its table."""
    other = tmp_path / "other"
    other.mkdir()
    neighbour = Actors(other)
    try:
        stranger = neighbour.load("ab" * 32)
        runner = scene.start_runner(MODEL)
        found = scene.look()
        assert [row["pid"] for row in found["runners"]] == [runner]
        assert stranger not in [row["pid"] for row in found["runners"]]
        assert found["server"]["pid"] == scene.actors.server.pid
    finally:
        neighbour.end()


def test_a_table_that_is_not_there_is_an_error(scene: Scene) -> None:
    """It names the variable, the folder and what to do."""
    done = subprocess.run(
        [sys.executable, "-m", "warmset", "status", "--host", scene.server.url],
        env=scene.environ() | {"HOST_PROC": "/nowhere/proc"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert "HOST_PROC=/nowhere/proc: there is no such folder" in done.stderr
    assert "-v /proc:/host/proc:ro" in done.stderr


CONTAINER = """
import os, socket, subprocess, sys
subprocess.run(["ip", "addr", "add", sys.argv[2], "dev", "lo"], check=True)
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
server.set_inheritable(True)
os.execve(sys.argv[3], ["ollama", "serve"], {})
"""


class Docker:
    """Ollama servers in network namespaces of their own, all of them on the same port inside."""

    def __init__(self, folder: Path, port: int) -> None:
        self.actors = Actors(folder)
        self.port = port
        self.folder = folder

    def run(self, address: str, host_port: int, *, is_forwarded: bool = True) -> int:
        """Starts a container with that address; returns its server's PID."""
        program = [sys.executable, "-c", CONTAINER, str(self.port), address]
        process = subprocess.Popen(
            ["unshare", "-n", *program, str(self.folder / "ollama")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.actors.started.append(process)
        self.actors.show(process.pid)
        wait_until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes() == b"ollama\0serve\0")
        if is_forwarded:
            self.actors.start(
                f"docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port {host_port}"
                f" -container-ip {address} -container-port {self.port} -use-listen-fd"
            )
        return process.pid

    def choose(self, port: int) -> ProcessFacts | None:
        """Returns the server behind a port of the machine."""
        return choose_server(ProcessTable(proc_root=self.actors.proc).read(), port)


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Docker]:
    """A machine with Docker on it, and a server of its own on another port."""
    monkeypatch.setattr("psutil.PROCFS_PATH", "/proc")  # the table sets it; put back afterwards
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    made = Docker(tmp_path, port)
    yield made
    made.actors.end()


@pytest.mark.skipif(not unshares("-n"), reason="no right to make a network namespace")
def test_of_two_containers_with_one_inner_port_the_forwarded_one_is_meant(docker: Docker) -> None:
    """Docker's proxy says which; a port that nobody forwards is nobody's."""
    first = docker.run("10.77.0.2", 21434)
    second = docker.run("10.77.0.3", 21435)
    found = docker.choose(21435)
    assert found is not None
    assert found.pid == second
    found = docker.choose(21434)
    assert found is not None
    assert found.pid == first
    assert docker.choose(docker.port) is None


@pytest.mark.skipif(not unshares("-n"), reason="no right to make a network namespace")
def test_who_listens_in_our_own_namespace_comes_first(docker: Docker) -> None:
    """Two containers have the same port inside; the address names neither."""
    docker.run("10.77.0.2", 21434, is_forwarded=False)
    docker.run("10.77.0.3", 21435, is_forwarded=False)
    assert docker.choose(docker.port) is None  # either could be meant
    docker.actors.port = docker.port
    own = docker.actors.start("ollama serve")
    found = docker.choose(docker.port)
    assert found is not None
    assert found.pid == own.pid
    assert os.getpid() not in ProcessTable(proc_root=docker.actors.proc).read().processes
