"""Engine texts become runtime generations."""

import pytest

from warmset.core.footprint import estimate_footprint
from warmset.core.footprint.engine import Era, Tool, parse_engine
from warmset.errors import FactsError


@pytest.mark.parametrize(
    ("text", "tool", "era"),
    [
        ("ollama-0.9.6", Tool.OLLAMA, Era.DENSE),
        ("ollama-0.11.4", Tool.OLLAMA, Era.DENSE),
        ("ollama-0.11.5", Tool.OLLAMA, Era.WINDOWED),
        ("ollama-0.12.x", Tool.OLLAMA, Era.WINDOWED),
        ("ollama-0.33.0-rc2", Tool.OLLAMA, Era.LEAN),
        ("ollama-2025", Tool.OLLAMA, Era.DENSE),
        ("ollama-2026-07", Tool.OLLAMA, Era.LEAN),
        ("llama.cpp-b4400", Tool.LLAMA_CPP, Era.DENSE),
        ("llama.cpp-b8571", Tool.LLAMA_CPP, Era.WINDOWED),
        ("llama.cpp-b10448", Tool.LLAMA_CPP, Era.LEAN),
        ("llama.cpp-2025", Tool.LLAMA_CPP, Era.DENSE),
        ("llama.cpp-2025-09", Tool.LLAMA_CPP, Era.WINDOWED),
        ("llama.cpp-2026-08 (ROCm)", Tool.LLAMA_CPP, Era.LEAN),
        ("llama.cpp-f275595dd", Tool.LLAMA_CPP, Era.LEAN),
        ("ik_llama.cpp-2025", Tool.IK_LLAMA_CPP, Era.DENSE),
        ("Ollama-V0.30.1", Tool.OLLAMA, Era.LEAN),
    ],
)
def test_an_engine_text_names_its_generation(text, tool, era):
    """Versions, builds, years and months all lead to the era whose habits they have."""
    engine = parse_engine(text)
    assert (engine.tool, engine.era) == (tool, era)


def test_a_version_that_cannot_be_read_counts_as_the_newest():
    """A development build or an empty version is taken for the present."""
    assert parse_engine("ollama-main").era is Era.LEAN
    assert parse_engine("llama.cpp").era is Era.LEAN
    for commit in ("b1e2f3a", "2025abc", "62bf73d", "f275595dd"):
        assert parse_engine(f"llama.cpp-{commit}").era is Era.LEAN


def test_an_unknown_tool_is_refused_by_name():
    """An engine we have no rules for raises, naming `engine` and the tools there are."""
    with pytest.raises(FactsError) as refusal:
        parse_engine("vllm-0.6")
    assert refusal.value.context["key"] == "engine"
    assert "ollama" in refusal.value.hint


def test_the_go_engine_runs_only_what_its_release_had():
    """Ollama's own engine took architectures over one release after another, until 0.30."""
    assert parse_engine("ollama-0.6.2").is_go("gemma3")
    assert not parse_engine("ollama-0.9.6").is_go("gptoss")
    assert parse_engine("ollama-0.12").is_go("gptoss")
    assert not parse_engine("ollama-0.33").is_go("gemma3")
    assert not parse_engine("llama.cpp-b5000").is_go("gemma3")


@pytest.mark.parametrize(
    ("month", "version"),
    [("2024-11", (0, 5)), ("2025-07", (0, 9, 4)), ("2026-03", (0, 17, 4)), ("2026-06", (0, 30))],
)
def test_a_month_of_ollama_is_the_release_then_out(month, version):
    """Months lead to the release at their start, by the dates of the tags."""
    assert parse_engine(f"ollama-{month}").version == version


def test_latent_values_were_dropped_early_in_2026():
    """llama.cpp stored the compressed values twice until January 2026."""
    assert not parse_engine("llama.cpp-b7000").drops_latent_values
    assert parse_engine("llama.cpp-b8211").drops_latent_values


@pytest.mark.parametrize(
    ("text", "architecture", "flashes"),
    [
        ("llama.cpp-b6300", "llama", False),
        ("llama.cpp-b6400", "llama", True),
        ("llama.cpp-2025", "llama", False),
        ("ik_llama.cpp-2025", "llama", False),
        ("ollama-0.9.6", "gemma3", False),
        ("ollama-0.11.4", "gptoss", False),
        ("ollama-0.12.0", "gptoss", True),
        ("ollama-0.12.0", "qwen3", False),
        ("ollama-0.12.6", "qwen3", True),
        ("ollama-0.13.0", "llama", False),
        ("ollama-0.13.5", "llama", True),
        ("ollama-0.20.0", "llama4", False),
        ("ollama-0.33.0-rc2", "llama4", True),
        ("ollama", "gemma2", True),
    ],
)
def test_flash_attention_became_the_default_by_and_by(text, architecture, flashes):
    """For llama.cpp at a build, for Ollama's engine architecture by architecture."""
    facts = {
        "general.architecture": architecture,
        "block_count": 2,
        "embedding_length": 512,
        "attention.head_count": 8,
        "attention.sliding_window": 128,
    }
    assert estimate_footprint(facts, num_ctx=4096, engine=text).flash_attention is flashes
