"""Versions: reading their texts leniently, and what changed when."""

from __future__ import annotations

import pytest

from warmset.core.ollama.generation import NEWEST, generation_of, parse_version


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.33.0", (0, 33, 0)),
        ("v0.33.0-rc2", (0, 33, 0)),
        (" 0.12.4+vendor.7 ", (0, 12, 4)),
        ("1.2", (1, 2, 0)),
        ("0.0.0", None),
        ("0.0.0-dev", None),
        ("", None),
        (None, None),
        ("main", None),
        ("9999999.1.1", None),
    ],
)
def test_versions_are_read_leniently(
    text: str | None, version: tuple[int, int, int] | None
) -> None:
    """Release candidates and vendor suffixes are ignored; development builds are unknown."""
    assert parse_version(text) == version


def test_unknown_versions_behave_as_the_newest() -> None:
    """A server that does not say its version is taken for a new one."""
    assert generation_of(None) is NEWEST
    assert generation_of("0.0.0") is NEWEST
    assert generation_of("99.0.0").has_automatic_flags


@pytest.mark.parametrize(
    ("fact", "before", "since"),
    [
        ("has_ps", "0.1.37", "0.1.38"),
        ("keeps_duration_on_reuse", "0.1.48", "0.2.0"),
        ("has_generate_unload", "0.3.10", "0.3.11"),
        ("has_capabilities_in_show", "0.6.3", "0.6.4"),
        ("breaks_ties_by_name", "0.6.5", "0.6.6"),
        ("reports_context", "0.9.9", "0.10.0"),
        ("has_context_tiers", "0.15.4", "0.15.5"),
        ("has_automatic_flags", "0.24.0", "0.30.0"),
        ("runs_llama_server", "0.24.0", "0.30.0-rc1"),
    ],
)
def test_each_change_has_its_version(fact: str, before: str, since: str) -> None:
    """A behaviour is absent up to the version before its change, and there from it on."""
    assert not getattr(generation_of(before), fact)
    assert getattr(generation_of(since), fact)


@pytest.mark.parametrize(
    ("text", "context", "parallel"),
    [("0.6.6", 2048, 4), ("0.6.7", 4096, 2), ("0.10.0", 4096, 1), ("0.15.5", None, 1)],
)
def test_defaults_of_context_and_slots_changed(
    text: str, context: int | None, parallel: int
) -> None:
    """2048 and 4, then 4096 and 2, then one slot, then context by the host's memory."""
    generation = generation_of(text)
    assert (generation.default_context, generation.default_parallel) == (context, parallel)
