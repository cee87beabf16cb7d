"""Names, entries and readings: the values that every room shares."""

from __future__ import annotations

import pytest

from warmset.core.model import (
    Entry,
    ModelKey,
    Quality,
    Reading,
    find_entry,
    normalise_name,
    unknown,
)


def entry(*names: str, capabilities: tuple[str, ...] = ()) -> Entry:
    return Entry(
        key=ModelKey(f"sha256:{names[0]}"),
        names=names,
        manifest_digests={},
        file_bytes=1,
        capabilities=frozenset(capabilities),
    )


@pytest.mark.parametrize(
    ("name", "compared"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("Llama3.2:3B", "llama3.2:3b"),
        (" qwen3:8b ", "qwen3:8b"),
        ("hf.co/user/Model-GGUF", "hf.co/user/model-gguf:latest"),
        ("registry.local:5000/team/model", "registry.local:5000/team/model:latest"),
        ("registry.local:5000/team/model:q4", "registry.local:5000/team/model:q4"),
    ],
)
def test_names_are_compared_in_lower_case_with_a_tag(name: str, compared: str) -> None:
    """The port of a registry is no tag."""
    assert normalise_name(name) == compared
    assert normalise_name(compared) == compared


def test_an_entry_is_found_by_each_of_its_names_in_any_case() -> None:
    """One entry, several names; a name that nobody has finds nothing."""
    entries = (entry("a:latest", "b:7b"), entry("c:latest"))
    assert find_entry(entries, "A") is entries[0]
    assert find_entry(entries, "B:7B") is entries[0]
    assert find_entry(entries, "c") is entries[1]
    assert find_entry(entries, "b") is None
    assert find_entry((), "a") is None


def test_people_see_the_shortest_name_then_the_first() -> None:
    """Of equally short names the first in order stands for the entry."""
    assert entry("long-name:latest", "x:1b", "a:1b").name == "a:1b"


@pytest.mark.parametrize(
    ("capabilities", "embeds_only"),
    [
        (("embedding",), True),
        (("embedding", "completion"), False),
        (("completion",), False),
        ((), False),
    ],
    ids=str,
)
def test_an_embedder_is_what_embeds_and_does_nothing_else(
    capabilities: tuple[str, ...], embeds_only: bool
) -> None:
    """A model that also completes is no embedder, nor is one that says nothing of itself."""
    assert entry("m", capabilities=capabilities).is_embedding is embeds_only


def test_a_reading_is_known_or_says_why_not() -> None:
    """No value without quality, no unknown with a value."""
    nothing: Reading[int] = unknown("nvml", "driver gone")
    assert (nothing.value, nothing.quality, nothing.reason) == (
        None,
        Quality.UNKNOWN,
        "driver gone",
    )
    with pytest.raises(AssertionError):
        Reading(value=None, source="nvml")
    with pytest.raises(AssertionError):
        Reading(value=1, source="nvml", quality=Quality.UNKNOWN)
