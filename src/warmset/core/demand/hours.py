"""Times of day and week: models that are asked for in some hours only.

The shortest window of whole hours, every day, on workdays or at weekends, that holds nearly all
hours in which a model was used. A window is believed only if uses at random would hardly lie so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from math import ceil, comb, exp, fsum, log, log1p
from typing import Final

from warmset.core.demand.periods import BY_CHANCE
from warmset.core.units import DAY
from warmset.core.windows import Window

WATCHED_SECONDS: Final = 7 * DAY
"""A week: of a demand watched for less nobody knows which days are missing."""

NEARLY_ALL: Final = 0.95
"""Share of the used hours that a window holds: one stray evening in twenty is no habit."""

MOST_OF_WEEK: Final = 0.5
"""A window that is open for more of the week gives too little back to be worth a line."""

USED_LIKE_OTHERS: Final = 0.25
"""Of the middle use of the hours inside: an hour next to them that is used so much belongs to
them; an opening hour is often half empty."""

_DAY_SETS: Final = (tuple(range(7)), tuple(range(5)), (5, 6))
_TRIED: Final = len(_DAY_SETS) * 24 * 24  # windows looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """When a model is asked for.

    Attributes:
        window: in local time.
        share: of the hours with a use that lie inside.
    """

    window: Window
    share: float


def find_hours(times: Sequence[float], zone: tzinfo) -> Hours | None:
    """Returns the window of a model's uses; `None` if there is none, or it may be chance.

    Args:
        times: Unix seconds of its uses, in any order.
        zone: whose local time counts.

    Source: the binomial tail, each hour with a use being one draw that lies inside a window as
    often as the window is open; times the number of windows tried (Bonferroni).
    """
    if not times or max(times) - min(times) < WATCHED_SECONDS:
        return None
    instants = (datetime.fromtimestamp(at, zone) for at in times)
    used = {(at.date(), at.hour) for at in instants}
    found = [h for days in _DAY_SETS if (h := _shortest(used, days)) is not None]
    return min(found, key=lambda h: _open_share(h.window), default=None)


def _shortest(used: set[tuple[date, int]], days: tuple[int, ...]) -> Hours | None:
    counts = [0] * 24
    for day, hour in used:
        if day.weekday() in days:
            counts[hour] += 1
    needed = ceil(NEARLY_ALL * len(used))
    for length in range(1, 25):
        starts = range(24 if len(days) == 7 else 25 - length)  # else: midnight parts the days
        inside, start = max((sum(counts[(s + n) % 24] for n in range(length)), -s) for s in starts)
        if inside >= needed:
            first, hours = _widened(counts, -start, length, is_whole_week=len(days) == 7)
            inside = sum(counts[(first + n) % 24] for n in range(hours))
            window = _window(days, first, hours)
            is_chance = _tail(len(used), inside, _open_share(window)) * _TRIED >= BY_CHANCE
            is_wide = _open_share(window) > MOST_OF_WEEK
            return None if is_chance or is_wide else Hours(window=window, share=inside / len(used))
    return None


def _widened(
    counts: Sequence[int], start: int, length: int, *, is_whole_week: bool
) -> tuple[int, int]:
    """Takes in the hours at both ends that are used like the others, so that none is cut off."""
    least = USED_LIKE_OTHERS * sum(counts[(start + n) % 24] for n in range(length)) / length
    while length < 24 and (is_whole_week or start > 0) and counts[start - 1] >= least:
        start, length = (start - 1) % 24, length + 1
    while (
        length < 24
        and (is_whole_week or start + length < 24)
        and counts[(start + length) % 24] >= least
    ):
        length += 1
    return start, length


def _window(days: tuple[int, ...], start: int, length: int) -> Window:
    if length == 24:
        return Window(days=days)
    end = (start + length) % 24 or 24
    return Window(days=days, start_minute=60 * start, end_minute=60 * end)


def _open_share(window: Window) -> float:
    minutes = (window.end_minute - window.start_minute) % (24 * 60) or 24 * 60
    return len(window.days) * minutes / (7 * 24 * 60)


def _tail(draws: int, least: int, chance: float) -> float:
    """Returns how likely at least so many of the draws lie inside."""
    if chance >= 1.0:
        return 1.0
    yes, no = log(chance), log1p(-chance)
    return fsum(
        exp(log(comb(draws, n)) + n * yes + (draws - n) * no) for n in range(least, draws + 1)
    )
