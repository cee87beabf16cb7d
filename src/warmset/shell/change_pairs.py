"""Two changes that together make models fit, where no single one does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from warmset.shell.changes import Change, Ladder, Scene, change_at, ladders_of

MOST_CHECKS: Final = 80
"""Pairs looked at; beyond, what was found so far is told."""

MOST_STEPS: Final = 12
"""Steps of both changes together."""

ENOUGH_PAIRS: Final = 3
"""Pairs after which no larger ones are looked for."""


def find_pairs(scene: Scene) -> tuple[tuple[Change, Change], ...]:
    """Returns pairs of changes that are known to be enough together, the smallest first.

    Small steps of two things are tried before large ones. Of the same two things only the first
    pair that is enough counts.
    """
    before = scene.need_bytes()
    found: dict[tuple[object, object], tuple[Change, Change]] = {}
    checks = 0
    for total in range(MOST_STEPS):
        for first, step, second, further in _pairs(scene, total):
            names = (_name(first), _name(second))
            if names in found:
                continue
            checks += 1
            if checks > MOST_CHECKS:
                return _smallest_first(found)
            if second.steps[further][1].fits().is_possible:
                one = change_at(first, step, before)
                found[names] = (one, change_at(second, further, one.need_bytes))
        if len(found) >= ENOUGH_PAIRS:
            break
    return _smallest_first(found)


def _pairs(scene: Scene, total: int) -> Iterator[tuple[Ladder, int, Ladder, int]]:
    """Yields two things and the step of each, `total` steps from the smallest pair."""
    ladders = tuple(ladders_of(scene))
    for at, first in enumerate(ladders):
        later = {_name(ladder) for ladder in ladders[at + 1 :]}
        for step, (_, varied) in enumerate(first.steps[: total + 1]):
            for second in ladders_of(varied):
                is_other = _name(second) in later and not _is_same(first, second)
                if is_other and total - step < len(second.steps):
                    yield first, step, second, total - step


def _name(ladder: Ladder) -> tuple[str, tuple[str, ...]]:
    return ladder.kind, ladder.models


def _is_same(first: Ladder, second: Ladder) -> bool:
    """Whether both vary the same thing of the same model."""
    return first.kind == second.kind and bool(set(first.models) & set(second.models))


def _smallest_first(
    found: dict[tuple[object, object], tuple[Change, Change]],
) -> tuple[tuple[Change, Change], ...]:
    pairs = found.values()
    return tuple(sorted(pairs, key=lambda pair: sum(change.saved_bytes for change in pair)))
