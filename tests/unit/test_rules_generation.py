"""Versions: reading their texts leniently, and what changed when."""

from __future__ import annotations

import pytest

from warmset.core.ollama.admission import max_loaded
from warmset.core.ollama.context import default_context
from warmset.core.ollama.generation import NEWEST, generation_of, parse_version
from warmset.core.ollama.keepalive import duration_on_reuse
from warmset.core.units import GIB


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
        ("keeps_duration_on_reuse", "0.1.48", "0.2.0"),
        ("loads_several", "0.1.48", "0.2.0"),
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
    ("text", "context"), [("0.6.6", 2048), ("0.6.7", 4096), ("0.15.4", 4096), ("0.15.5", 262144)]
)
def test_the_default_context_changed(text: str, context: int) -> None:
    """2048, then 4096, then by the memory of the host."""
    assert default_context([80 * GIB], 0, generation_of(text)) == context


def test_the_automatic_limit_was_one_model() -> None:
    """Before 0.2.0 a second model needed OLLAMA_MAX_LOADED_MODELS."""
    assert max_loaded(0, 2, generation_of("0.1.48")) == 1
    assert max_loaded(4, 2, generation_of("0.1.48")) == 4
    assert max_loaded(0, 2, generation_of("0.2.0")) == 6


def test_requests_once_reset_the_duration() -> None:
    """Before 0.2.0 a request without keep_alive gave the server's default back."""
    assert duration_on_reuse(None, 3600.0, 300.0, generation_of("0.1.48")) == 300.0
    assert duration_on_reuse(None, 3600.0, 300.0, generation_of("0.2.0")) == 3600.0
    assert duration_on_reuse(60.0, 3600.0, 300.0, generation_of("0.1.48")) == 60.0
