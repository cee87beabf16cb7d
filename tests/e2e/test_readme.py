"""The README tells what the program does: its examples run, and every word of it is there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from warmset.adapters.config.schema import keys_of, section_at
from warmset.adapters.metrics import FAMILIES
from warmset.cli.app import VERBS
from warmset.cli.exits import ExitCode
from warmset.core.twin.demand import PATTERNS
from warmset.core.twin.hosts import HOSTS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"```console\n\$ (warmset [^\n]+)\n(.*?)```", README, re.DOTALL)
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


def test_there_are_examples() -> None:
    """The pattern that finds the examples finds them."""
    assert len(EXAMPLES) >= 4


def test_the_demo_table_is_the_real_one(tmp_path: Path) -> None:
    """What `scripts/demo` ends in stands in the README."""
    assert run("warmset demo", tmp_path).strip() in README


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS])
def test_every_verb_is_told(verb: str) -> None:
    """No verb is a secret."""
    assert re.search(rf"`(warmset )?{verb}\b", README)


@pytest.mark.parametrize(
    "section",
    ["ollama", "budget", "policy", "class.NAME", 'model."NAME"', "serve", "alerts"],
    ids=lambda s: s.split(".")[0],
)
def test_every_configuration_key_is_told(section: str) -> None:
    """Every key of budgets.toml stands in the table of keys."""
    path = tuple(part.strip('"') for part in section.split("."))
    form = section_at(path)
    assert form is not None
    table = README[README.index("## Configuration") :]
    for key in keys_of(form):
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
