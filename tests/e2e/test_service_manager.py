"""The real daemon tells a real socket what systemd wants to hear."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_rig import Rig, rigged

from warmset.adapters.systemd import ServiceManager


class Manager:
    """What systemd does: one datagram socket, and a list of what came.

    Args:
        address: a path, or a name of the abstract namespace with `@` in front.
    """

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address[0] == "@" else address)
        self.words: list[str] = []

    def wait_for(self, word: str, seconds: float = 60.0) -> None:
        """Waits for a word that begins so, after the last one waited for."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            found = self.socket.recv(4096).decode().split("\n")
            self.words += found
            if any(each.startswith(word) for each in found):
                return
        raise AssertionError(f"no {word} in {self.words}")


def _read_all(source: socket.socket) -> None:
    while source.recv(4096):
        continue


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """A host of a test's own."""
    with rigged(tmp_path) as made:
        yield made


def test_ready_alive_reloading_and_stopping(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready after a completed step, the watchdog fed by each, a reload announced, the end too;
    no step, no food: while the daemon stands still nothing is sent."""
    manager = Manager(str(rig.folder / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(rig.folder / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "120000000")
    daemon = rig.serve("--listen", "off")
    manager.wait_for("READY=1")
    assert manager.words.index("READY=1") == 0
    manager.wait_for("STATUS=2 resident, as wanted")
    for _ in range(3):
        manager.wait_for("WATCHDOG=1")
    daemon.signal(1)
    manager.wait_for("RELOADING=1")
    assert any(word.startswith("MONOTONIC_USEC=") for word in manager.words)
    manager.wait_for("READY=1")
    daemon.signal(19)
    manager.socket.settimeout(2)
    with pytest.raises(TimeoutError):
        _read_all(manager.socket)
    daemon.signal(18)
    manager.wait_for("WATCHDOG=1")
    daemon.signal(15)
    manager.wait_for("STOPPING=1")
    assert daemon.popen.wait(60) == 0
    manager.socket.close()


def test_an_abstract_socket_and_somebody_elses_watchdog(tmp_path: Path) -> None:
    """`@` names the abstract namespace; a watchdog meant for another process is not fed; a
    manager that went away is no error."""
    name = f"@warmset-test-{tmp_path.name}"
    manager = Manager(name)
    ours = ServiceManager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"})
    assert not ours.wants_watchdog
    ours.tell("STATUS=hello", "READY=1")
    manager.wait_for("READY=1")
    manager.socket.close()
    ours.tell("READY=1")
    ServiceManager({}).tell("READY=1")
