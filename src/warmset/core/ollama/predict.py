"""What Ollama believes a load will take: prediction, batch size, surcharge.

This is Ollama's forecast, not the need: it ignores cache types, windows, recurrent layers,
projectors and compute buffers. Both matter (`core.footprint` has the need).

Source: Ollama v0.33 `llm/llama_server.go: PredictServerVRAM, LlamaServerFlashAttention`,
`server/sched.go: automaticGenerationBatch` and neighbours, `ml/device.go`.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from warmset.core.ollama.types import U64, Gpu, WeightsFile
from warmset.core.units import GIB, MIB

BATCH_SMALL: Final = 256
BATCH_DEFAULT: Final = 512
BATCH_MEDIUM: Final = 1024
BATCH_LARGE: Final = 2048
FIT_PERCENT: Final = 80
"""Ollama fills a GPU to 80 % of what it believes to be free. Source: `sched.go: load`."""
_HEADROOM_PERCENT: Final = {BATCH_MEDIUM: 75, BATCH_LARGE: 60}


class FlashAttention(StrEnum):
    """The mode passed to llama-server."""

    AUTO = "auto"
    ENABLED = "enabled"
    DISABLED = "disabled"


def fit_limit(available_bytes: int) -> int:
    """Returns the bytes that a prediction may have at most to count as fitting."""
    return available_bytes * FIT_PERCENT // 100


def predict_vram(file: WeightsFile, total_context: int) -> int:
    """Returns Ollama's predicted bytes: the file plus a dense f16 cache.

    Args:
        file: the weights.
        total_context: cells of all slots (`context.server_context`).

    Formula:
        file + 2 * blocks * min(kv heads) * (embedding // max(heads)) * cells * 2
    """
    kv_heads = file.head_count_kv_min or 1
    head_dim = file.embedding_length // file.head_count_max if file.head_count_max > 0 else 0
    cache = 2 * file.block_count * kv_heads * head_dim * total_context * 2
    return (file.file_bytes + cache) & U64


def flash_attention(gpus: Sequence[Gpu], setting: bool | None = None) -> FlashAttention:
    """Returns the mode for these GPUs; `setting` is `OLLAMA_FLASH_ATTENTION` if given."""
    if setting is not None:
        return FlashAttention.ENABLED if setting else FlashAttention.DISABLED
    supported = all(_supports_flash_attention(gpu) for gpu in gpus)
    return FlashAttention.AUTO if supported else FlashAttention.DISABLED


def _supports_flash_attention(gpu: Gpu) -> bool:
    if gpu.library in ("cpu", "Metal", "ROCm", "Vulkan") or gpu.name == "Metal":
        return True
    if gpu.library != "CUDA" or gpu.compute_major < 6:
        return False
    if (gpu.compute_major, gpu.compute_minor) == (7, 2):
        return False
    return gpu.driver_major == 0 or gpu.driver_major >= 7


def batch_surcharge(batch: int, *, completes: bool = True) -> int:
    """Returns the bytes Ollama adds for a large batch; embedders pay nothing."""
    if not completes or batch < BATCH_MEDIUM:
        return 0
    return 2 * GIB if batch >= BATCH_LARGE else 768 * MIB


def automatic_batch(
    total_context: int,
    predicted_bytes: int,
    available_bytes: int,
    flash: FlashAttention,
    gpus: Sequence[Gpu],
) -> int:
    """Returns the batch that Ollama picks where nobody asked for one."""
    if flash is FlashAttention.DISABLED and any(gpu.library == "CUDA" for gpu in gpus):
        constrained = total_context > 4096 and any(_is_small_cuda(gpu) for gpu in gpus)
        return BATCH_SMALL if constrained else BATCH_DEFAULT
    if total_context > 32768:
        batch = BATCH_LARGE
    elif total_context > 4096:
        batch = BATCH_MEDIUM
    else:
        batch = BATCH_DEFAULT
    while batch > BATCH_DEFAULT and not _batch_fits(batch, predicted_bytes, available_bytes):
        batch //= 2
    return batch


def _is_small_cuda(gpu: Gpu) -> bool:
    memory = gpu.free_bytes
    if memory == 0 or 0 < gpu.total_bytes < memory:
        memory = gpu.total_bytes
    return gpu.library == "CUDA" and 0 < memory <= 8 * GIB


def _batch_fits(batch: int, predicted_bytes: int, available_bytes: int) -> bool:
    if predicted_bytes == 0 or available_bytes == 0:
        return True
    limit = fit_limit(available_bytes)
    return (
        predicted_bytes <= limit
        and predicted_bytes <= available_bytes * _HEADROOM_PERCENT[batch] // 100
        and batch_surcharge(batch) <= limit - predicted_bytes
    )
