"""Time windows of the week: what `Mon-Fri 08:00-18:00` means at an instant.

The core has no clock and no time zone database: instants come as Unix seconds, the zone as a
`tzinfo`. Local time has gaps and repetitions where clocks are set, so two rules decide:

- A window opens at the first instant whose local time is its start or later on that day, and
  closes at the last instant whose local time is its end.
- So an hour that happens twice is open both times, and one that is skipped opens nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Final

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FULL: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAY_MINUTES: Final = 24 * 60

_HOURS = re.compile(r"(\d{1,2}):(\d\d)\s*-\s*(\d{1,2}):(\d\d)", re.ASCII)
_EXAMPLE = 'such as "Mon-Fri 08:00-18:00", "Sat,Sun" or "daily 22:00-06:00"'


class WindowError(ValueError):
    """A text that is no window; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A span of the day on some days of the week, in local time.

    Attributes:
        days: of its start; 0 is Monday.
        start_minute, end_minute: since midnight; an end that is not later than the start lies on
            the next day.

    Invariants:
        0 <= `start_minute` < 1440, 0 < `end_minute` <= 1440, and they differ.
    """

    days: tuple[int, ...]
    start_minute: int = 0
    end_minute: int = DAY_MINUTES

    def __post_init__(self) -> None:
        assert self.days, self
        assert all(0 <= day < 7 for day in self.days), self
        assert 0 <= self.start_minute < DAY_MINUTES, self
        assert 0 < self.end_minute <= DAY_MINUTES, self
        assert self.start_minute != self.end_minute, self


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time, its end not included. Units: seconds."""

    start: float
    end: float


def parse_window(text: str) -> Window:
    """Returns the window that a text means.

    Args:
        text: days, hours, or both: `Mon-Fri 08:00-18:00`, `Sat,Sun`, `daily 22:00-06:00`,
            `08:00-12:00`. Days may be written out; `24:00` is the end of a day.

    Raises:
        WindowError: it means none.
    """
    words = " ".join(text.split())
    hours = _HOURS.search(words)
    days = words[: hours.start()].strip() if hours else words
    if not words or (hours and hours.end() != len(words)):
        raise WindowError(f"should be days and hours, {_EXAMPLE}")
    start, end = 0, DAY_MINUTES
    if hours:
        start, end = _minute(hours[1], hours[2]), _minute(hours[3], hours[4]) or DAY_MINUTES
        if start in (end, DAY_MINUTES):
            raise WindowError("starts when it ends; all day is written without hours")
    return Window(days=_days(days), start_minute=start, end_minute=end)


def format_window(window: Window) -> str:
    """Returns the text of a window, as `parse_window` reads it."""
    names = [name.capitalize() for name in DAYS]
    first, last = window.days[0], window.days[-1]
    if len(window.days) == 7:
        days = "daily"
    elif len(window.days) > 2 and last - first == len(window.days) - 1:
        days = f"{names[first]}-{names[last]}"
    else:
        days = ",".join(names[day] for day in window.days)
    if (window.start_minute, window.end_minute) == (0, DAY_MINUTES):
        return days
    return f"{days} {_clock(window.start_minute)}-{_clock(window.end_minute)}"


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _minute(hour: str, minute: str) -> int:
    count = int(hour) * 60 + int(minute)
    if int(minute) > 59 or count > DAY_MINUTES:
        raise WindowError(f"{hour}:{minute} is no time of the day")
    return count


def _days(text: str) -> tuple[int, ...]:
    if text.lower() in ("", "daily", "every day"):
        return tuple(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        start, end = _day(first), _day(last if dash else first)
        found |= {(start + n) % 7 for n in range((end - start) % 7 + 1)}
    return tuple(sorted(found))


def _day(text: str) -> int:
    word = text.strip().lower()
    for names in (DAYS, _FULL):
        if word in names:
            return names.index(word)
    raise WindowError(f"{text.strip()!r} is no day of the week; write days and hours, {_EXAMPLE}")


def find_spans(
    windows: Sequence[Window], zone: tzinfo, since: float, until: float
) -> tuple[Span, ...]:
    """Returns when at least one of the windows is open, in order, none touching the next.

    Args:
        windows: of one model.
        zone: whose local time they are meant in.
        since, until: Unix seconds; what touches this stretch is returned whole.

    Invariants:
        Spans are not empty and at least one instant apart.
    """
    first = datetime.fromtimestamp(since, zone).date() - timedelta(days=2)
    last = datetime.fromtimestamp(until, zone).date() + timedelta(days=2)
    merged: list[Span] = []
    for span in sorted(_all_spans(windows, zone, first, last), key=lambda s: s.start):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Span(start=merged[-1].start, end=max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return tuple(span for span in merged if span.end > since and span.start < until)


def _all_spans(windows: Sequence[Window], zone: tzinfo, first: date, last: date) -> Iterator[Span]:
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        for window in windows:
            if day.weekday() in window.days:
                is_next = window.end_minute <= window.start_minute
                end_day = day + timedelta(days=1) if is_next else day
                start = _instant(day, window.start_minute, zone, is_last=False)
                end = _instant(end_day, window.end_minute, zone, is_last=True)
                if start < end:
                    yield Span(start=start, end=end)


def _instant(day: date, minute: int, zone: tzinfo, *, is_last: bool) -> float:
    """Returns the first or last instant at which local clocks show this; else when they skip it."""
    local = datetime.combine(day, time()) + timedelta(minutes=minute)
    early, late = (local.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if _shows(early, zone) == local:
        return late if is_last and _shows(late, zone) == local else early
    # Skipped: with fold 0 the instant lies after the jump, with fold 1 before it (PEP 495).
    before, after = int(min(early, late)), int(max(early, late))
    while after - before > 1:
        middle = (before + after) // 2
        if _shows(middle, zone) < local:
            before = middle
        else:
            after = middle
    return float(after)


def _shows(instant: float, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(instant, UTC).astimezone(zone).replace(tzinfo=None)


def find_open(spans: Sequence[Span], at: float) -> Span | None:
    """Returns the span that is open at an instant, `None` if none is."""
    return next((span for span in spans if span.start <= at < span.end), None)


def next_change(spans: Sequence[Span], at: float) -> float | None:
    """Returns when the answer of `find_open` next changes; `None`: not within these spans."""
    return min((edge for s in spans for edge in (s.start, s.end) if edge > at), default=None)


def next_opening(spans: Sequence[Span], at: float) -> float | None:
    """Returns when a span next begins after an instant; `None`: not within these spans."""
    return min((span.start for span in spans if span.start > at), default=None)
