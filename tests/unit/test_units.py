"""Bytes and seconds as people read them."""

from __future__ import annotations

import math

import pytest

from warmset.core.units import GIB, KIB, MIB, format_bytes, format_seconds


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, "unknown"),
        (0, "0 B"),
        (1023, "1023 B"),
        (KIB, "1 KiB"),
        (352 * MIB, "352 MiB"),
        (GIB, "1.0 GiB"),
        (int(19.4 * GIB), "19.4 GiB"),
        (1024 * GIB, "1024.0 GiB"),
        (-1, "-1 B"),
        (-2 * GIB, "-2.0 GiB"),
    ],
    ids=str,
)
def test_bytes_are_binary_and_say_so(count: int | None, text: str) -> None:
    """GiB with a tenth, smaller units whole, unknown by name."""
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("count", "text"), [(GIB - 1, "1.0 GiB"), (MIB - 1, "1 MiB"), (1023 * MIB, "1023 MiB")]
)
def test_rounding_up_moves_to_the_next_unit(count: int, text: str) -> None:
    """Nobody reads `1024 MiB`."""
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (math.inf, "forever"),
        (-math.inf, "now"),
        (0.0, "0.0 s"),
        (0.84, "0.8 s"),
        (9.96, "10 s"),
        (42.4, "42 s"),
        (119.0, "119 s"),
        (119.7, "2m"),
        (300.0, "5m"),
        (3600.0, "1h"),
        (5400.0, "1h30m"),
        (86400.0 + 60, "1d1m"),
        (36_000_000.0, "416d16h"),
        (90_061.0, "1d1h"),
        (-42.0, "-42 s"),
        (-5400.0, "-1h30m"),
        (-0.01, "0.0 s"),
    ],
    ids=str,
)
def test_durations_have_two_parts_at_most(seconds: float | None, text: str) -> None:
    """Tenths below ten seconds, seconds below two minutes, then the two largest units."""
    assert format_seconds(seconds) == text
