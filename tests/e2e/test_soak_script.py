"""`scripts/soak` as its reader meets it: what it says and how it ends when a law is broken."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

WITHOUT = """
import runpy, sys
sys.path[:0] = [f"{ROOT}/scripts", f"{ROOT}/tests", f"{ROOT}/src"]
from soak.mutants import MUTANTS
(mutant,) = [m for m in MUTANTS if m.name == GUARD]
with mutant.applied():
    runpy.run_path(f"{ROOT}/scripts/soak", run_name="__main__")
"""
"""The script with a guard of the loop taken out of the program that it tries."""

UNMISSED = """
import runpy, sys
sys.path[:0] = [f"{ROOT}/scripts", f"{ROOT}/tests", f"{ROOT}/src"]
import soak.mutants
from soak.mutants import Mutant
from warmset.core.control import step
same = Mutant("nobody misses it", ("step:_unknown",), step._unknown, ("deaf",), seeds=2)
noticed = [m for m in soak.mutants.MUTANTS if m.name == GUARD]
soak.mutants.MUTANTS = (*noticed, same)
runpy.run_path(f"{ROOT}/scripts/soak", run_name="__main__")
"""
"""The script with a guard among its own that stands as before once it is taken out."""

GUARD = "pending: nothing is waited for"


def run(*words: str, program: str = "") -> subprocess.CompletedProcess[str]:
    """Runs the script, or a program around it."""
    said = f"ROOT, GUARD = {str(ROOT)!r}, {GUARD!r}\n{program}"
    command = ["-c", said] if program else [str(ROOT / "scripts/soak")]
    return subprocess.run(
        [sys.executable, *command, *words],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_broken_law_is_told_with_the_line_that_breaks_it_again() -> None:
    """Exit code 1, the seed, the law, and a line which, typed as it stands, shows the same law; of
    the whole program that line shows none."""
    failed = run("--seeds", "1", "--first-seed", "0", "--jobs", "1", program=WITHOUT)
    assert failed.returncode == 1, failed.stderr
    told = re.search(r"^seed (\d+): (.+)\n    play it again: (.+)$", failed.stdout, re.MULTILINE)
    assert told is not None, failed.stdout
    seed, law, line = told.groups()
    law = re.sub(r" \(\+\d+ more\)$", "", law)
    assert failed.stdout.splitlines()[-1].startswith("1 seeds from 0: 1 broke a law; ")
    script, *words = shlex.split(line)
    assert script == "scripts/soak"
    assert ("--first-seed", seed) == tuple(words[:2])
    again = run(*words, program=WITHOUT)
    assert again.returncode == 1
    assert law in again.stdout
    whole = run(*words)
    assert whole.returncode == 0, whole.stdout[-2000:]
    assert law not in whole.stdout


def test_a_guard_that_nobody_misses_fails_the_run() -> None:
    """One that is missed is named with the story that missed it; one that is not, with exit code 1.
    All missed: exit code 0."""
    done = run("--mutants", "--jobs", "1", program=UNMISSED)
    assert done.returncode == 1, done.stderr
    missed, survived, total = done.stdout.splitlines()
    assert missed.startswith(f"{GUARD}: noticed at seed ")
    assert survived == "nobody misses it: SURVIVED"
    assert total == "2 guards taken out, 1 not missed"
    alone = run("--mutants", GUARD, "--jobs", "1")
    assert alone.returncode == 0, alone.stdout + alone.stderr
    assert alone.stdout.splitlines()[-1] == "1 guards taken out, 0 not missed"


def test_a_host_that_it_has_not_is_refused() -> None:
    """A wrong word is a usage error, not a run of something else."""
    for words in (("--cards", "3"), ("--seed", "1"), ("--seeds", "many")):
        assert run(*words).returncode == 2, words
