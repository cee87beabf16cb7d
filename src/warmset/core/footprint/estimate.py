"""`estimate_footprint`: bytes of a load before it happens.

    vram = weights + cache + recurrent state + compute buffer + process overhead, on each GPU

Weights, cache and state are exact once the configuration is known; the compute buffer is derived
from the graph; the overhead is a prior until the host has been watched. The upper bound adds what
we know to vary. Unknown weights leave the sums `None`: no guess is dressed as a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from warmset.core.footprint.assemble import assemble
from warmset.core.footprint.measure import Extras, measure
from warmset.core.footprint.request import check_bytes, check_whole, complete_request
from warmset.core.footprint.result import Footprint
from warmset.core.footprint.shape import Shape, read_shape, with_vocabulary
from warmset.core.footprint.split import Weights
from warmset.core.footprint.weights import WeightTable, read_tensors
from warmset.core.model import FactValue, Tensor
from warmset.core.ollama.predict import predict_vram
from warmset.core.ollama.types import WeightsFile
from warmset.errors import FactsError

_MAX_LAYERS: Final = 1 << 16
_MAX_DRAFT: Final = 64


def estimate_footprint(
    facts: Mapping[str, FactValue],
    *,
    weights_gpu_bytes: int | None = None,
    weights_cpu_bytes: int | None = None,
    num_ctx: int,
    num_parallel: int = 1,
    kv_type: str = "f16",
    flash_attn: bool | None = None,
    gpus: int = 1,
    device_free_bytes: int | Sequence[int] | None = None,
    gpu_layers: int | None = None,
    batch: int | None = None,
    engine: str = "ollama-0.33",
    tensors: Sequence[Tensor] | WeightTable | None = None,
    file_bytes: int | None = None,
    projector_bytes: int | None = 0,
    adapter_bytes: int | None = 0,
    integrated: bool = False,
    draft_tokens: int = 0,
    latent_cache: bool | None = None,
    unified_cache: bool | None = None,
) -> Footprint:
    """Returns the bytes that a model will hold once loaded.

    Args:
        facts: GGUF keys, with or without the architecture prefix, to values.
        weights_gpu_bytes: weights on GPUs, where the tensor table is not known.
        weights_cpu_bytes: weights in RAM, likewise.
        num_ctx: context of one slot for Ollama, `-c` (all slots) for the other engines.
        num_parallel: slots.
        kv_type: cache type such as `q8_0`, or keys and values as `q8_0/f16`.
        flash_attn: `None` for what the engine would choose.
        gpus: GPUs used; 0 for RAM only.
        device_free_bytes: free bytes, one for all GPUs or one each; enables the engine's own
            reduction of layers, and weighs the split.
        gpu_layers: blocks on GPUs, the output matrix counting as one; `None` for automatic.
        batch: physical batch; `None` for what the engine would choose.
        engine: tool and version, see `engine.parse_engine`.
        tensors: the tensor table, for exact weights; as read by `read_tensors` to ask often.
        file_bytes: the weights file, for weights where nothing better is known.
        projector_bytes: a separate projector; `None` if there is one of unknown size.
        adapter_bytes: LoRA adapters; `None` likewise.
        integrated: the GPU shares the host's RAM, so host buffers count as its memory.
        draft_tokens: tokens drafted ahead by the model's own next-token blocks; 0 for none.
        latent_cache: whether a latent-attention model stores compressed rows; `None` by engine.
        unified_cache: one stream for all slots, else one each; `None` by engine.

    Raises:
        FactsError: unknown architecture, or a missing or impossible value. Names the key.
    """
    if not isinstance(facts, Mapping):
        raise FactsError("facts are not a mapping of GGUF keys", context={"key": "facts"})
    shape = read_shape(facts)
    weights = _known_weights(
        _read_table(tensors),
        gpu=check_bytes("weights_gpu_bytes", weights_gpu_bytes),
        cpu=check_bytes("weights_cpu_bytes", weights_cpu_bytes),
        file=check_bytes("file_bytes", file_bytes),
    )
    if weights.table is not None and weights.table.vocabulary:
        shape = with_vocabulary(shape, weights.table.vocabulary)
    as_ollama = _as_ollama_reads(shape, weights, file_bytes)
    request = complete_request(
        shape,
        engine=engine,
        num_ctx=num_ctx,
        num_parallel=num_parallel,
        kv_type=kv_type,
        flash_attn=flash_attn,
        gpus=gpus,
        device_free_bytes=device_free_bytes,
        batch=batch,
        unified=unified_cache,
        as_ollama=as_ollama,
    )
    if gpu_layers is not None:
        gpu_layers = check_whole("gpu_layers", gpu_layers, 0, _MAX_LAYERS)
    extras = Extras(
        projector=check_bytes("projector_bytes", projector_bytes),
        adapter=check_bytes("adapter_bytes", adapter_bytes),
        in_file_projector=weights.table.projector if weights.table else 0,
        draft_tokens=check_whole("draft_tokens", draft_tokens, 0, _MAX_DRAFT),
        is_integrated=bool(integrated),
    )
    parts = measure(shape, request, weights, extras, latent=latent_cache, gpu_layers=gpu_layers)
    forecast = None if as_ollama is None else predict_vram(as_ollama, request.total_context)
    return assemble(shape, request, weights, extras, parts, forecast=forecast)


def _read_table(tensors: Sequence[Tensor] | WeightTable | None) -> WeightTable | None:
    if tensors is None or isinstance(tensors, WeightTable):
        return tensors
    return read_tensors(tuple(tensors)) if tensors else None


def _known_weights(
    table: WeightTable | None, *, gpu: int | None, cpu: int | None, file: int | None
) -> Weights:
    """Returns the weights by the best that is known: given sums, the table, the file's size."""
    if gpu is not None or cpu is not None:
        return Weights(gpu_bytes=gpu, cpu_bytes=cpu)
    return Weights(table=table) if table is not None else Weights(file_bytes=file)


def _as_ollama_reads(shape: Shape, weights: Weights, file: int | None) -> WeightsFile | None:
    """Returns the file as Ollama's forecast sees it, `None` where its size is not known."""
    size = weights.total_bytes if file is None else file
    if size is None:
        return None
    return WeightsFile(
        file_bytes=size,
        block_count=len(shape.layers) + len(shape.drafts),
        head_count_max=shape.heads or 1,
        head_count_kv_min=shape.kv_heads_min,
        embedding_length=shape.embedding,
    )
