"""Copies of values with some fields changed are those of the standard library."""

from __future__ import annotations

import dataclasses

import pytest

from warmset.core.control.state import Remembered, State
from warmset.core.model import Quality, Reading
from warmset.core.replacing import replace


@pytest.mark.parametrize(
    ("value", "changes"),
    [
        (State(at=1.0), {"at": 2.0, "reloads": (3.0,)}),
        (State(at=1.0), {}),
        (Remembered(name="a:latest", slot=3), {"name": "b:latest"}),
        (Reading(value=1, source="x"), {"value": 7, "age_seconds": 2.0}),
    ],
)
def test_it_returns_what_the_standard_library_returns(value: object, changes: dict) -> None:
    """Fields that are not named stay, also those with defaults; the value itself is not touched."""
    before = repr(value)
    copy = replace(value, **changes)  # type: ignore[type-var]
    assert copy == dataclasses.replace(value, **changes)  # type: ignore[type-var]
    assert type(copy) is type(value)
    assert repr(value) == before


def test_a_field_that_is_not_there_is_an_error() -> None:
    """A typo does not pass silently."""
    with pytest.raises(TypeError, match="State has no field 'att'"):
        replace(State(), att=1.0)  # type: ignore[call-arg]


def test_invariants_are_checked() -> None:
    """`__post_init__` sees the copy as it sees a new value."""
    with pytest.raises(AssertionError):
        replace(Reading(value=1, source="x"), quality=Quality.UNKNOWN)
