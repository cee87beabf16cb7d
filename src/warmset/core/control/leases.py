"""Ranks as keep-alives: how warmset's order of worth is written into Ollama itself.

Ollama evicts the idle model with the shortest keep-alive *duration*. So each managed resident
gets its own finite duration, longer the later it shall go: `base + slot x 60 s`. Slots leave
gaps, so that one change of rank needs one ping.

A lease says rank and nothing else. The base lies above Ollama's default of 5 minutes and above
what clients usually set, so that everything warmset does not manage goes first; and if warmset
stops, the host is back to stock behaviour within one lease.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

from warmset.core.model import ModelKey
from warmset.core.units import MINUTE

BASE_SECONDS: Final = 30 * MINUTE
SLOT_SECONDS: Final = MINUTE
SLOT_GAP: Final = 8
"""Free slots between neighbours at first: three insertions at one place (8, 4, 2) before a
neighbour has to move too."""


def lease_seconds(slot: int, base_seconds: float = BASE_SECONDS) -> float:
    """Returns the keep-alive of a slot; a higher slot is evicted later."""
    assert slot >= 0, slot
    return base_seconds + slot * SLOT_SECONDS


def assign_slots(
    ranked: Sequence[ModelKey], current: Mapping[ModelKey, int]
) -> dict[ModelKey, int]:
    """Returns a slot for each model, in the order given, changing as few as possible.

    Args:
        ranked: distinct keys, the first to go first.
        current: slots held now; keys that are not ranked any more are forgotten.

    Invariants:
        Slots grow strictly along `ranked`. Models whose slots already stand in the right order
        keep them, unless a newcomer finds no gap; then as few of its neighbours as will do move
        too. No slot is above `2 x SLOT_GAP` for each model, unless it was before.
    """
    assert len(set(ranked)) == len(ranked), ranked
    kept = _longest_rising(ranked, current)
    slots = [current[key] if key in kept else None for key in ranked]
    highest = max((slot for slot in slots if slot is not None), default=0)
    ceiling = max(highest, 2 * SLOT_GAP * len(ranked)) + 1
    for place in range(len(slots)):
        if slots[place] is None:
            begin, end = _window(slots, place, ceiling)
            _spread(slots, begin, end, ceiling)
    return {key: slot for key, slot in zip(ranked, slots, strict=True) if slot is not None}


def _window(slots: Sequence[int | None], place: int, ceiling: int) -> tuple[int, int]:
    """Returns the fewest places around a newcomer, and those right above it, that find slots.

    The end of the span is excluded.
    """
    last = place
    while last < len(slots) and slots[last] is None:
        last += 1
    for extra in range(len(slots)):
        for begin in range(place, place - extra - 1, -1):
            end = last + extra - (place - begin)
            if begin < 0 or end > len(slots):
                continue
            below, above = _neighbours(slots, begin, end, ceiling)
            if above is not None and above - below > end - begin:
                return begin, end
    return 0, len(slots)


def _neighbours(
    slots: Sequence[int | None], begin: int, end: int, ceiling: int
) -> tuple[int, int | None]:
    """Returns the slots right below and right above a span; `None`: that one has none yet."""
    below = slots[begin - 1] if begin else -1
    assert below is not None, slots
    return below, slots[end] if end < len(slots) else ceiling


def _spread(slots: list[int | None], begin: int, end: int, ceiling: int) -> None:
    """Gives all places of a span slots, evenly between its neighbours."""
    below, above = _neighbours(slots, begin, end, ceiling)
    assert above is not None, slots
    count = end - begin
    if end == len(slots):  # nobody above
        above = min(above, below + (count + 1) * SLOT_GAP)
    for i in range(count):
        slots[begin + i] = below + (above - below) * (i + 1) // (count + 1)


def _longest_rising(ranked: Sequence[ModelKey], current: Mapping[ModelKey, int]) -> set[ModelKey]:
    """Returns the largest set of models whose present slots are already in order."""
    tails: list[int] = []  # smallest last slot of a rising run of each length
    ends: list[ModelKey] = []
    before: dict[ModelKey, ModelKey | None] = {}
    for key in ranked:
        if key not in current:
            continue
        at = bisect_left(tails, current[key])
        before[key] = ends[at - 1] if at else None
        tails[at : at + 1] = [current[key]]
        ends[at : at + 1] = [key]
    kept: set[ModelKey] = set()
    last = ends[-1] if ends else None
    while last is not None:
        kept.add(last)
        last = before[last]
    return kept
