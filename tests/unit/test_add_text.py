"""The story of the first hour, as `add --dry-run` prints it."""

from __future__ import annotations

from warmset.cli.add_text import MOST_LINES, hour_lines
from warmset.shell.rehearsal import Happening


def happening(at: float, what: str, by: str = "a request", waited: float = 0.0) -> Happening:
    """Returns something that happens to one model."""
    return Happening(at_seconds=at, what=what, name="a:1b", by=by, waited_seconds=waited)


def test_a_quiet_hour_is_told_in_one_line() -> None:
    """Nobody waited and nothing was loaded."""
    assert list(hour_lines((happening(9, "answered"),))) == [
        "in all: 0 loads; 0 requests waited 0.0 s, 1 found its model warm"
    ]


def test_a_busy_hour_is_cut_and_summed_up() -> None:
    """Models that take turns say the same again and again; the sum counts all of it."""
    turns = tuple(
        one
        for n in range(12)
        for one in (
            happening(n * 100, "loads", by="warmset" if n < 3 else "a request"),
            happening(n * 100 + 5, "loaded"),
            happening(n * 100 + 5, "answered", waited=5.0),
        )
    )
    told = list(hour_lines(turns))
    assert told[0] == " 0:00 warmset loads a:1b"
    assert told[-2:] == [
        "... and 16 more like these: see -o json or --html",
        (
            "in all: 12 loads (9 by a request, 3 by warmset); 12 requests waited 60.0 s,"
            " 0 found their models warm"
        ),
    ]
    assert len(told) == 22


def test_a_last_line_is_shown_rather_than_counted() -> None:
    """To say "... and 1 more" would take the room of the line itself."""
    told = list(hour_lines(tuple(happening(n * 9, "loaded") for n in range(MOST_LINES + 1))))
    assert not any("more like these" in line for line in told)
    assert len(told) == MOST_LINES + 2
