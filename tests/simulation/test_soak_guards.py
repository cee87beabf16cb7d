"""Guards of the loop are missed when they are taken out: a story breaks a law without them."""

from __future__ import annotations

from pathlib import Path

import pytest
from soak.life import Life
from soak.mutants import MUTANTS

SEEDS_IN_CI = 3


def test_every_guard_can_be_taken_out() -> None:
    """Each is where its mutant says, whatever became of the code around it."""
    for mutant in MUTANTS:
        with mutant.applied():
            pass


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m.in_ci], ids=lambda m: m.name)
def test_a_missing_guard_is_missed(tmp_path: Path, mutant) -> None:
    """Those that the first stories show; `scripts/soak --mutants` takes out all of them."""
    with mutant.applied():
        for seed in range(SEEDS_IN_CI):
            folder = tmp_path / str(seed)
            folder.mkdir()
            if Life(mutant.story(seed), folder).breaks_a_law():
                return
    pytest.fail(f"{mutant.name}: {SEEDS_IN_CI} stories without it")


def test_the_readme_counts_guards() -> None:
    """Its numbers are those of the code."""
    text = " ".join((Path(__file__).parents[2] / "README.md").read_text("utf-8").split())
    played = sum(mutant.in_ci for mutant in MUTANTS)
    assert f"takes each of {len(MUTANTS)} guards out" in text
    assert f"{played} are missed within their first three stories" in text
