"""The victim order, and which texts mean lack of memory."""

from __future__ import annotations

import pytest

from warmset.core.model import FOREVER
from warmset.core.ollama.keepalive import OVERFLOWED
from warmset.core.ollama.victim import Candidate, choose_victim, eviction_order, is_out_of_memory


def held(path: str, duration: float, *, busy: bool = False) -> Candidate:
    return Candidate(path=path, duration=duration, is_busy=busy)


def test_the_smallest_duration_goes_first_and_paths_break_ties() -> None:
    """Neither size nor recency nor GPU is known to the order."""
    order = eviction_order(
        [
            held("a", OVERFLOWED),
            held("c", 300.0),
            held("a", FOREVER),
            held("b", 300.0),
            held("d", 0.0),
        ]
    )
    assert [(c.path, c.duration) for c in order] == [
        ("d", 0.0),
        ("b", 300.0),
        ("c", 300.0),
        ("a", FOREVER),
        ("a", OVERFLOWED),
    ]


def test_idle_goes_before_busy_whatever_the_duration() -> None:
    """An idle model "for ever" is evicted before a busy one with a second."""
    assert choose_victim([held("a", 1.0, busy=True), held("b", FOREVER)]) == held("b", FOREVER)


def test_where_all_are_busy_the_first_of_the_order_is_waited_for() -> None:
    """There is always a victim while anything is resident."""
    both = [held("b", 9.0, busy=True), held("a", 9.0, busy=True)]
    assert choose_victim(both) == both[1]
    assert choose_victim([]) is None


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: Out Of Memory",
        "ErrorOutOfDeviceMemory: out of device memory",
        "llama-server process has terminated: cudaMalloc failed: out of memory",
        "hipMalloc failed",
        "ggml: failed to allocate buffer",
        "allocation failed",
        "not enough memory",
        "insufficient memory",
        "VK_ERROR_OUT_OF_DEVICE_MEMORY",
        "vk::Device::allocateMemory: ErrorOutOfMemory",
    ],
)
def test_texts_of_lacking_memory_are_known_in_any_case(text: str) -> None:
    """Every driver's wording that Ollama itself takes for lack of memory."""
    assert is_out_of_memory(text)


@pytest.mark.parametrize("text", ["", "unexpected EOF", "memory", "request canceled"])
def test_other_errors_are_none(text: str) -> None:
    """An error that does not speak of lacking memory evicts nothing."""
    assert not is_out_of_memory(text)
