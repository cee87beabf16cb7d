"""`warmset run` with real processes: a pretended Ollama, commands of all kinds, and their ends."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_rig import Rig, rigged

SMALL, EMBED = "llama3.2:3b", "nomic-embed-text:latest"
GIANT = '[model."llama3.3:70b"]\nfile = "40GB"\n'
SHOWS = "import os, urllib.request as u; print(u.urlopen(os.environ['AT'] + '/api/ps').read())"


class RunRig:
    """A rig on which commands run beside held models."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig

    def start(self, *words: str, models: str = SMALL) -> subprocess.Popen[str]:
        """Starts `warmset run --with MODELS -- WORDS`."""
        options = ("--config", str(self.rig.budgets), "--host", self.rig.url)
        return subprocess.Popen(
            [sys.executable, "-m", "warmset", "run", *options, "--with", models, "--", *words],
            env={**self.rig.environ, "AT": self.rig.url},
            cwd=self.rig.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, models: str = SMALL) -> tuple[int, str, str]:
        """Returns exit code, stdout and stderr of a run."""
        process = self.start(*words, models=models)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def holds(self) -> dict[str, float]:
        """Returns what is held."""
        files = list((self.rig.folder / "state").glob("*/orders.json"))
        return json.loads(files[0].read_text())["holds"] if files else {}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunRig]:
    """One host for all; the tests leave it as they found it, but for what is resident."""
    folder = tmp_path_factory.mktemp("run")
    rig = Rig(folder)
    with_giant = (folder / "host.toml").read_text() + GIANT
    (folder / "host.toml").write_text(with_giant)
    rig.budgets.write_text("")
    try:
        rig.start_twin()
        yield RunRig(rig)
    finally:
        rig.end()


def test_models_are_resident_while_the_command_runs_and_let_go_after(host: RunRig) -> None:
    """With no warmset on the host: loaded, seen by the command, then on the server's own timer."""
    words = ("--json", "--no-color", "--host", "x", "-q", "--", "")
    program = f"{SHOWS}; import sys; print(sys.argv[1:], os.environ.get('NO_COLOR'))"
    models = f"nomic-embed-text,{SMALL}"
    code, out, err = host.run(sys.executable, "-c", program, *words, models=models)
    assert (code, err) == (0, "")
    assert SMALL in out
    assert EMBED in out
    assert f"{list(words)} None" in out  # what stands after the dashes is the command's alone
    assert host.holds() == {}
    assert host.rig.longest_left_seconds() < 301


def test_a_command_that_is_killed_leaves_nothing_held(host: RunRig) -> None:
    """Its code is that of a shell: 128 and the signal's number."""
    assert host.run("sh", "-c", "kill -9 $$")[0] == 137
    assert host.holds() == {}


def test_a_command_that_is_not_there_loads_nothing(host: RunRig) -> None:
    """It is found out first, with the code that shells use."""
    code, _, err = host.run("no-such-program-here")
    assert code == 127
    assert "no-such-program-here" in err
    assert host.holds() == {}


def test_signals_reach_the_command(host: RunRig) -> None:
    """It ends as it likes, and its code is ours."""
    script = "trap 'echo caught; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    process = host.start("sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert SMALL in host.holds()
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, "caught\n")
    assert host.holds() == {}


def test_who_is_killed_holds_nothing_for_long(host: RunRig) -> None:
    """After kill -9 of warmset itself the hold ends within a minute, since nobody renews it."""
    process = host.start("sh", "-c", "echo ready; exec sleep 1")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.communicate()
    assert host.holds()[SMALL] <= time.time() + 60
    assert host.run("true")[0] == 0  # nor is anybody kept out


def test_what_does_not_fit_is_refused_before_the_command_runs(host: RunRig) -> None:
    """With the numbers, exit code 6, and nothing held."""
    code, out, err = host.run("echo", "ran", models="llama3.3:70b")
    assert (code, out) == (6, "")
    assert "llama3.3:70b cannot be loaded now: needs" in err
    assert host.holds() == {}
    assert host.run("echo", "ran", models="llama3.3:7b")[0] == 4


def test_two_commands_at_once_share_what_is_held(host: RunRig) -> None:
    """The second finds the first one's warmset; the model stays until both have ended."""
    first = host.start("sh", "-c", "echo ready; sleep 2")
    assert first.stdout is not None
    assert first.stdout.readline() == "ready\n"
    code, out, err = host.run(sys.executable, "-c", SHOWS, models=f"{SMALL},{EMBED}")
    assert (code, err) == (0, "")
    assert EMBED in out
    assert first.communicate(timeout=60)[1] == ""
    assert first.returncode == 0
    assert host.holds() == {}


def test_a_running_serve_does_the_holding(tmp_path: Path) -> None:
    """It loads what nobody configured, keeps it meanwhile, and is told when that is over."""
    with rigged(tmp_path) as rig:
        rig.budgets.write_text(f'[model."{EMBED}"]\npin = true\n')
        daemon = rig.serve()
        daemon.wait_for("decision", is_converged=True)
        host = RunRig(rig)
        code, out, _ = host.run(sys.executable, "-c", SHOWS)
        assert code == 0
        assert SMALL in out
        assert EMBED in out
        daemon.wait_for("preloaded", model=SMALL)
        assert host.holds() == {}
        daemon.stop()
        told = json.loads(rig.run("history", "-o", "json").stdout)["events"]
        assert {"held", "hold_ended"} <= {event["kind"] for event in told}
