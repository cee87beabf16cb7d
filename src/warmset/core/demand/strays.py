"""Timers among other uses: a model that cron asks for, and people in between.

There the middle gap is no period, so the usual ones are tried: each folds all uses on one beat,
and the moment of the beat at which most of them meet is where the timer would be. Few beats may
be missed: many clients wake on the full minute, so that uses meet there by habit, not by timer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb
from statistics import median
from typing import Final

from warmset.core.demand.periods import (
    BY_CHANCE,
    LEAST_NEAR_SECONDS,
    LEAST_USES,
    MAD_TO_SIGMA,
    Period,
)
from warmset.core.units import MINUTE

USUAL_SECONDS: Final = tuple(minutes * MINUTE for minutes in (5, 10, 15, 20, 30, 60))
"""The steps of minutes that divide an hour evenly, as crontab(5) writes them: `*/5` to `0 *`.

Not below five: a model that is asked for every minute or two is held in any case.
"""

STEP_SECONDS: Final = USUAL_SECONDS[0]
"""It divides them all: uses that meet on one of them meet on it as well, so its fullest window
says how many can."""

MOST_MISSED: Final = 1 / 8
"""Beats that may be without a use: one of the last eight, over which a timer is followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A timer among strays.

    Attributes:
        period: its grid; the anchor is its last beat with a use.
        share: beats with a use, of the last few.
    """

    period: Period
    share: float


def find_beat(times: Sequence[float], recent_beats: int) -> Beat | None:
    """Returns the shortest usual period of which hardly a beat is missed, if there is one.

    Its multiples hold as well, and foretell fewer beats; of its fractions every other is missed.

    Args:
        times: of uses, ascending.
        recent_beats: beats with a use over which the share is taken.

    Source: the binomial tail of `periods`, for the best of as many windows as there are uses.
    """
    if len(times) < LEAST_USES:
        return None
    most, _ = _gathering(times, STEP_SECONDS)
    found = (
        _beat(times, seconds, recent_beats)
        for seconds in USUAL_SECONDS
        if times[-1] - times[0] >= LEAST_USES * seconds and not _is_chance(times, most, seconds)
    )
    return next((beat for beat in found if beat is not None), None)


def _is_chance(times: Sequence[float], count: int, seconds: float) -> bool:
    """Whether so many uses in one window of a beat may be chance: the fewer, the likelier."""
    width, tried = 2 * LEAST_NEAR_SECONDS / seconds, len(times) * len(USUAL_SECONDS)
    return comb(len(times), count) * width ** (count - 1) * tried >= BY_CHANCE


def _beat(times: Sequence[float], seconds: float, recent_beats: int) -> Beat | None:
    count, phase = _gathering(times, seconds)
    if _is_chance(times, count, seconds):
        return None
    steps = [round((at - phase) / seconds) for at in times]
    near = [
        (step, abs(at - phase - step * seconds))
        for step, at in zip(steps, times, strict=True)
        if abs(at - phase - step * seconds) <= LEAST_NEAR_SECONDS
    ]
    hit = sorted({step for step, _ in near})[-recent_beats:]
    share = len(hit) / (steps[-1] - hit[0] + 1)
    if len(hit) <= LEAST_USES or share < 1 - MOST_MISSED:
        return None
    grid = Period(
        seconds=seconds,
        anchor=phase + hit[-1] * seconds,
        jitter_seconds=MAD_TO_SIGMA * median(off for _, off in near),
        strength=count / len(times),
    )
    return Beat(period=grid, share=share)


def _gathering(times: Sequence[float], seconds: float) -> tuple[int, float]:
    """Returns how many uses meet in the fullest window of a beat, and its moment."""
    phases = sorted(at % seconds for at in times)
    around = phases + [phase + seconds for phase in phases]
    best, first, end = 0, 0, 0
    for begin, phase in enumerate(phases):
        while end < begin + len(phases) and around[end] <= phase + 2 * LEAST_NEAR_SECONDS:
            end += 1
        if end - begin > best:
            best, first = end - begin, begin
    return best, median(around[first : first + best])
