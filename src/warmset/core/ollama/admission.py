"""Whether Ollama lets a load in beside what is resident, as it would decide itself.

Source: Ollama v0.33 `server/sched.go: load, processPending, applyAutomaticGenerationBatch,
explicitPartialGPUOffload, disableMmapDefaultReason, disableMmapForHostPressure`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from warmset.core.ollama.context import server_context
from warmset.core.ollama.generation import NEWEST, Generation
from warmset.core.ollama.placement import Placement, available_for, select_placement
from warmset.core.ollama.predict import (
    automatic_batch,
    batch_surcharge,
    fit_limit,
    flash_attention,
    predict_vram,
)
from warmset.core.ollama.types import Gpu, LoadShape, WeightsFile
from warmset.core.replacing import replace

MODELS_PER_GPU: Final = 3
"""The automatic limit of loaded models is this times the GPUs. Source: `defaultModelsPerGPU`."""

_GIGABYTE: Final = 1000**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Ollama's decision about one load.

    `fits` is the outcome of the 80 % test; `is_checked` tells whether Ollama makes that test
    at all (not for the first runner, without GPUs, or with an explicit partial offload).
    """

    shape: LoadShape
    placement: Placement
    parallel: int
    predicted_bytes: int
    surcharge_bytes: int
    available_bytes: int
    fits: bool
    is_checked: bool

    @property
    def admits(self) -> bool:
        """Whether the load goes ahead without an eviction."""
        return self.fits or not self.is_checked

    @property
    def total_bytes(self) -> int:
        """Prediction and surcharge together: what is held against 80 % of available."""
        return self.predicted_bytes + self.surcharge_bytes


def max_loaded(setting: int, gpu_count: int, generation: Generation = NEWEST) -> int:
    """Returns the limit of loaded models; `setting` 0 means automatic.

    The automatic value is fixed by Ollama at its first load and kept; before 0.2.0 it was 1.
    """
    if setting > 0:
        return setting
    return MODELS_PER_GPU * max(gpu_count, 1) if generation.loads_several else 1


def is_partial_offload(shape: LoadShape, file: WeightsFile) -> bool:
    """Returns whether `num_gpu` asks for fewer layers than the model has (output included)."""
    return 0 < shape.options.num_gpu < file.block_count + 1


def forecast_load(
    file: WeightsFile,
    shape: LoadShape,
    gpus: Sequence[Gpu],
    *,
    parallel: int,
    completes: bool,
    others_loaded: bool,
    spread: bool = False,
    flash_setting: bool | None = None,
    system_free_bytes: int = 0,
) -> Forecast:
    """Returns Ollama's decision about loading `file` in this shape.

    Args:
        file, shape: the model and how it is wanted.
        gpus: Ollama's belief (`belief.believed_gpus`); none for CPU-only or `num_gpu: 0`.
        parallel: slots (`context.slots`).
        completes: whether the model generates; embedders have no surcharge.
        others_loaded: whether anything is resident.
        spread, flash_setting: the server's environment.
        system_free_bytes: as Ollama sees it; 0 = unknown.
    """
    if shape.options.num_gpu == 0:
        gpus = ()
    cells = server_context(shape.options.num_ctx, file, parallel)
    predicted = predict_vram(file, cells)
    placement = select_placement(
        gpus,
        predicted_bytes=predicted,
        num_gpu=shape.options.num_gpu,
        main_gpu=shape.options.main_gpu,
        spread=spread,
        system_free_bytes=system_free_bytes,
    )
    available = available_for(placement, system_free_bytes).available_bytes
    if completes and shape.num_batch_auto:
        flash = flash_attention(placement.gpus, flash_setting)
        batch = automatic_batch(cells, predicted, available, flash, placement.gpus)
        shape = replace(shape, options=replace(shape.options, num_batch=batch))
    surcharge = batch_surcharge(shape.options.num_batch, completes=completes)
    return Forecast(
        shape=shape,
        placement=placement,
        parallel=parallel,
        predicted_bytes=predicted,
        surcharge_bytes=surcharge,
        available_bytes=available,
        fits=predicted + surcharge <= fit_limit(available),
        is_checked=others_loaded and bool(placement.gpus) and not is_partial_offload(shape, file),
    )


def mmap_off_reason(
    forecast: Forecast,
    file: WeightsFile,
    *,
    mapped_bytes: int,
    system_total_bytes: int,
    system_free_bytes: int,
) -> str:
    """Returns why Ollama on Linux loads this model without mmap, or an empty text.

    Args:
        mapped_bytes: file bytes of the resident models that use mmap.
        system_free_bytes: 0 = unknown.
    """
    options = forecast.shape.options
    gpus = forecast.placement.gpus
    if options.use_mmap is not None:
        return ""
    if options.num_gpu == 0 or not gpus or all(g.library.lower() == "cpu" for g in gpus):
        return "cpu"
    main = forecast.placement.main_gpu
    if main is not None and 0 <= main < len(gpus):
        gpus = (gpus[main],)
    known = file.file_bytes and system_free_bytes and forecast.predicted_bytes
    if not known or any(gpu.integrated for gpu in gpus):
        return ""
    if forecast.predicted_bytes > fit_limit(forecast.available_bytes):
        return ""
    headroom = max(8 * _GIGABYTE, system_total_bytes // 10)
    pressed = system_free_bytes < file.file_bytes + mapped_bytes + headroom
    return "host memory pressure" if pressed else ""
