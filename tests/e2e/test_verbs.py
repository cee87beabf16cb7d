"""The verbs as a user calls them: against twins, a server on loopback, and wrong input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from recorded_server import RecordedHost, serving

from warmset.core.twin.api import Api
from warmset.core.twin.clock import Timeline
from warmset.core.twin.host import TwinHost
from warmset.core.twin.hosts import physics_of
from warmset.shell.twin_files import find_host
from warmset.shell.twin_link import START
from warmset.shell.twin_server import TwinServer

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden"
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
        (folder / "budgets.toml").write_text(BUDGETS)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the installed command; never waits for input."""
        return subprocess.run(
            [sys.executable, "-m", "warmset", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def read(self, *arguments: str) -> dict:
        """Returns the JSON document of a verb that must not crash."""
        done = self.run(*arguments, "-o", "json")
        assert "Traceback" not in done.stderr, done.stderr
        document = json.loads(done.stdout)
        assert document["schema_version"] == 1
        return document


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A fresh directory."""
    return Shell(tmp_path)


def golden(name: str, text: str) -> None:
    """Compares with a reviewed file; GOLDEN=write renews it."""
    path = GOLDEN / name
    if os.environ.get("GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


TWIN = "twin://workstation?demand=office&hours=3&seed=5"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("status.txt", ("status",)),
        ("plan.txt", ("plan",)),
        ("plan-all.txt", ("plan", "--all")),
        ("fit.txt", ("fit", "qwen2.5:14b", "qwen2.5-coder:7b")),
        ("add.txt", ("add", "phi4:14b", "--dry-run", "--offline")),
        ("check.txt", ("check",)),
    ],
)
def test_what_people_read(shell: Shell, name: str, arguments: tuple[str, ...]) -> None:
    """The plain text of each verb on one twin host is the reviewed one."""
    done = shell.run(*arguments, "--host", TWIN)
    assert done.returncode == 0, done.stderr
    golden(name, done.stdout)


@pytest.mark.parametrize("host", ["laptop", "workstation", "2x24", "8x80", "cpu", "unified"])
def test_every_named_host_can_be_looked_at_and_planned(shell: Shell, host: str) -> None:
    """`twin://NAME` works for status and plan, and the plan keeps every budget."""
    seen = shell.read("status", "--host", f"twin://{host}")
    plan = shell.read("plan", "--host", f"twin://{host}")
    assert len(seen["entries"]) >= 4
    assert plan["verdict"] != "refused"
    limits = {device["id"]: device["usable_bytes"] for device in plan["devices"]}
    taken = dict.fromkeys(limits, 0)
    for member in plan["warm_set"]:
        for device, count in member["placement_upper_bytes"].items():
            taken[device] += count
    assert all(taken[device] <= limits[device] for device in limits)


def test_the_recorded_server_is_read_and_planned(shell: Shell) -> None:
    """`status` and `plan` work on what a real Ollama answered."""
    with serving(RecordedHost()) as url:
        seen = shell.read("status", "--host", url)
        plan = shell.read("plan", "--host", url)
    assert {"tiny-llama:20m", "tiny-embed:20m"} <= {n for e in seen["entries"] for n in e["names"]}
    assert plan["verdict"] in ("fits", "refused")


def test_the_twin_over_http_says_what_the_twin_in_process_says(shell: Shell) -> None:
    """The same host behind a socket and without one has the same models and the same bytes."""
    spec = find_host("cpu")
    with TwinServer(Api(TwinHost(spec, physics_of(spec), Timeline(START)))) as server:
        over_http = shell.read("status", "--host", server.url)
        planned = shell.read("plan", "--host", server.url)
    in_process = shell.read("status", "--host", "twin://cpu?demand=idle")
    assert over_http["server"]["version"] == in_process["server"]["version"]
    for entry in (*over_http["entries"], *in_process["entries"]):
        del entry["priority"]
    assert over_http["entries"] == in_process["entries"]
    assert {member["name"] for member in planned["warm_set"]} >= {"qwen2.5-coder:7b"}


def test_assumptions_about_the_server_are_said(shell: Shell) -> None:
    """What nobody knows of the server is planned with Ollama's default, and the plan says so."""
    with serving(RecordedHost()) as url:
        done = shell.run("plan", "--host", url)
        assert "Ollama's defaults are assumed: at most 3 models" in done.stderr
        (shell.folder / "budgets.toml").write_text(
            '[ollama]\nmax_loaded_models = 2\nnum_parallel = 1\nkv_cache_type = "f16"\n'
            "context_length = 4096\n"
        )
        assert "assumed" not in shell.run("plan", "--host", url).stderr


def test_remote_servers_never_get_local_gpus(shell: Shell) -> None:
    """What cannot be read from here is said, not invented."""
    done = shell.run("status", "--host", "http://192.0.2.1:9", "-o", "json")
    assert done.returncode == 4


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("status", "--host", "twin://nowhere"), 3, "no twin host"),
        (("status", "--host", "twin://cpu?demnd=office"), 3, "demnd"),
        (("status", "--host", "http://127.0.0.1:9"), 4, "is Ollama running?"),
        (("fit", "qwen2.5-codr:7b", "--host", TWIN), 4, "qwen2.5-coder:7b"),
        (("add", "nothing:1b", "--dry-run", "--offline", "--host", TWIN), 4, "Built in are"),
        (("add", "phi4", "--dry-run", "--offline", "--host", TWIN), 4, "Did you mean phi4:14b?"),
        (("add", "phi4:14b", "--host", TWIN), 6, "--dry-run"),
        (("add", "phi4:14b", "--dry-run", "--requests-per-day", "inf"), 2, "1000000000"),
        (("status", "--host", "127.0.0.1:99999"), 4, "port '99999' is not usable"),
        (("simulate", "office", "--on", "latop.invalid"), 4, "did you mean the twin 'laptop'?"),
        (("demo", "--demand", "frantic"), 3, "office"),
        (("plan", "--config", "missing.toml"), 3, "missing.toml"),
        (("plann",), 2, "plan"),
    ],
)
def test_wrong_input_is_explained(
    shell: Shell, arguments: tuple[str, ...], code: int, words: str
) -> None:
    """The exit code is the documented one, and the message names the next thing to try."""
    done = shell.run(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_what_does_not_fit_is_an_answer_with_numbers(shell: Shell) -> None:
    """A set that cannot be held ends with exit code 6 and the bytes on stdout."""
    done = shell.run("fit", "qwen2.5:32b", "qwen2.5:14b", "--host", TWIN)
    assert done.returncode == 6
    assert "GiB" in done.stdout


def test_pins_that_do_not_fit_are_refused_with_numbers(shell: Shell) -> None:
    """`plan` and `check` name the conflicting pins instead of choosing one."""
    (shell.folder / "budgets.toml").write_text(
        '[model."qwen2.5:14b"]\npin = true\n[model."qwen2.5:32b"]\npin = true\n'
    )
    done = shell.run("plan", "--host", TWIN)
    assert done.returncode == 6
    assert "qwen2.5:14b" in done.stdout
    assert "GiB" in done.stdout
    assert "Unpin one of qwen2.5:" in done.stdout
    assert "`warmset fit qwen2.5:" in done.stdout
    assert shell.run("check", "--host", TWIN).returncode == 6


def test_pending_changes_have_an_exit_code_of_their_own(shell: Shell) -> None:
    """`plan --detailed-exitcode` tells scripts that something would be done."""
    assert shell.run("plan", "--host", TWIN).returncode == 0
    assert shell.run("plan", "--detailed-exitcode", "--host", TWIN).returncode == 7


@pytest.mark.parametrize(
    ("redirection", "code", "told"),
    [(">&-", 0, ""), (">/dev/full", 8, "the result could not be written: no space left")],
    ids=["closed", "full"],
)
@pytest.mark.parametrize("words", ["--help", "plan -q --host twin://laptop"])
def test_output_that_nobody_takes_is_no_crash(
    shell: Shell, words: str, redirection: str, code: int, told: str
) -> None:
    """Started without stdout, or with a full disk behind it: no traceback, no internal error."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} -m warmset {words} {redirection}"],
        cwd=shell.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "HOME": str(shell.folder)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code
    assert done.stderr.strip().removeprefix("warmset: ") == told


def test_a_plan_for_a_user_who_configured_nothing(shell: Shell) -> None:
    """It tells what is there, what would fit, and the way on; a script sees no pending change."""
    (shell.folder / "budgets.toml").write_text("")
    done = shell.run("plan", "--detailed-exitcode", "--host", TWIN)
    assert done.returncode == 0
    assert "Would fit too" in done.stdout
    assert "warmset init" in done.stdout
    document = shell.read("plan", "--host", TWIN)
    assert document["actions"] == []
    assert document["would_fit_too"]
    weighed = shell.read("plan", "--all", "--host", TWIN)
    assert {action["kind"] for action in weighed["actions"]} == {"preload"}
    assert all(member["is_configured"] for member in weighed["warm_set"])
    refused = shell.run("plan", "--all", "--out", "p.json", "--host", TWIN)
    assert refused.returncode == 2
    assert not (shell.folder / "p.json").exists()


def test_names_for_shell_loops(shell: Shell) -> None:
    """`-o name` prints names and nothing else on stdout."""
    names = shell.run("plan", "-o", "name", "--host", TWIN).stdout.split()
    assert "qwen2.5-coder:7b" in names


def test_the_demo_ends_in_one_table(shell: Shell) -> None:
    """Fewer cold starts under ranks than under stock Ollama, told with the seconds waited."""
    story = shell.read("demo")
    assert story["ranked"]["cold_starts"] < story["stock"]["cold_starts"]
    assert story["ranked"]["requests"] == story["stock"]["requests"]
    text = shell.run("demo")
    assert text.stdout.splitlines()[0].startswith("MODEL")
    assert text.stdout.splitlines()[-1].startswith("total")
