"""Time windows against a slow oracle that reads the local clock minute by minute."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmset.core.windows import (
    Window,
    WindowError,
    find_open,
    find_spans,
    format_window,
    next_change,
    next_opening,
    parse_window,
)

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # clocks move by half an hour
    "America/Sao_Paulo",  # moved at midnight, so a day began at 01:00
    "Pacific/Apia",  # left out a whole day, 2011-12-30
    "Asia/Kathmandu",
    "UTC",
]
MINUTE = st.integers(0, 1439)
WINDOWS = st.builds(
    lambda days, start, length: Window(
        days=tuple(sorted(days)),
        start_minute=start,
        end_minute=(start + length) % 1440 or 1440,
    ),
    st.sets(st.integers(0, 6), min_size=1),
    MINUTE,
    st.integers(1, 1439),
)
CHANGES = [  # about when each zone's clocks are set
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
    datetime(2018, 11, 4, 3, tzinfo=UTC),
    datetime(2018, 2, 18, 2, tzinfo=UTC),
    datetime(2011, 12, 30, 10, tzinfo=UTC),
]
MOMENTS = st.builds(
    lambda near, minutes: near + timedelta(minutes=minutes),
    st.sampled_from(CHANGES),
    st.integers(-3 * 1440, 3 * 1440),
)


def shows_inside(window: Window, local: datetime) -> bool:
    """Whether a clock that shows this time is inside the window."""
    minute = local.hour * 60 + local.minute
    today, yesterday = local.weekday(), (local.weekday() - 1) % 7
    if window.start_minute < window.end_minute:
        return today in window.days and window.start_minute <= minute < window.end_minute
    return (today in window.days and minute >= window.start_minute) or (
        yesterday in window.days and minute < window.end_minute
    )


def is_repeated(local: datetime, zone: ZoneInfo) -> bool:
    """Whether clocks show times of this hour twice, or have just done so."""
    first = local.replace(tzinfo=zone, fold=0).utcoffset()
    return first != local.replace(tzinfo=zone, fold=1).utcoffset()


@given(st.lists(WINDOWS, min_size=1, max_size=3), MOMENTS, st.sampled_from(ZONES))
def test_a_window_is_open_when_the_local_clock_says_so(
    windows: list[Window], moment: datetime, name: str
) -> None:
    """Everywhere but in an hour that happens twice; there, what the clock says inside is open."""
    zone = ZoneInfo(name)
    at = moment.timestamp()
    spans = find_spans(windows, zone, at - 3600, at + 3600)
    local = datetime.fromtimestamp(at, zone)
    inside = any(shows_inside(window, local.replace(tzinfo=None)) for window in windows)
    is_open = find_open(spans, at) is not None
    if is_repeated(local.replace(tzinfo=None), zone):
        assert is_open or not inside
    elif name != "Pacific/Apia":  # whose Thursday night ends in a day that was left out
        assert is_open == inside


@given(st.lists(WINDOWS, min_size=1, max_size=3), MOMENTS, st.sampled_from(ZONES))
def test_spans_are_in_order_apart_and_not_empty(
    windows: list[Window], moment: datetime, name: str
) -> None:
    """And the longest stretch asked for has the answers of a shorter one inside it."""
    at = moment.timestamp()
    spans = find_spans(windows, ZoneInfo(name), at, at + 8 * 86400)
    assert all(span.start < span.end for span in spans)
    assert all(a.end < b.start for a, b in itertools.pairwise(spans))
    shorter = find_spans(windows, ZoneInfo(name), at, at + 3600)
    for probe in range(0, 3600, 300):
        assert (find_open(spans, at + probe) is None) == (find_open(shorter, at + probe) is None)


@given(st.lists(WINDOWS, min_size=1, max_size=2), MOMENTS, st.sampled_from(ZONES))
def test_nothing_changes_before_the_next_change(
    windows: list[Window], moment: datetime, name: str
) -> None:
    """And something does at it; an opening is a change to open."""
    at = moment.timestamp()
    spans = find_spans(windows, ZoneInfo(name), at, at + 8 * 86400)
    change = next_change(spans, at)
    if change is None:
        assert len(spans) <= 1
        return
    is_open = find_open(spans, at) is not None
    for part in range(10):
        probe = at + (change - at) * part / 10
        assert (find_open(spans, probe) is not None) == is_open
    assert (find_open(spans, change) is not None) != is_open
    assert is_open or next_opening(spans, at) == change


@given(WINDOWS, MOMENTS)
def test_where_clocks_are_never_set_a_window_has_its_length(
    window: Window, moment: datetime
) -> None:
    """In UTC each span lasts what it says, or runs on into the next one."""
    at = moment.timestamp()
    minutes = (window.end_minute - window.start_minute) % 1440 or 1440
    for span in find_spans([window], ZoneInfo("UTC"), at, at + 8 * 86400):
        assert span.end - span.start >= minutes * 60
        assert (span.end - span.start) % 86400 in (minutes * 60 % 86400, 0)


@pytest.mark.parametrize(
    ("text", "day", "opens", "closes"),
    [
        ("02:30-12:00", "2026-03-29", "01:00", "10:00"),  # 02:30 is skipped: at the jump
        ("01:00-02:30", "2026-03-29", "00:00", "01:00"),  # ends inside the gap
        ("02:30-12:00", "2026-10-25", "00:30", "11:00"),  # 02:30 comes twice: the first
        ("01:00-02:30", "2026-10-25", "23:00", "01:30"),  # and closes at the second
        ("22:00-06:00", "2026-03-28", "21:00", "04:00"),  # a night of seven hours
        ("22:00-06:00", "2026-10-24", "20:00", "05:00"),  # and one of nine
    ],
)
def test_the_nights_when_clocks_are_set_in_berlin(
    text: str, day: str, opens: str, closes: str
) -> None:
    """Known instants, in UTC, of windows around the change."""
    zone = ZoneInfo("Europe/Berlin")
    start = datetime.fromisoformat(day).replace(tzinfo=zone).timestamp()
    spans = find_spans([parse_window(text)], zone, start, start + 86400)
    at = [
        (
            f"{datetime.fromtimestamp(s.start, UTC):%H:%M}",
            f"{datetime.fromtimestamp(s.end, UTC):%H:%M}",
        )
        for s in spans
    ]
    assert (opens, closes) in at


def test_a_window_inside_the_skipped_hour_does_not_open_that_day() -> None:
    """It opens on the day before and the day after."""
    zone = ZoneInfo("Europe/Berlin")
    since = datetime(2026, 3, 28, tzinfo=zone).timestamp()
    until = datetime(2026, 3, 31, tzinfo=zone).timestamp()
    spans = find_spans([parse_window("02:15-02:45")], zone, since, until)
    days = [datetime.fromtimestamp(span.start, zone).day for span in spans]
    assert days == [28, 30]


@pytest.mark.parametrize(
    ("text", "days", "start", "end"),
    [
        ("Mon-Fri 08:00-18:00", (0, 1, 2, 3, 4), 480, 1080),
        ("Sat,Sun", (5, 6), 0, 1440),
        ("daily 22:00-06:00", tuple(range(7)), 1320, 360),
        ("08:00-12:00", tuple(range(7)), 480, 720),
        ("fri-MON 9:00 - 24:00", (0, 4, 5, 6), 540, 1440),
        ("Monday, Wed 00:00-00:00", (0, 2), 0, 1440),
        ("Sun 20:00-00:00", (6,), 1200, 1440),
    ],
)
def test_windows_read_as_people_write_them(
    text: str, days: tuple[int, ...], start: int, end: int
) -> None:
    """Days, lists and ranges of days, around the week and over midnight."""
    assert parse_window(text) == Window(days=days, start_minute=start, end_minute=end)


@given(WINDOWS)
def test_a_window_reads_as_it_is_written(window: Window) -> None:
    """What `config show` prints means the same window."""
    assert parse_window(format_window(window)) == window


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "days and hours"),
        ("Mon-Fri 8-18", "'Fri 8-18' is no day"),
        ("Mo-Fr 08:00-18:00", "'Mo' is no day"),
        ("Mon 08:00-18:00 Tue", "days and hours"),
        ("Mon 25:00-26:00", "25:00 is no time"),
        ("Mon 08:60-09:00", "08:60 is no time"),
        ("Mon 08:00-08:00", "starts when it ends"),
        ("Mon 24:00-06:00", "starts when it ends"),
        ("Mon,,Tue", "'' is no day"),
    ],
)
def test_what_is_no_window_is_refused_with_an_example(text: str, complaint: str) -> None:
    """The message names the part that is wrong."""
    with pytest.raises(WindowError, match=complaint):
        parse_window(text)
