"""The verbs around the loop, against twins in their own process and beside a running warmset."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_rig import ROOT, SLOW, Rig, rigged

from warmset.core.control.actions import Decision
from warmset.core.control.config import Config
from warmset.core.control.plain import from_plain
from warmset.core.control.state import State
from warmset.core.control.step import step
from warmset.core.model import Observation

TWIN = "twin://workstation?hours=3&seed=5"
BUDGETS = """
[model."qwen2.5-coder:7b"]
pin = true
priority = 100
[model."llama3.1:8b"]
priority = 80
"""


class Shell:
    """A directory with a budgets.toml, and `warmset` in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.budgets = folder / "budgets.toml"
        self.budgets.write_text(BUDGETS)

    def run(self, *arguments: str, host: str = TWIN) -> subprocess.CompletedProcess[str]:
        """Runs the command; never waits for input."""
        return subprocess.run(
            [sys.executable, "-m", "warmset", *arguments, "--host", host],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT / "src"),
                "HOME": str(self.folder),
                "WARMSET_STATE": str(self.folder / "state"),
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A fresh directory."""
    return Shell(tmp_path)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """One host as a process for the tests that need no more; each leaves it as it found it."""
    with rigged(tmp_path_factory.mktemp("host")) as made:
        yield made


def test_apply_makes_the_plan_true_on_a_twin(shell: Shell) -> None:
    """The steps are shown, then done, and the end says what is resident."""
    done = shell.run("apply", "--yes")
    assert done.returncode == 0, done.stderr
    assert "preload  llama3.1:8b" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("The plan is true: qwen2.5-coder:7b")
    assert "llama3.1:8b: loaded in" in done.stderr
    document = json.loads(shell.run("apply", "--yes", "-o", "json").stdout)
    assert document["converged"]
    assert {"qwen2.5-coder:7b", "llama3.1:8b"} <= set(document["warm_set"])


def test_a_saved_plan_is_done_or_refused_whole(shell: Shell) -> None:
    """As saved it needs no yes; on a host that has moved on, or edited, it is refused."""
    assert shell.run("plan", "--out", "plan.json").returncode == 0
    done = shell.run("apply", "--plan", "plan.json")
    assert done.returncode == 0, done.stderr
    assert "The plan is true" in done.stdout
    moved = shell.run("apply", "--plan", "plan.json", host="twin://workstation?hours=3&seed=6")
    assert moved.returncode == 6
    assert "what is resident" in moved.stderr
    shell.budgets.write_text(BUDGETS.replace("80", "70"))
    assert "the configuration" in shell.run("apply", "--plan", "plan.json").stderr
    path = shell.folder / "plan.json"
    path.write_text(path.read_text().replace("llama3.1:8b", "llama3.2:3b"))
    edited = shell.run("apply", "--plan", "plan.json")
    assert edited.returncode == 3
    assert "was changed" in edited.stderr


def test_a_pin_can_be_saved(shell: Shell) -> None:
    """`--save` changes one line of the file; without it a twin has nobody to take the order."""
    assert shell.run("pin", "llama3.1:8b", "--save").returncode == 0
    assert shell.budgets.read_text() == BUDGETS + "pin = true\n"
    assert shell.run("unpin", "llama3.1:8b", "--save").returncode == 0
    assert shell.budgets.read_text() == BUDGETS
    assert "warmset twin" in shell.run("pin", "llama3.1:8b").stderr
    unknown = shell.run("pin", "lama3.1:8b")
    assert unknown.returncode == 4
    assert "llama3.1:8b?" in unknown.stderr


def test_init_writes_a_file_that_starts_as_written(shell: Shell) -> None:
    """The host's models and GPUs stand in it; every verb reads it; it replaces none by accident."""
    shell.budgets.unlink()
    done = shell.run("init")
    assert done.stdout == "budgets.toml\n"
    text = shell.budgets.read_text()
    assert '\n[model."llama3.2:3b"]' in text  # resident
    assert '\n# [model."qwen2.5:32b"]' in text
    assert "NVIDIA GeForce RTX 4090" in text
    for verb in (("apply", "--yes"), ("serve", "--dry-run")):
        done = shell.run(*verb, "--config", "budgets.toml")
        assert done.returncode == 0, done.stderr
    assert shell.run("init").returncode == 3
    shell.budgets.write_text(text.replace("# [", "[").replace("# p", "p"))
    assert "pin = true" in shell.budgets.read_text()
    assert shell.run("check").returncode in (0, 6)  # everything taken in, and it may not fit


def test_orders_reach_the_running_warmset(rig: Rig) -> None:
    """A pin, a hold and an eviction are taken up; with --save the file is read again; and the
    history and the explanation tell of it."""
    daemon = rig.serve()
    daemon.wait_for("decision", is_converged=True)
    assert (
        f"process {daemon.popen.pid}" in rig.run("hold", "qwen2.5-coder:7b", "--for", "1h").stderr
    )
    daemon.wait_for("preloaded", model="qwen2.5-coder:7b")
    assert "held for" in rig.run("explain", "qwen2.5-coder:7b").stdout
    assert rig.run("evict", "llama3.2:3b").returncode == 0
    daemon.wait_for("model_left", model="llama3.2:3b")
    told = rig.run("explain", "llama3.2:3b").stdout
    assert "keeps it out for 10m more" in told
    assert "evicted" in told
    assert "was told to read it again" in rig.run("pin", "llama3.2:3b", "--save").stderr
    daemon.wait_for("config_reloaded")
    assert "a comment that stays" in rig.budgets.read_text()
    refused = rig.run("apply", "--yes")
    assert refused.returncode == 6
    assert f"process {daemon.popen.pid}" in refused.stderr
    assert "half" not in rig.run("warm", "llama3.2:3b").stderr
    daemon.stop()
    kinds = [e["kind"] for e in json.loads(rig.run("history", "-o", "json").stdout)["events"]]
    assert {"started", "preload_ordered", "preloaded", "held", "evicted", "pinned"} <= set(kinds)
    loads = json.loads(rig.run("history", "-o", "json").stdout)["loads"]
    assert {load["outcome"] for load in loads} == {"loaded"}
    for load in loads:
        assert load["actual_bytes"] == pytest.approx(load["predicted_bytes"], rel=0.3)
        assert load["actual_seconds"] < 5


def test_plan_apply_and_serve_decide_the_same(tmp_path: Path) -> None:
    """On one host: what `plan --out` saves, `apply` does, and `serve` then has nothing to do;
    then `plan` shows no change."""
    with rigged(tmp_path) as rig:
        rig.budgets.write_text(rig.budgets.read_text() + f'[model."{SLOW}"]\npreload = false\n')
        saved = rig.run("plan", "--out", "p.json")
        assert "preload llama3.2:3b, preload nomic-embed-text:latest" in saved.stderr
        watching = rig.serve("--dry-run")
        planned = watching.wait_for("decision")
        assert [s["model"] for s in planned["sends"]] == ["llama3.2:3b"]
        done = json.loads(rig.run("apply", "--plan", "p.json", "-o", "json").stdout)
        assert done["warm_set"] == planned["members"]
        again = rig.run("plan", "--out", "p.json", "--detailed-exitcode")
        assert "nothing to do" in again.stderr
        daemon = rig.serve()
        first = daemon.wait_for("decision")
        assert (first["is_converged"], first["members"]) == (True, planned["members"])
        daemon.stop()
        assert "preloaded" not in daemon.events()


def test_after_apply_the_plan_shows_no_change(tmp_path: Path) -> None:
    """Beside a server with large models: with and without what `apply` remembers, on the next
    look nothing is left to do."""
    with rigged(tmp_path, host="cpu", speed=5.0) as rig:  # faster, loads look like none at all
        names = ("llama3.2:3b", "nomic-embed-text", "qwen2.5-coder:7b")
        rig.budgets.write_text("".join(f'[model."{name}"]\npin = true\n' for name in names))
        assert rig.run("plan", "--detailed-exitcode").returncode == 7
        assert rig.run("apply", "--yes").returncode == 0
        again = rig.run("plan", "--detailed-exitcode")
        assert again.returncode == 0, again.stdout + again.stderr
        assert "Nothing to do" in again.stdout
        check_replay(rig)
        (tmp_path / "state").rename(tmp_path / "forgotten")
        assert rig.run("plan", "--detailed-exitcode").returncode == 0
        assert len(rig.residents()) == len(names)


def check_replay(rig: Rig) -> None:
    """Every decision of the journal is made again from what `history --decision N` prints."""
    told = json.loads(rig.run("history", "-o", "json").stdout)["events"]
    numbers = sorted({event["decision"] for event in told if event["decision"]})
    assert numbers
    for number in numbers:
        kept = json.loads(rig.run("history", "--decision", str(number)).stdout)
        look = from_plain(
            Observation, {**kept["observation"], "entries": kept["entries"]}, place="observation"
        )
        config, state = from_plain(Config, kept["config"]), from_plain(State, kept["state"])
        again = step(look, config, state, kept["now"])[1]
        assert again == from_plain(Decision, kept["decision"])
        assert {c["name"] for c in kept["candidates"]} >= {m.name for m in again.members}
