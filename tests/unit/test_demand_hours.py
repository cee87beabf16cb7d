"""Times of day and week are found where they are, and nowhere else."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from warmset.core.demand import find_hours
from warmset.core.demand.coactivity import find_follows
from warmset.core.demand.trace import Request, Trace
from warmset.core.windows import format_window

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)


def uses(is_open: Callable[[datetime], bool], days: int = 14, seed: int = 1) -> list[float]:
    """Three of four hours have two uses, of those that are open."""
    rng = random.Random(seed)
    hours = (MONDAY + timedelta(hours=n) for n in range(24 * days))
    busy = [at for at in hours if is_open(at) and rng.random() < 0.75]
    return [at.timestamp() + rng.random() * 3600 for at in busy for _ in range(2)]


@pytest.mark.parametrize(
    ("is_open", "window"),
    [
        (lambda at: at.weekday() < 5 and 8 <= at.hour < 18, "Mon-Fri 08:00-18:00"),
        (lambda at: at.weekday() >= 5, "Sat,Sun"),
        (lambda at: at.hour >= 22 or at.hour < 4, "daily 22:00-04:00"),
        (lambda at: 2 <= at.hour < 5, "daily 02:00-05:00"),
    ],
)
def test_the_window_of_a_habit_is_found(is_open: Callable[[datetime], bool], window: str) -> None:
    """As budgets.toml says it; and a stray use in a hundred changes nothing."""
    times = uses(is_open)
    found = find_hours(times, UTC)
    assert found is not None
    assert format_window(found.window) == window
    assert found.share == 1.0
    stray = find_hours([*times, MONDAY.timestamp() + 3600 * 36.5], UTC)
    assert stray is not None
    assert format_window(stray.window) == window
    assert stray.share >= 0.95


def test_hours_are_those_of_the_zone() -> None:
    """Eight in Berlin is seven in UTC, in winter."""
    found = find_hours(uses(lambda at: 7 <= at.hour < 11), ZoneInfo("Europe/Berlin"))
    assert found is not None
    assert format_window(found.window) == "daily 08:00-12:00"


@pytest.mark.parametrize("seed", range(20))
def test_chance_is_no_habit(seed: int) -> None:
    """Uses at random hours, few or many, have no window."""
    rng = random.Random(seed)
    count = rng.choice([1, 2, 5, 10, 40, 200, 3000])
    times = [MONDAY.timestamp() + rng.random() * 21 * 86400 for _ in range(count)]
    assert find_hours(times, UTC) is None


def test_days_that_nobody_watched_are_not_idle() -> None:
    """Four days from a Monday say nothing of the weekend."""
    assert find_hours(uses(lambda at: 8 <= at.hour < 18, days=4), UTC) is None
    assert find_hours([], UTC) is None


def test_who_follows_whom_as_a_rule() -> None:
    """An embedder after each chat; not the other way round, and not who comes at random."""
    rng = random.Random(3)
    rows = []
    for n in range(40):
        at = n * 3600.0 + rng.random() * 1200
        rows += [Request(at, "chat", 5.0), Request(at + 8, "embed", 0.1)]
        rows += [Request(n * 3600.0 + rng.random() * 3600, "other", 5.0)]
    (found,) = find_follows(Trace.of(rows))
    assert (found.first, found.then) == ("chat", "embed")
    assert found.seen == pytest.approx(found.uses)
    assert found.expected < 2
    assert find_follows(Trace.of(rows[:6])) == ()
