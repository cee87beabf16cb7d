"""Seeded mishaps of every kind break no law."""

from __future__ import annotations

from pathlib import Path

import pytest
from soak.life import Life
from soak.story import MISHAPS, tell

SEEDS_IN_CI = 160
FIRST = 0


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS_IN_CI, 20))
def test_no_law_is_broken(tmp_path: Path, first: int) -> None:
    """Twenty stories: `scripts/soak --first-seed N --trace` tells the one that fails."""
    for seed in range(first, first + 20):
        folder = tmp_path / str(seed)
        folder.mkdir()
        broken = Life(tell(seed), folder).live()
        assert not broken, f"scripts/soak --first-seed {seed} --trace: {broken}"


def test_every_mishap_has_its_turn() -> None:
    """A thousand stories hold every kind of mishap, and a life knows what to do with each."""
    told = {h.kind for seed in range(1000) for h in tell(seed).happenings}
    assert told == {"use", *MISHAPS}
    assert all(callable(getattr(Life, f"_{kind}")) for kind in told)


def test_a_seed_is_always_the_same_story(tmp_path: Path) -> None:
    """What happens depends on nothing but the seed."""
    lives = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        life = Life(tell(7), folder)
        life.live()
        lives.append((life.witness.counts, life.witness._writes))
    assert lives[0] == lives[1]


def test_the_readme_counts_mishaps() -> None:
    """Its number is that of the code."""
    text = " ".join((Path(__file__).parents[2] / "README.md").read_text("utf-8").split())
    assert f"some of {len(MISHAPS)} kinds of mishaps" in text
