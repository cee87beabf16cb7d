"""RAM that models outside the GPUs need, though the kernel still calls it available.

Source: devices.md section 5: mapped GGUF pages are page cache, which counts as available.
"""

from __future__ import annotations

from warmset.core.host.budget import charge_mapped_weights
from warmset.core.host.observed import runner_of
from warmset.core.host.picture import Picture
from warmset.core.model import HostMemory, Reading


def uncharged_bytes(picture: Picture) -> int:
    """Returns what resident models need of RAM beyond what has already left the available count.

    A model needs what Ollama reports outside the GPU; its runner's own (anonymous) memory is
    gone from the available count, its mapped weights are not.
    """
    total = 0
    for resident in picture.look.residents or ():
        if resident.size_bytes is None or resident.size_vram_bytes is None:
            continue
        outside = max(0, resident.size_bytes - resident.size_vram_bytes)
        runner = runner_of(picture, resident)
        anonymous = runner.process.anonymous_bytes if runner else None
        total += max(0, outside - (anonymous or 0))
    return total


def available_after_models(memory: HostMemory, picture: Picture) -> Reading[int]:
    """Returns the RAM that is left once the models on the CPU are charged what they need."""
    return charge_mapped_weights(memory, uncharged_bytes(picture))
