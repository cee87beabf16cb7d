"""How many bytes and seconds a load really takes on a pretended host."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final, Protocol

from warmset.core.footprint import estimate_footprint
from warmset.core.model import Facts
from warmset.core.ollama.context import effective_context
from warmset.core.twin.runner import LoadOrder, LoadResult

OUT_OF_MEMORY: Final = "llama-server process has terminated: cudaMalloc failed: out of memory"


class Physics(Protocol):
    """The truth behind a load; the scheduler only ever learns its result."""

    def load(self, order: LoadOrder) -> LoadResult:
        """Returns how starting this runner ends, given the driver's free memory."""
        ...


class FootprintPhysics:
    """Loads as `core.footprint` predicts them, with a seeded deviation per model.

    The deviation stands for what no estimate knows (allocator slack, library versions), so that
    a plan on a twin meets a host that differs from the plan's own formula.

    Args:
        facts: GGUF keys by model key.
        seed: of the deviations.
        kv_type: cache type of the server.
        bytes_per_second: from the disk to the GPU, cold.
        start_seconds: of a runner process before the first byte is read.
        deviation_ratio: the largest deviation, both ways.

    Source:
        Start-up and bandwidths lie in the ranges from which the public traces' load times were
        drawn: 0.5 to 2 s plus bytes over 0.5 to 6 GB/s.
    """

    def __init__(
        self,
        facts: Mapping[str, Facts],
        *,
        seed: int = 0,
        kv_type: str = "f16",
        bytes_per_second: float = 2.5e9,
        start_seconds: float = 1.2,
        deviation_ratio: float = 0.02,
    ) -> None:
        self._facts = facts
        self._seed = seed
        self._kv_type = kv_type or "f16"
        self._bytes_per_second = bytes_per_second
        self._start_seconds = start_seconds
        self._deviation_ratio = deviation_ratio

    def load_seconds(self, file_bytes: int) -> float:
        """Returns how long a load of a file takes."""
        return self._start_seconds + file_bytes / self._bytes_per_second

    def load(self, order: LoadOrder) -> LoadResult:
        """Returns bytes per GPU; what does not fit goes to RAM, as llama-server's fit does."""
        options, file = order.shape.options, order.model.file
        footprint = estimate_footprint(
            self._facts[order.model.key],
            num_ctx=effective_context(options.num_ctx, file.trained_context),
            num_parallel=order.parallel,
            kv_type=self._kv_type,
            gpus=len(order.gpus),
            device_free_bytes=[order.room_on(gpu) for gpu in order.gpus] or None,
            gpu_layers=None if options.num_gpu < 0 else options.num_gpu,
            batch=options.num_batch or None,
            file_bytes=file.file_bytes,
            integrated=any(gpu.integrated for gpu in order.gpus),
        )
        ratio = self._deviation(order.model.key)
        taken = tuple(int((share.vram_bytes or 0) * ratio) for share in footprint.devices)
        context = tuple(share.overhead_bytes for share in footprint.devices)
        unused = (0,) * (len(order.gpus) - len(taken))
        free = [order.room_on(gpu) for gpu in order.gpus]
        if any(n > f for n, f in zip(taken, free, strict=False)):
            return LoadResult(seconds=self._start_seconds, error=OUT_OF_MEMORY)
        logged = tuple(max(t - c, 0) for t, c in zip(taken, context, strict=True)) + unused
        ram = 0 if footprint.is_fully_on_gpu else footprint.ram_bytes or 0
        return LoadResult(
            seconds=self.load_seconds(file.file_bytes),
            by_position=taken + unused,
            logged=logged,
            total_bytes=sum(logged) + ram,
        )

    def _deviation(self, key: str) -> float:
        chance = Random(f"{self._seed} {key}")
        return 1 + self._deviation_ratio * chance.uniform(-1, 1)
