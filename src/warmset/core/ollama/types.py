"""The values that Ollama's rules work on: a GPU as Ollama sees it, a weights file, load options."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from warmset.core.model import Entry, Facts, FactValue

U64: Final = (1 << 64) - 1
"""Ollama counts bytes in 64-bit unsigned integers, which wrap around."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU as Ollama's discovery knows it (`ml.DeviceInfo`).

    Units:
        Bytes. `free_bytes` is Ollama's *belief*, which may be far from the driver's truth.
    """

    library: str  # CUDA, ROCm, Vulkan, Metal
    id: str  # index as text; several backends may use the same
    total_bytes: int
    free_bytes: int
    integrated: bool = False
    name: str = ""
    compute_major: int = 8
    compute_minor: int = 9
    driver_major: int = 12

    def with_free(self, free_bytes: int) -> Gpu:
        """Returns the GPU with another belief of what is free.

        `dataclasses.replace` takes ten times as long, and planners ask by the ten thousand.
        """
        return Gpu(
            library=self.library,
            id=self.id,
            total_bytes=self.total_bytes,
            free_bytes=free_bytes,
            integrated=self.integrated,
            name=self.name,
            compute_major=self.compute_major,
            compute_minor=self.compute_minor,
            driver_major=self.driver_major,
        )

    @property
    def device(self) -> str:
        """`LIBRARY:ID`, the identity that Ollama compares."""
        return f"{self.library}:{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """What Ollama's scheduler reads of a GGUF file, with its defaults for absent keys.

    Source:
        Ollama v0.33 `fs/ggml/ggml.go`: `BlockCount`, `HeadCountMax`, `HeadCountKVMin`,
        `EmbeddingLength`, `ContextLength`; absent head counts are 1, other keys 0.
    """

    file_bytes: int
    block_count: int = 0
    head_count_max: int = 1
    head_count_kv_min: int = 1
    embedding_length: int = 0
    trained_context: int = 0
    family: str = ""

    @classmethod
    def from_facts(cls, file_bytes: int, facts: Facts) -> WeightsFile:
        """Reads GGUF keys, with or without the architecture prefix.

        An array that was not sent (`None`) counts as absent, which is Ollama's own view only
        if the key really is absent: fetch the verbose form where head counts are arrays.
        """
        family = str(facts.get("general.architecture") or "")

        def fact(key: str) -> FactValue:
            return facts.get(f"{family}.{key}", facts.get(key))

        heads = _integers(fact("attention.head_count"))
        kv_heads = _integers(fact("attention.head_count_kv"))
        return cls(
            file_bytes=file_bytes,
            block_count=max(_integers(fact("block_count"), 0)),
            head_count_max=max(heads),
            head_count_kv_min=min(kv_heads),
            embedding_length=max(_integers(fact("embedding_length"), 0)),
            trained_context=max(_integers(fact("context_length"), 0)),
            family=family,
        )

    @classmethod
    def of_entry(cls, entry: Entry) -> WeightsFile | None:
        """Returns the file behind an installed entry, `None` where its size is unknown."""
        size = entry.file_bytes if entry.file_bytes is not None else entry.size_bytes
        if size is None:
            return None
        return cls.from_facts(size, entry.facts)


def _integers(value: FactValue, default: int = 1) -> tuple[int, ...]:
    """Reads an unsigned 32-bit value or array of them; anything else counts as absent."""
    if isinstance(value, tuple):
        numbers = tuple(
            int(v) & 0xFFFFFFFF
            for v in value
            if isinstance(v, int) or (isinstance(v, float) and math.isfinite(v))
        )
        return numbers or (default,)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1 << 63:
        return (default,)
    return (int(value),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """The options that decide how a runner is started (`api.Runner`), after merging.

    `num_gpu`: -1 automatic, 0 CPU only, else layers. `main_gpu`, `use_mmap`: `None` = not given.
    """

    num_ctx: int
    num_batch: int = 512
    num_gpu: int = -1
    main_gpu: int | None = None
    use_mmap: bool | None = None
    num_thread: int = 0
    draft_num_predict: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadShape:
    """How a model is loaded, or would be: what the reload rule compares."""

    options: RunnerOptions
    num_ctx_auto: bool = False
    num_batch_auto: bool = False
    use_mmap_auto: bool = False
    context_shift: bool = True
    adapters: tuple[str, ...] = ()
    projectors: tuple[str, ...] = ()
    trained_context: int = 0
    is_mlx: bool = False


OptionValues = Mapping[str, object]
"""`options` of a request, or the parameters of a Modelfile, as decoded from JSON."""
