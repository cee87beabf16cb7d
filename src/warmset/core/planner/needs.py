"""What one model takes in each kind of place: one GPU, a group of GPUs, RAM."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from warmset.core.footprint import Footprint
from warmset.core.model import Entry
from warmset.core.ollama.context import effective_context
from warmset.core.ollama.types import LoadShape
from warmset.core.planner.candidates import Need, Spread
from warmset.core.planner.capacity import HostCapacity
from warmset.core.units import MIB
from warmset.errors import FactsError

RAM_PRIOR_RATIO: Final = 0.1
RAM_PRIOR_BYTES: Final = 512 * MIB
"""RAM of a model on GPUs whose tensor table is not known: a tenth of its file for the input table,
which stays in RAM, and half a GiB for the runner.

Source: input tables take 2 to 9 % of the files in the footprint rows with a tensor table.
"""

FootprintOf = Callable[..., Footprint]
"""`estimate_footprint`, or a calibrated form with the same arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """The needs of one model in each kind of place."""

    entry: Entry
    shape: LoadShape | None
    parallel: int
    host: HostCapacity
    footprint: FootprintOf
    engine: str

    def needs(self) -> tuple[Need | None, Spread | None, int | None, str]:
        """Returns the need on one GPU, over a group, in RAM, and why something is not known."""
        if self.shape is None:
            return None, None, None, "the size of its weights file is not known"
        try:
            on_cpu = self._estimate(0).ram_bytes
            if not self.host.gpus:
                reason = "" if on_cpu is not None else "its bytes in RAM are not known"
                return None, None, on_cpu, reason
            one = self._estimate(1)
            largest_group = max(len(self.host.group_of(gpu)) for gpu in self.host.gpus)
            group = self._estimate(largest_group) if largest_group > 1 else None
        except FactsError as error:
            return None, None, None, error.message
        need = self._need(one)
        if need is None:
            return None, None, on_cpu, "; ".join(one.unknowns) or "its weights are not known"
        return need, None if group is None else self._spread(group), on_cpu, ""

    def _estimate(self, gpus: int) -> Footprint:
        assert self.shape is not None
        entry, env = self.entry, self.host.env
        options = self.shape.options
        file = entry.file_bytes if entry.file_bytes is not None else entry.size_bytes
        return self.footprint(
            entry.facts,
            num_ctx=effective_context(options.num_ctx, self.shape.trained_context),
            num_parallel=self.parallel,
            kv_type=env.kv_cache_type or "f16",
            flash_attn=env.flash_attention,
            gpus=gpus,
            batch=None if self.shape.num_batch_auto else options.num_batch,
            engine=self.engine,
            tensors=entry.tensors,
            file_bytes=file,
            projector_bytes=entry.projector_bytes,
            adapter_bytes=entry.adapter_bytes,
            integrated=bool(gpus) and all(gpu.gpu.integrated for gpu in self.host.gpus),
        )

    def _need(self, estimate: Footprint) -> Need | None:
        point, upper = estimate.vram_bytes, estimate.vram_upper_bytes
        if point is None or upper is None:
            return None
        return Need(
            point_bytes=point,
            upper_bytes=max(point, upper),
            ram_bytes=self._ram(estimate),
            basis=estimate.basis,
        )

    def _spread(self, estimate: Footprint) -> Spread | None:
        """Splits an estimate over a group into what each GPU takes and what is shared out."""
        if estimate.vram_bytes is None or estimate.vram_upper_bytes is None:
            return None
        shared = fixed = fixed_upper = step = 0
        for share in estimate.devices:
            if share.vram_bytes is None or share.vram_upper_bytes is None:
                return None
            own = (share.weights_bytes or 0) + share.kv_bytes + share.recurrent_bytes
            shared += own
            step = max(step, own // max(1, share.layers))
            fixed = max(fixed, share.vram_bytes - own)
            fixed_upper = max(fixed_upper, share.vram_upper_bytes - own)
        return Spread(
            fixed_point_bytes=fixed,
            fixed_upper_bytes=max(fixed, fixed_upper) + step,
            shared_bytes=shared,
            ram_bytes=self._ram(estimate),
            basis=estimate.basis,
        )

    def _ram(self, estimate: Footprint) -> int:
        if estimate.ram_bytes is not None:
            return estimate.ram_bytes
        file = self.entry.file_bytes or self.entry.size_bytes or 0
        return int(file * RAM_PRIOR_RATIO) + RAM_PRIOR_BYTES
