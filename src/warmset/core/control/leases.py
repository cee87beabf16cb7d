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
"""Free slots between neighbours after a renumbering: three insertions at one place (8, 4, 2)
before the next renumbering."""


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
        keep them, unless a newcomer finds no gap; then all are numbered afresh.
    """
    assert len(set(ranked)) == len(ranked), ranked
    kept = _longest_rising(ranked, current)
    slots: dict[ModelKey, int] = {}
    below = -1
    for index, key in enumerate(ranked):
        if key in kept:
            slots[key] = below = current[key]
            continue
        newcomers = _newcomers_from(ranked, index, kept)
        above = next((current[k] for k in ranked[index:] if k in kept), None)
        slot = below + SLOT_GAP if above is None else below + (above - below) // (newcomers + 1)
        if slot <= below or (above is not None and slot + newcomers > above):
            return {key: (i + 1) * SLOT_GAP for i, key in enumerate(ranked)}
        slots[key] = below = slot
    return slots


def _newcomers_from(ranked: Sequence[ModelKey], index: int, kept: set[ModelKey]) -> int:
    """Counts the models without a slot that stand next to each other from here on."""
    count = 0
    while index + count < len(ranked) and ranked[index + count] not in kept:
        count += 1
    return count


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
