"""What a process holds on a GPU beyond its buffers, before the host has taught us better.

It depends on the GPU, the driver and how kernels load, hardly on the model. The prior is wide:
140 MiB on small laptop GPUs, 250 to 300 on an RTX 3090 or A40, 450 on an RTX 4090.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from warmset.core.footprint.kvcache import CACHE_TYPE_BYTES_PER_32, CacheTypes, Cells
from warmset.core.footprint.shape import LayerCache
from warmset.core.units import GIB, MIB

CONTEXT_BYTES: Final = 300 * MIB
"""Middle of the readings: stored logs of an A40 (297), RTX 3090 (248 to 270), RTX 4090 (451,
ggml-org/llama.cpp#15860), 8 GB laptop GPUs (140 to 164)."""
CONTEXT_UPPER_BYTES: Final = 550 * MIB
"""Largest primary context reported: ggml-org/llama.cpp#20595 (120 to 550)."""
PROJECTOR_GRAPH_BYTES: Final = 1 * GIB
"""Scratch of a vision encoder. Source: Ollama v0.33 `llm/llama_server.go` adds the projector's
bytes and 1 GiB to its fit target."""
DRAFT_UPPER_BYTES: Final = 1945 * MIB
"""Largest scratch seen of a context that drafts with the model's own next-token blocks: 1.9 GiB,
where the smallest took 0.5. Source: readings of public logs of 2026."""
COMPUTE_UPPER_RATIO: Final = 1.15
_HALF: Final = CACHE_TYPE_BYTES_PER_32["f16"]
_F16: Final = 2


def unpack_bytes(
    kinds: Iterable[LayerCache], types: CacheTypes, cells: Cells, *, flash: bool
) -> int:
    """Returns the f16 copy of one layer's quantised cache, which flash attention makes.

    It comes from the driver's pool, not from the compute buffer, once prompts get long.

    Formula:
        2 * cells * (key elements if quantised + value elements if quantised), widest layer

    Source:
        ggml `ggml/src/ggml-cuda/fattn-common.cuh: launch_fattn` (K_f16, V_f16).
    """
    if not flash or min(types.key, types.value) >= _HALF:
        return 0
    widest = 0
    for layer in kinds:
        row = (layer.key if types.key < _HALF else 0) + (layer.value if types.value < _HALF else 0)
        count = cells.mask_window if layer.slides else cells.mask_full
        widest = max(widest, _F16 * count * row)
    return widest
