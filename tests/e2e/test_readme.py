"""The README tells what the program does: its examples run, and every word of it is there."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.core import TyperGroup

from warmset.adapters.config.schema import SECTIONS, keys_of
from warmset.adapters.metrics import FAMILIES
from warmset.cli.app import VERBS, Verb
from warmset.cli.app import _load as load_verb
from warmset.cli.exits import ExitCode
from warmset.core.host.vantage import SIGHTS, Lever, Vantage
from warmset.core.twin.demand import PATTERNS
from warmset.core.twin.hosts import HOSTS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"```console\n\$ (warmset [^\n]+)\n((?!\$).*?)```", README, re.DOTALL)
SCRIPTS = re.findall(r"```console\n((?:\$ [^\n]+\n)+)```", README)
"""Blocks of commands without output: the demo, the first plan, the service."""
BUDGETS = re.search(r"```toml\n(\[model.*?)```", README, re.DOTALL)


def run(command: str, folder: Path) -> str:
    """Returns what a command of the README prints on stdout."""
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 6), done.stderr
    assert done.stdout.strip(), done.stderr
    return done.stdout


@pytest.mark.parametrize(("command", "output"), EXAMPLES, ids=[c for c, _ in EXAMPLES])
def test_the_examples_print_what_the_readme_shows(
    tmp_path: Path, command: str, output: str
) -> None:
    """Each example, run today, gives the text that stands below it (GOLDEN=write renews it)."""
    assert BUDGETS is not None
    (tmp_path / "budgets.toml").write_text(BUDGETS[1], "utf-8")
    printed = run(command, tmp_path)
    if os.environ.get("GOLDEN") == "write":
        text = (ROOT / "README.md").read_text("utf-8")
        before, after = f"$ {command}\n{output}```", f"$ {command}\n{printed.rstrip()}\n```"
        (ROOT / "README.md").write_text(text.replace(before, after), "utf-8")
        return
    assert printed.strip() == output.strip()


def test_every_block_is_run_by_a_test() -> None:
    """Whatever a reader may copy is an example above, a script below, Python or configuration."""
    assert len(EXAMPLES) >= 4
    demo, first, service = SCRIPTS
    assert (
        demo == "$ scripts/demo\n"
    )  # what it installs, CI has; what it runs: see the demo's table
    assert "warmset plan" in first
    assert "systemctl" in service  # tests/e2e/test_real_systemd.py runs it
    kinds = re.findall(r"^```(\w+)$", README, re.MULTILINE)
    assert kinds.count("console") == len(EXAMPLES) + len(SCRIPTS)
    assert set(kinds) == {"console", "python", "text", "toml"}


def test_the_way_to_the_first_plan_can_be_walked(tmp_path: Path) -> None:
    """The newcomer's lines, as they stand, on a pretended host: each ends well, and the last one
    runs until it is stopped."""
    tools = tmp_path / ".venv/bin"
    tools.mkdir(parents=True)
    (tools / "warmset").write_text(f'#!/bin/sh\nexec {sys.executable} -m warmset "$@"\n')
    (tools / "warmset").chmod(0o755)
    lines = [line.removeprefix("$ ") for line in SCRIPTS[1].splitlines()]
    last = lines.pop()
    assert last == "warmset serve --observe --config budgets.toml"
    env = {
        **{k: v for k, v in os.environ.items() if not k.startswith("XDG_")},
        "PYTHONPATH": str(ROOT / "src"),
        "HOME": str(tmp_path),
        "WARMSET_HOST": "twin://workstation",
    }
    done = subprocess.run(
        ["bash", "-exc", "\n".join(lines)],
        cwd=tmp_path,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "warmset/budgets.toml").exists()
    assert "Nothing to do: what is resident is what is wanted." in done.stdout
    folder = tmp_path / "warmset"
    line = ["timeout", "--signal=INT", "60", "bash", "-c", f"exec ../.venv/bin/{last} --listen off"]
    with subprocess.Popen(line, cwd=folder, env=env, stderr=subprocess.PIPE, text=True) as serving:
        assert serving.stderr is not None
        assert any('"event": "decision"' in told for told in serving.stderr)
        serving.send_signal(signal.SIGINT)
        serving.stderr.read()
    assert serving.returncode in (0, 124, 130)


def test_the_python_examples_run(tmp_path: Path) -> None:
    """As they stand: one after the other, each in a process of its own."""
    for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_the_configurations_load(tmp_path: Path) -> None:
    """Each block of TOML is a budgets.toml, or the host file that it is said to be."""
    for number, text in enumerate(re.findall(r"```toml\n(.*?)```", README, re.DOTALL)):
        path = tmp_path / f"{number}.toml"
        path.write_text(text, "utf-8")
        if "[gpu.0]" in text:
            run(f"warmset status --host twin://{path}", tmp_path)
        else:
            run(f"warmset config show --config {path}", tmp_path)


def test_the_demo_table_is_the_real_one(tmp_path: Path) -> None:
    """What `scripts/demo` ends in stands in the README."""
    assert run("warmset demo", tmp_path).strip() in README


def flags_of(verb: Verb) -> Iterator[tuple[str, str]]:
    """Yields the name of a verb, or of each verb below it, with every spelling of its options."""
    command = load_verb(verb)
    for each in command.commands.values() if isinstance(command, TyperGroup) else (command,):
        name = verb.name if each is command else f"{verb.name} {each.name}"
        for option in each.params:
            if option.param_type_name == "option":
                for spelling in (*option.opts, *option.secondary_opts):
                    yield name, spelling


def rows_of_verbs() -> dict[str, str]:
    """Returns verb -> its row in the table of verbs."""
    table = README[README.index("## Verbs and flags") : README.index("### The loop")]
    rows = {}
    for row in re.findall(r"^\| (`.*)$", table, re.MULTILINE):
        for name in re.findall(r"`((?:[a-z]+ ?)+)", row.split(" | ")[0]):
            rows[name.strip()] = row
    return rows


@pytest.mark.parametrize("verb", VERBS, ids=[verb.name for verb in VERBS])
def test_every_verb_and_flag_is_told(verb: Verb) -> None:
    """Each in the row of its verb; what all verbs have, above the table."""
    rows = rows_of_verbs()
    shared = README[README.index("## Verbs and flags") : README.index("| verb | does | flags |")]
    assert f"`{verb.name}" in "".join(rows.values())
    for name, flag in flags_of(verb):
        assert re.search(rf"`{flag}(?![\w-])", shared + rows[name]), f"{name}: {flag}"
    for flag in ("--version", "--install-completion", "--show-completion"):
        assert f"`{flag}`" in README or f"warmset {flag}`" in README


@pytest.mark.parametrize("section", SECTIONS, ids=lambda path: ".".join(path) or "top")
def test_every_configuration_key_is_told(section: tuple[str, ...]) -> None:
    """Every key of budgets.toml stands in the table of keys."""
    table = README[README.index("## Configuration") : README.index("## Metrics")]
    for key in keys_of(SECTIONS[section]):
        assert re.search(rf"\b{key}\b", table), key


@pytest.mark.parametrize("family", [family.full_name for family in FAMILIES])
def test_every_metric_is_told(family: str) -> None:
    """Every metric stands in the table of metrics, by its whole name."""
    table = README[README.index("## Metrics") : README.index("## Exit codes")]
    assert f"`{family}`" in table


def test_every_exit_code_host_and_pattern_is_told() -> None:
    """Numbers and names that a script may rely on."""
    codes = README[README.index("## Exit codes") :]
    for code in ExitCode:
        assert re.search(rf"\| {code.value} \|", codes), code
    for name in (*HOSTS, *PATTERNS):
        assert f"`{name}`" in README


def test_every_vantage_point_is_told_with_its_levers() -> None:
    """The table of what can be seen from where says what the program decides."""
    start = README.index("## What can be seen from where")
    rows = [row.split("|")[1:-1] for row in README[start:].split("\n\n")[1].splitlines()[2:]]
    levers = {cells[0].strip(): cells[-1].strip() for cells in rows}
    names = {
        Vantage.LOCAL: "on the server's machine",
        Vantage.CONTAINER: "in a container with its own PIDs",
        Vantage.UNCONFIRMED: "own address, no server process (tunnel?)",
        Vantage.REMOTE: "on another machine",
        Vantage.WSL2: "WSL2",
        Vantage.MACOS: "macOS",
        Vantage.WINDOWS: "Windows",
        Vantage.TWIN: "twin",
    }
    assert set(names) == set(Vantage)
    for vantage, name in names.items():
        told = set(levers[name].replace("all", ", ".join(Lever)).split(", "))
        assert told == {lever.value for lever in SIGHTS[vantage][3]}


def test_every_link_within_leads_to_a_heading() -> None:
    """As GitHub names them: small letters, blanks as hyphens, no punctuation."""
    headings = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", README)) <= anchors
