"""The answer: bytes by part, by tier and by device, with where each number comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Certainty = Literal["exact", "derived", "prior"]
"""Exact from metadata; derived from a formula checked on logs; prior: the host teaches better."""

Tier = Literal["gpu", "ram", "bound"]

Basis = Literal["estimated", "calibrated", "observed"]
"""From facts alone; corrected by other loads seen on this host; this very load was seen here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One summand with its explanation.

    Invariants:
        Terms of tier `gpu` add up to `Footprint.vram_bytes`, those of `ram` to `ram_bytes`, where
        these are known; those of `bound` are what `vram_upper_bytes` has on top.
    """

    name: str
    tier: Tier
    size_bytes: int
    formula: str
    source: str
    certainty: Certainty


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceShare:
    """What one GPU holds.

    Units:
        `vram_bytes` and `vram_upper_bytes` are `None` where the weights are not known.
    """

    index: int
    layers: int  # blocks, and the output matrix as one more
    weights_bytes: int | None
    kv_bytes: int
    recurrent_bytes: int
    compute_bytes: int
    compute_upper_bytes: int
    overhead_bytes: int
    vram_bytes: int | None
    vram_upper_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Estimated bytes of one load.

    Invariants:
        `kv_bytes` and `recurrent_bytes` count all tiers; `compute_bytes` counts GPUs, or RAM
        where no GPU is used. `vram_bytes` is the sum over `devices`. What is `None` is named in
        `unknowns`, with the reason.
    """

    weights_vram_bytes: int | None
    weights_ram_bytes: int | None
    kv_bytes: int
    recurrent_bytes: int
    compute_bytes: int
    overhead_bytes: int
    vram_bytes: int | None
    vram_upper_bytes: int | None
    ram_bytes: int | None
    devices: tuple[DeviceShare, ...]
    ollama_forecast_bytes: int | None
    gpu_layers: int
    layer_count: int
    context: int  # of one slot, after clamping
    slots: int
    batch: int
    flash_attention: bool
    kv_type: str
    is_integrated: bool
    basis: Basis
    grounds: str  # of the basis, in words
    unknowns: tuple[str, ...]
    explain: Callable[[], tuple[Term, ...]] = field(compare=False, repr=False)

    @property
    def terms(self) -> tuple[Term, ...]:
        """Every summand in words, put together when asked for."""
        return self.explain()

    @property
    def is_fully_on_gpu(self) -> bool:
        """Whether every layer sits on a GPU."""
        return self.gpu_layers >= self.layer_count

    @property
    def pool_bytes(self) -> int | None:
        """VRAM and RAM together: the need where the GPU shares the host's memory."""
        if self.vram_bytes is None or self.ram_bytes is None:
            return None
        return self.vram_bytes + self.ram_bytes

    @property
    def buffer_bytes(self) -> int | None:
        """What the runtime itself counts on the GPUs: the driver's figure less the overhead.

        Source: Ollama from 0.30 sums the runtime's buffer lines for `size_vram`.
        """
        return None if self.vram_bytes is None else self.vram_bytes - self.overhead_bytes
