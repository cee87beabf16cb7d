"""Keep-alive: every sentence of Ollama's grammar, and which duration applies."""

from __future__ import annotations

import math

import pytest

from warmset.core.model import FOREVER
from warmset.core.ollama.keepalive import (
    DEFAULT_KEEP_ALIVE,
    OVERFLOWED,
    SAFE_MAX_SECONDS,
    DurationError,
    duration_on_load,
    duration_on_reuse,
    eviction_rank,
    parse_env_duration,
    parse_env_keep_alive,
    parse_go_duration,
    parse_keep_alive,
    to_wire,
)

GO_LONGEST = "2562047h47m16.854775807s"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("+0", 0.0),
        ("0s", 0.0),
        ("-0s", 0.0),
        ("10m", 600.0),
        ("+5m", 300.0),
        ("1h30m", 5400.0),
        ("30m1h", 5400.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("5.s", 5.0),
        ("300ms", 0.3),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("1μs", 1e-6),
        ("1ns", 1e-9),
        ("0.9ns", 0.0),
        ("-1.5h", -5400.0),
        ("2500000h", 9e9),
        ("000000000000000000000000000001s", 1.0),
        ("0." + "3" * 6000 + "s", 0.333333333),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_go_durations_are_read(text: str, seconds: float) -> None:
    """A text in Go's form means its seconds, cut to whole nanoseconds."""
    assert parse_go_duration(text) == pytest.approx(seconds, abs=1e-15)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "invalid duration"),
        ("-", "invalid duration"),
        (".", "invalid duration"),
        (".s", "invalid duration"),
        (" 5m", "invalid duration"),
        ("٣s", "invalid duration"),
        ("--5m", "invalid duration"),
        ("-1", "missing unit"),
        ("5", "missing unit"),
        ("3600", "missing unit"),
        ("1h30", "missing unit"),
        ("1d", 'unknown unit "d"'),
        ("1w", 'unknown unit "w"'),
        ("5m ", 'unknown unit "m "'),
        ("5M", 'unknown unit "M"'),
        ("1e3s", 'unknown unit "e"'),
        ("2562048h", "invalid duration"),
        ("2562047h47m16.854775808s", "invalid duration"),
        ("9" * 6000 + "s", "invalid duration"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_other_texts_are_refused_in_gos_words(text: str, complaint: str) -> None:
    """A text that Go's parser refuses is refused, with Go's reason and the text itself."""
    with pytest.raises(DurationError) as problem:
        parse_go_duration(text)
    assert complaint in str(problem.value)
    assert f'"{text}"' in str(problem.value)


def test_the_longest_duration_has_one_nanosecond_more_below_zero() -> None:
    """Go's signed nanoseconds: the smallest value has no positive counterpart."""
    assert parse_go_duration(GO_LONGEST) == pytest.approx(9223372036.854775807)
    assert parse_go_duration("-2562047h47m16.854775808s") < 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        (0, 0.0),
        (-0.0, 0.0),
        (1e-10, 0.0),
        (0.5, 0.5),
        (300, 300.0),
        (-1, FOREVER),
        (-0.001, FOREVER),
        ("10m", 600.0),
        ("0", 0.0),
        ("-0s", 0.0),
        ("-1m", FOREVER),
        ("-1ns", FOREVER),
        (9_000_000_000, 9e9),
        (9_223_372_036, 9223372036.0),
        (9_223_372_037, OVERFLOWED),
        (1e300, OVERFLOWED),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_value_of_a_request_means_what_ollama_takes_it_for(
    value: object, seconds: float | None
) -> None:
    """Numbers are seconds, texts are Go durations, negative is for ever, too large overflows."""
    assert parse_keep_alive(value) == seconds


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (True, "Unsupported type: 'bool'"),
        (False, "Unsupported type: 'bool'"),
        ([], "Unsupported type: '[]interface {}'"),
        ({}, "Unsupported type: 'map[string]interface {}'"),
        ("-1", 'missing unit in duration "-1"'),
        ("1d", 'unknown unit "d" in duration "1d"'),
        ("", 'invalid duration ""'),
        (math.inf, "float64"),
        (-math.inf, "float64"),
        (math.nan, "float64"),
        (10**400, "float64"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_value_that_ollama_answers_with_400_is_refused(value: object, complaint: str) -> None:
    """Other JSON types, texts without a unit and numbers beyond a float are errors."""
    with pytest.raises(DurationError) as problem:
        parse_keep_alive(value)
    assert complaint in str(problem.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 300.0),
        ("10m", 600.0),
        ("3600", 3600.0),
        ("+60", 60.0),
        ("0", 0.0),
        ("-1", FOREVER),
        ("-5m", FOREVER),
        ("1d", 300.0),
        ("1.5", 300.0),
        ("٣", 300.0),
        ("9" * 5000, 300.0),
        ("9223372036854775808", 300.0),  # beyond 64 bits
        ("10000000000", FOREVER),  # nanoseconds wrap to below zero
        ("20000000000", 1_553_255_926.290448384),  # and above it again
    ],
    ids=lambda value: repr(value)[:40],
)
def test_the_environment_default_is_read_leniently(text: str, seconds: float) -> None:
    """A duration, else whole seconds (wrapping as in Go), else five minutes; never an error."""
    assert parse_env_keep_alive(text) == pytest.approx(seconds)


def test_an_unreadable_variable_means_its_own_default() -> None:
    """What cannot be read leaves the default that the caller names."""
    assert parse_env_duration("soon", 7.0) == 7.0
    assert DEFAULT_KEEP_ALIVE == 300.0


def test_a_load_takes_the_value_of_the_request_else_the_default() -> None:
    """The server's default applies at a load only, and only without a value; 0 is a value."""
    assert duration_on_load(None, 300.0) == 300.0
    assert duration_on_load(0.0, 300.0) == 0.0
    assert duration_on_load(FOREVER, 300.0) == FOREVER


def test_a_reuse_replaces_the_duration_only_if_it_brings_one() -> None:
    """A value replaces the runner's duration, longer or shorter; without one it stays."""
    assert duration_on_reuse(None, 900.0) == 900.0
    assert duration_on_reuse(60.0, 900.0) == 60.0
    assert duration_on_reuse(0.0, 900.0) == 0.0


def test_the_victim_order_compares_unsigned() -> None:
    """Longer goes later, for ever later still, and an overflowed duration last of all."""
    durations = [OVERFLOWED, FOREVER, 0.0, 1e9, 300.0]
    assert sorted(durations, key=eviction_rank) == [0.0, 300.0, 1e9, FOREVER, OVERFLOWED]


@pytest.mark.parametrize(
    ("seconds", "sent"),
    [(FOREVER, -1), (-1.0, -1), (SAFE_MAX_SECONDS, 9_000_000_000), (SAFE_MAX_SECONDS * 2, -1)],
)
def test_nothing_that_overflows_is_sent(seconds: float, sent: float) -> None:
    """For ever and all beyond the safe range go out as -1."""
    assert to_wire(seconds) == sent


def test_whole_seconds_are_sent_as_whole_numbers() -> None:
    """300.0 goes out as 300, half a second as it is."""
    assert (repr(to_wire(300.0)), to_wire(0.5)) == ("300", 0.5)
