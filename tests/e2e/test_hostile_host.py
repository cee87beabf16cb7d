"""A real `warmset serve`, and the verbs of the command line, before a server that means harm."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hostile_server import ATTACKS, LIES, Attack, HostileServer, hostile, whole
from serving_rig import Process, Rig
from typer.testing import CliRunner

from warmset.cli.app import app
from warmset.cli.options import Options

BOTH = {"nomic-embed-text:latest", "llama3.2:3b"}
MOST_MIB = 450
"""Of `serve`, at its highest: 70 as ever, and a few replies of 32 MiB with their parts."""

IN_A_HURRY = """
import sys
import warmset.adapters.ollama.client as client
for limit in ("PS", "TAGS", "VERSION", "SHOW", "UNLOAD"):
    setattr(client, f"{limit}_SECONDS", 1.0)
from warmset.cli.app import main
main(sys.argv[1:])
"""
"""The command itself, with time limits of a second: to wait for them tests nothing."""


SLOW = {"dripping_headers", "dripping_body", "silent", "many_interim", "endless_chunks"}
"""What a verb waits for: its limits of 5 to 30 s are those of `tests/contract`."""


class Changeling(HostileServer):
    """Passes everything on to a good server, but for the paths that it answers itself.

    Args:
        port: of the good server.
    """

    def __init__(self, port: int) -> None:
        super().__init__(lambda: iter(()))
        self.paths: tuple[str, ...] = ()
        self.asked: list[str] = []
        self._port = port

    def turn(self, attack: Attack, *paths: str) -> None:
        """Means harm from now on; all later requests are in `asked`."""
        self.attack, self.paths = attack, paths
        self.asked.clear()

    def answer_to(self, asked: bytes) -> Iterator[bytes]:
        """Yields an answer of its own, or of the good server."""
        method, path, rest = asked.split(b" ", 2)
        self.asked.append(f"{method.decode()} {path.decode()}")
        if path.decode() in self.paths:
            yield from self.attack()
            return
        head, _, body = rest.partition(b"\r\n\r\n")
        kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection")]
        with socket.create_connection(("127.0.0.1", self._port)) as good:
            lines = b"\r\n".join((*kept, b"Connection: close"))
            good.sendall(method + b" " + path + b" " + lines + b"\r\n\r\n" + body)
            while part := good.recv(65536):
                yield part


class Between(Rig):
    """A host whose server is reached through a changeling only."""

    def stand_between(self) -> Changeling:
        """Puts the changeling where everybody looks for the server."""
        self.direct = self.url
        made = Changeling(self.port)
        self.url = made.url
        return made

    def hurried(self, *options: str) -> Process:
        """Starts `serve` with short time limits."""
        common = ("--config", str(self.budgets), "--host", self.url, "--tick", "0.3")
        return self._start("serve", *common, *options, program=("-c", IN_A_HURRY))


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Between]:
    """A host of a test's own."""
    made = Between(tmp_path)
    try:
        made.start_twin()
        yield made
    finally:
        made.end()


def peak_mib(process: Process) -> int:
    """The most that a process has held."""
    told = Path(f"/proc/{process.popen.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", told)
    assert found is not None
    return int(found[1]) >> 10


def orders(asked: list[str]) -> list[str]:
    """Which of the requests would change something."""
    return [line for line in asked if line in ("POST /api/generate", "POST /api/embed")]


LOOKS = ("/api/ps", "/api/tags", "/api/version")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to ask for memory")
def test_serve_outlives_every_answer_that_means_harm(rig: Between) -> None:
    """Nineteen attacks one after the other on what a look asks, with good times between them: each
    time the alarm is raised and nothing is told to Ollama, then all is as wanted again; it is the
    same process to the end, and has not grown beyond reason."""
    between = rig.stand_between()
    daemon = rig.hurried()
    daemon.wait_for("decision", is_converged=True)
    for number, attack in enumerate((*ATTACKS, *LIES)):
        paths = ("/api/ps",) if number % 3 else LOOKS
        between.turn(attack, *paths)
        alarm = daemon.wait_for("alarm", code="unreachable")
        told = orders(between.asked)
        assert alarm["text"].isprintable(), attack.__name__
        assert told == [], attack.__name__
        between.turn(attack)
        daemon.wait_for("decision", is_converged=True)
    assert rig.residents() == BOTH
    assert peak_mib(daemon) < MOST_MIB
    assert daemon.stop() < 10.0
    assert daemon.popen.returncode == 0
    assert not {"decision_failed", "look_failed"} & set(daemon.events())
    between.stop()


def test_levers_that_answer_with_harm_are_judged_by_what_they_did(rig: Between) -> None:
    """A load that is answered by ten gigabytes, headers without end or lies is a failed load, told,
    tried again after a pause, and never beside another; once the server is well the models come."""
    rig.budgets.write_text(
        '[policy]\nback_off = "1s"\nback_off_limit = "2s"\n' + rig.budgets.read_text()
    )
    between = rig.stand_between()
    levers = ("/api/generate", "/api/embed")
    kinds: Iterator[Attack] = iter((ATTACKS[0], ATTACKS[3], *LIES))

    def each_in_turn() -> Iterator[bytes]:
        yield from next(kinds, LIES[0])()

    between.turn(each_in_turn, *levers)
    daemon = rig.hurried()
    for _ in range(2):
        failed = daemon.wait_for("preload_failed")
        assert failed["text"].isprintable()
    rig.wait_until(lambda: len(orders(between.asked)) >= 4)
    assert rig.run("status", "-o", "json").returncode == 0  # the lists are as good as ever
    assert peak_mib(daemon) < MOST_MIB
    between.turn(ATTACKS[0])
    rig.wait_until(lambda: rig.residents() == BOTH)
    daemon.stop()
    assert not {"decision_failed", "look_failed"} & set(daemon.events())
    between.stop()


EVIL = "../../etc/passwd\\u001b[2J\\u202e\\u0007"


def poison() -> bytes:
    """Lists that are as they should be, of models whose names and numbers mean harm."""
    row = f'"name":"{EVIL}","digest":"{"../" * 16}","size":9223372036854775807,'
    row += '"size_vram":9223372036854775807,"context_length":9223372036854775807,'
    row += '"expires_at":"9999-12-31T23:59:59Z"'
    return f'{{"models":[{{{row}}}]}}'.encode()


def test_poisoned_names_and_numbers_move_nothing(rig: Between) -> None:
    """A resident of 8 EiB named like a path and an escape sequence: it is shown, made printable;
    nobody leaves or is loaded for it; nothing is written outside the state folder."""
    between = rig.stand_between()
    daemon = rig.hurried()
    daemon.wait_for("decision", is_converged=True)
    daemon.events()
    between.turn(lambda: iter((whole(poison()),)), "/api/ps")
    rig.wait_until(lambda: between.asked.count("GET /api/ps") >= 4)
    assert [line for line in orders(between.asked) if "generate" not in line] == []
    shown = rig.run("status")
    assert shown.returncode == 0, shown.stderr
    assert "../../etc/passwd?[2J??" in shown.stdout
    between.turn(ATTACKS[0])
    daemon.wait_for("decision", is_converged=True)
    assert rig.residents() == BOTH
    daemon.stop()
    assert not {"decision_failed", "look_failed", "preload_ordered"} & set(daemon.events())
    for line in daemon.raw:
        assert line.strip().isprintable()
    between.stop()


VERBS: dict[str, tuple[int, str]] = {
    "status": (4, ""),
    "plan": (4, ""),
    "fit llama3.2:3b": (4, ""),
    "check": (4, ""),
    "apply --yes": (4, ""),
    "warm llama3.2:3b": (4, ""),
    "evict llama3.2:3b": (4, ""),
    "bench llama3.2:3b --force": (4, ""),
    "add phi4:14b --dry-run --offline": (4, ""),
    "init --out new.toml": (4, ""),
    "advise": (4, ""),
    "explain llama3.2:3b": (4, ""),
    "pin llama3.2:3b": (4, ""),
    "hold llama3.2:3b --for 1h": (4, ""),
    "metrics --look": (4, ""),
    "top --once": (4, ""),
    "doctor": (6, "fail"),
    "footprint phi4:14b --offline": (0, "no host to look at"),
    "history": (0, ""),
}
"""Each verb that asks Ollama, with its exit code, and a word that tells if it goes on without."""


@pytest.mark.parametrize("number", range(len(VERBS)), ids=[v.split()[0] for v in VERBS])
def test_each_verb_says_that_this_is_no_ollama(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside every attack that ends, and every lie, in turn: a clear line, exit code 4, and nothing
    but questions was sent. `doctor` reports it and goes on; what needs no Ollama does without."""
    for name in ("HOME", "WARMSET_STATE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    verb, (code, word) = list(VERBS.items())[number]
    quick = [a for a in (*LIES, *ATTACKS) if a.__name__ not in SLOW]
    for attack in (quick[number % len(quick)], quick[(number + 7) % len(quick)]):
        with hostile(attack) as server:
            done = CliRunner().invoke(app, [*verb.split(), "--host", server.url], obj=Options())
            assert done.exit_code == code, f"{attack.__name__}: {done.output}"
            asked = [request.split(b" HTTP")[0] for request in server.requests]
            assert {line.split()[0] for line in asked} <= {b"GET"}, asked
        told = done.stderr + done.stdout if word else done.stderr
        assert word in told
        assert "Traceback" not in told
        assert all(line.isprintable() for line in told.splitlines())
        if code == 4:
            assert re.search(r"GET /api/(tags|version|ps)", told), f"{attack.__name__}: {told}"
            assert "hint:" in told
