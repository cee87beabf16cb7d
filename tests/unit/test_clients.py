"""Who is connected to a port of this machine, by real programs and by rows of the system."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from warmset.adapters.procs import read_clients
from warmset.adapters.procs.clients import UNSEEN

CALL = """
import socket, sys, time
s = socket.create_connection(("{host}", {port}))
print("up", flush=True)
sys.stdin.read()
"""


def call(folder: Path, name: str, host: str, port: int) -> subprocess.Popen[str]:
    """Starts a program of this name that holds a connection until its input ends."""
    program = folder / name
    program.symlink_to(os.path.realpath(sys.executable))
    process = subprocess.Popen(
        [str(program), "-IS", "-c", CALL.format(host=host, port=port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def connection(
    near: tuple[str, int], far: tuple, pid: int | None, status: str = psutil.CONN_ESTABLISHED
) -> SimpleNamespace:
    """A row as psutil gives it."""
    return SimpleNamespace(laddr=near, raddr=far, pid=pid, status=status)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_clients_of_a_port_are_named(tmp_path: Path, family: int) -> None:
    """Who holds a connection, by program and number; not ourselves, nor clients of other ports,
    and an IPv4 client too where the server hears both."""
    dual = {"dualstack_ipv6": True} if family == socket.AF_INET6 else {}
    with (
        socket.create_server(("", 0), family=family, **dual) as server,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        port = server.getsockname()[1]
        assert read_clients(port) == ()
        chat = call(tmp_path, "chat-frontend", "127.0.0.1", port)
        game = call(tmp_path, "game", "127.0.0.1", other.getsockname()[1])
        with socket.create_connection(("127.0.0.1", port)):
            assert read_clients(port) == (f"chat-frontend (PID {chat.pid})",)
        for process in (chat, game):
            process.communicate("")
        assert read_clients(port) == ()


def test_a_client_of_another_machine_is_told_by_its_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its program cannot be seen from here; nor can that of another user."""
    mine, inside = ("::1", 50001), ("::1", 11434)
    theirs, server = ("10.0.0.1", 50002), ("10.0.0.1", 11434)
    rows = [
        connection(("::ffff:10.0.0.1", 11434), ("::ffff:192.168.1.20", 61000), 7),
        connection(inside, mine, 7),
        connection(mine, inside, os.getpid()),
        connection(server, theirs, 7),
        connection(theirs, server, None),
        connection(("10.0.0.1", 50003), ("10.9.9.9", 11434), 8),  # to another machine's Ollama
        connection(server, (), 7, psutil.CONN_LISTEN),
    ]
    monkeypatch.setattr(psutil, "net_connections", lambda kind: rows)
    assert read_clients(11434) == ("192.168.1.20", UNSEEN)


def test_a_system_that_does_not_tell_gives_no_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not known is not the same as nobody."""

    def refuse(kind: str) -> list:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refuse)
    assert read_clients(11434) is None
