"""Which device holds which layer: the split that llama.cpp makes.

Source: llama.cpp `src/llama-model.cpp: load_tensors` (`get_layer_buft_list`): the GPUs take the
last entries of blocks + output, shared out by cumulative weight of their free memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Final

CPU: Final = -1


@lru_cache(maxsize=512)
def assign_layers(blocks: int, gpu_layers: int, shares: tuple[float, ...]) -> tuple[int, ...]:
    """Returns the device of each block and, last, of the output matrix; `CPU` for RAM.

    Args:
        blocks: blocks of the model.
        gpu_layers: entries to put on GPUs, the output matrix counting as one.
        shares: weight of each GPU, such as its free bytes; empty for none.

    Invariants:
        Blocks on the CPU come first, then those of the first GPU, and so on.
    """
    entries = blocks + 1
    active = min(max(gpu_layers, 0), entries) if shares else 0
    sums = list(accumulate(max(share, 0.0) for share in shares))
    if active and sums[-1] <= 0:
        sums = list(accumulate(1.0 for _ in shares))
    first = entries - active
    devices = [CPU] * first
    for entry in range(active):
        position = bisect_right(sums, entry / active * sums[-1])
        devices.append(min(position, len(shares) - 1))
    return tuple(devices)


def sum_by_device(
    values: Sequence[int], devices: Sequence[int], gpus: int
) -> tuple[tuple[int, ...], int]:
    """Returns the sums of `values` for each GPU, and the sum that stays in RAM."""
    sums = [0] * (gpus + 1)
    for value, device in zip(values, devices, strict=False):
        sums[device] += value
    return tuple(sums[:gpus]), sums[gpus]
