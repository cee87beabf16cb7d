"""Which runtime loads the model, and which of its memory habits apply.

A version text is read leniently into an era of llama.cpp, since every runtime of GGUF files is
llama.cpp, a fork of it, or (between Ollama 0.6 and 0.30, for some architectures) Ollama's Go
engine on the same tensor library.

Source: llama.cpp pull requests 13194 (window caches, 2025-05), 14363 (streams, 2025-07), 15434
(automatic flash attention, 2025-08), 19067 (caches without values, 2026-01), 23764 (f16 masks,
2026-05), 23861 (limited outputs, 2026-06); Ollama `LLAMA_CPP_VERSION` and `Makefile.sync` at the
release tags.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Final

from warmset.errors import FactsError


class Tool(StrEnum):
    """Who starts the runtime, and so who chooses its settings."""

    OLLAMA = "ollama"
    LLAMA_CPP = "llama.cpp"
    IK_LLAMA_CPP = "ik_llama.cpp"


class Era(IntEnum):
    """Memory habits of llama.cpp in the order in which they came."""

    DENSE = 0  # every layer caches the whole context, encoders too
    WINDOWED = 1  # sliding layers cache their window, encoders nothing
    LEAN = 2  # one f16 mask, logits only for the rows that are read


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A runtime generation."""

    text: str
    tool: Tool
    era: Era
    version: tuple[int, ...] | None = None  # of Ollama, where given
    drops_latent_values: bool = True  # latent attention keeps its row once, not again as values
    has_auto_flash: bool = True  # flash attention wherever it can run

    @property
    def is_fork(self) -> bool:
        """Whether it is ik_llama.cpp: full-length caches, its own latent-attention modes."""
        return self.tool is Tool.IK_LLAMA_CPP

    @property
    def context_is_per_slot(self) -> bool:
        """Ollama multiplies the context by the slots; the others share `-c` among them.

        Source: Ollama v0.33 `llm/llama_server.go`: `-c NumCtx*numParallel`.
        """
        return self.tool is Tool.OLLAMA

    def is_go(self, architecture: str) -> bool:
        """Whether Ollama's own Go engine runs this architecture in this version."""
        if self.tool is not Tool.OLLAMA or self.version is None:
            return False
        first = _GO_SINCE.get(architecture)
        return first is not None and first <= self.version < _LLAMA_SERVER

    def flashes(self, architecture: str) -> bool:
        """Whether flash attention runs where nobody said."""
        first = _FLASH_SINCE.get(architecture)
        if self.tool is Tool.OLLAMA and self.version is not None and first is not None:
            return first <= self.version
        return self.has_auto_flash and not self.is_go(architecture)


_LLAMA_SERVER: Final = (0, 30)
_GO_SINCE: Final = {
    "gemma3": (0, 6),
    "mistral3": (0, 6, 5),
    "llama4": (0, 6, 7),
    **dict.fromkeys(("mllama", "qwen25vl"), (0, 7)),
    "gemma3n": (0, 9, 3),
    "gptoss": (0, 11),
    "gpt-oss": (0, 11, 5),
    "qwen3": (0, 12),
    "qwen3moe": (0, 12, 2),
    **dict.fromkeys(("qwen3vl", "qwen3vlmoe"), (0, 12, 7)),
    **dict.fromkeys(("deepseekocr", "deepseek2"), (0, 13)),
    "nomic-bert": (0, 13, 1),
    "olmo3": (0, 13, 4),
    "bert": (0, 13, 5),
    **dict.fromkeys(("glm4moelite", "lfm2"), (0, 14, 3)),
    **dict.fromkeys(("qwen3next", "glmocr"), (0, 15, 5)),
    **dict.fromkeys(("nemotron_h", "nemotron_h_moe", "lfm2moe"), (0, 17, 1)),
    **dict.fromkeys(("qwen35", "qwen35moe"), (0, 17, 1)),
    "gemma4": (0, 20),
    **dict.fromkeys(("laguna", "nemotron_h_omni"), (0, 22)),
}
"""Source: Ollama `fs/ggml/ggml.go: OllamaEngineRequired` at every release tag of 0.6 to 0.24."""

_FLASH_SINCE: Final = {
    **dict.fromkeys(("gptoss", "gpt-oss"), (0, 11, 8)),
    **dict.fromkeys(("qwen3", "qwen3moe"), (0, 12, 4)),
    "gemma3": (0, 12, 6),
    **dict.fromkeys(("qwen3vl", "qwen3vlmoe"), (0, 12, 8)),
    "mistral3": (0, 13, 2),
    "olmo3": (0, 13, 4),
    "bert": (0, 13, 5),
    **dict.fromkeys(("glm4moelite", "lfm2"), (0, 14, 3)),
    **dict.fromkeys(("qwen3next", "glmocr"), (0, 15, 5)),
    **dict.fromkeys(("nemotron_h", "nemotron_h_moe", "lfm2moe"), (0, 17, 1)),
    **dict.fromkeys(("qwen35", "qwen35moe"), (0, 17, 1)),
    "gemma4": (0, 20, 4),
    "nemotron_h_omni": (0, 22),
}
"""Architectures with flash attention unless somebody says no. Source: Ollama
`fs/ggml/ggml.go: FlashAttention` at the same tags."""

_RELEASES: Final = (
    ((2026, 9), (0, 32, 15)),
    ((2026, 8), (0, 32, 5)),
    ((2026, 7), (0, 31, 1)),
    ((2026, 6), (0, 30)),
    ((2026, 5), (0, 22, 1)),
    ((2026, 4), (0, 19)),
    ((2026, 3), (0, 17, 4)),
    ((2026, 2), (0, 15, 3)),
    ((2026, 1), (0, 13, 5)),
    ((2025, 12), (0, 13)),
    ((2025, 11), (0, 12, 9)),
    ((2025, 10), (0, 12, 3)),
    ((2025, 9), (0, 11, 8)),
    ((2025, 8), (0, 10, 1)),
    ((2025, 7), (0, 9, 4)),
    ((2025, 6), (0, 9)),
    ((2025, 5), (0, 6, 7)),
    ((2025, 4), (0, 6, 3)),
)
"""Newest release at the start of a month. Source: dates of Ollama's release tags; 0.30.0 is of
2026-06-01."""

_TOOLS: Final = {
    "ollama": Tool.OLLAMA,
    "llama.cpp": Tool.LLAMA_CPP,
    "llamacpp": Tool.LLAMA_CPP,
    "llama-server": Tool.LLAMA_CPP,
    "ik_llama.cpp": Tool.IK_LLAMA_CPP,
    "ik_llama": Tool.IK_LLAMA_CPP,
}
_WINDOWED_SINCE: Final = {"build": (5427, 0), "month": (2025, 6), "ollama": (0, 11, 5)}
_ONE_ROW_SINCE: Final = {"build": (7830, 0), "month": (2026, 2), "ollama": (0, 30)}
_AUTO_FLASH_SINCE: Final = {"build": (6325, 0), "month": (2025, 9), "ollama": (0, 13, 4)}
_LEAN_SINCE: Final = {"build": (9440, 0), "month": (2026, 6), "ollama": (0, 30)}


@lru_cache(maxsize=256)
def parse_engine(text: str) -> Engine:
    """Returns the runtime generation that `text` names.

    Args:
        text: the tool, a dash, and a version, build, year or month: `ollama-0.33.0-rc2`,
            `llama.cpp-b10448`, `llama.cpp-2026-08`, `ik_llama.cpp-2025`.

    Returns:
        The generation. A version that cannot be read counts as the newest. A year without a
        month counts as its January: older eras need more memory, so this errs upwards.

    Raises:
        FactsError: the tool is not one of ours.
    """
    name, _, version = text.strip().lower().partition("-")
    tool = _TOOLS.get(name)
    if tool is None:
        known = ", ".join(sorted({t.value for t in Tool}))
        raise FactsError(
            f"engine {text[:80]!r} names no known tool",
            hint=f"write TOOL-VERSION with one of: {known}",
            context={"key": "engine"},
        )
    if tool is Tool.IK_LLAMA_CPP:
        return Engine(text=text, tool=tool, era=Era.DENSE, has_auto_flash=False)
    kind, point = _read_version(version, tool)
    if tool is Tool.OLLAMA and kind == "month":
        kind, point = "ollama", _release_of(point)
    return Engine(
        text=text,
        tool=tool,
        era=_era_of(kind, point),
        version=point if kind == "ollama" else None,
        drops_latent_values=_is_since(_ONE_ROW_SINCE, kind, point),
        has_auto_flash=_is_since(_AUTO_FLASH_SINCE, kind, point),
    )


def _read_version(version: str, tool: Tool) -> tuple[str, tuple[int, ...]]:
    """Returns what kind of version it is, and the value to compare."""
    if match := re.match(r"(20\d\d)(?:-(\d{1,2}))?(?![0-9a-z])", version):
        return "month", (int(match[1]), int(match[2] or 1))
    if tool is Tool.OLLAMA and (
        match := re.match(r"v?(\d{1,4})\.(\d{1,4})(?:\.(\d{1,4}))?", version)
    ):
        return "ollama", tuple(int(part or 0) for part in match.groups())
    if match := re.match(r"b(\d{1,6})(?![0-9a-z])", version):
        return "build", (int(match[1]), 0)
    return "newest", (0, 0)


def _era_of(kind: str, point: tuple[int, ...]) -> Era:
    if _is_since(_LEAN_SINCE, kind, point):
        return Era.LEAN
    return Era.WINDOWED if _is_since(_WINDOWED_SINCE, kind, point) else Era.DENSE


def _is_since(starts: Mapping[str, tuple[int, ...]], kind: str, point: tuple[int, ...]) -> bool:
    return kind == "newest" or point >= starts[kind]


def _release_of(month: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the Ollama release that was out at the start of a month."""
    return next((release for start, release in _RELEASES if month >= start), (0, 5))
