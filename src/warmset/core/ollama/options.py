"""From a request to load options: merging, defaults and which values count as automatic.

Source: Ollama v0.33 `server/routes.go: modelOptionsWithEmbeddingBatchDefault,
usesAutomaticNumCtx, usesAutomaticNumBatch`, `api/types.go: Options.FromMap`.
"""

from __future__ import annotations

import math
from typing import Final

from warmset.core.ollama.types import LoadShape, OptionValues, RunnerOptions, WeightsFile

DEFAULT_BATCH: Final = 512
EMBEDDING_BATCH_MAX: Final = 2048
DEFAULT_DRAFT_PREDICT: Final = 4

_INTEGER_OPTIONS: Final = frozenset(
    (
        "num_ctx",
        "num_batch",
        "num_gpu",
        "main_gpu",
        "num_thread",
        "draft_num_predict",
        "num_keep",
        "seed",
        "num_predict",
        "top_k",
        "repeat_last_n",
    )
)
_FLOAT_OPTIONS: Final = frozenset(
    (
        "temperature",
        "top_p",
        "min_p",
        "typical_p",
        "repeat_penalty",
        "presence_penalty",
        "frequency_penalty",
    )
)


class OptionError(ValueError):
    """An option of the wrong type; the message is Ollama's, which answers it with 500."""


def check_options(options: OptionValues) -> None:
    """Raises `OptionError` for a known option of the wrong JSON type; ignores unknown ones."""
    for key, value in options.items():
        if value is None:
            continue
        is_number = _is_number(value)
        if key in _INTEGER_OPTIONS and not is_number:
            raise OptionError(f'option "{key}" must be of type integer')
        if key in _FLOAT_OPTIONS and not is_number:
            raise OptionError(f'option "{key}" must be of type float32')
        if key == "use_mmap" and not isinstance(value, bool):
            raise OptionError(f'option "{key}" must be of type boolean')
        if key == "stop":
            _check_texts(key, value)


def _check_texts(key: str, value: object) -> None:
    if not isinstance(value, list | tuple):
        raise OptionError(f'option "{key}" must be of type array')
    if not all(isinstance(item, str) for item in value):
        raise OptionError(f'option "{key}" must be of an array of strings')


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def load_shape(
    file: WeightsFile,
    *,
    request: OptionValues,
    modelfile: OptionValues,
    default_num_ctx: int,
    context_length_env: int = 0,
    is_embedding: bool = False,
    has_vision: bool = False,
    has_draft: bool = False,
    shift: bool | None = None,
    adapters: tuple[str, ...] = (),
    projectors: tuple[str, ...] = (),
    is_mlx: bool = False,
) -> LoadShape:
    """Returns how a request wants its model loaded.

    Args:
        file: the weights.
        request: `options` of the request.
        modelfile: parameters of the Modelfile; the request wins over them.
        default_num_ctx: the server's context tier (`context.default_context`).
        context_length_env: `OLLAMA_CONTEXT_LENGTH`; 0 = not set.
        is_embedding: whether the model has the capability to embed.
        has_vision: whether it has the capability to see.
        has_draft: whether a draft model belongs to it.
        shift: `shift` of the request.
        adapters, projectors: blobs that belong to this name.
        is_mlx: whether it is no GGUF model.

    Raises:
        OptionError: an option has the wrong type.
    """
    check_options(modelfile)
    check_options(request)
    merged = {
        key: value
        for source in (modelfile, request)
        for key, value in source.items()
        if value is not None
    }

    def number(key: str, default: int) -> int:
        value = merged.get(key, default)
        assert isinstance(value, int | float)
        return int(value)

    # As in Ollama, a key that is present counts as explicit even if its value is null.
    has_num_ctx = "num_ctx" in request or "num_ctx" in modelfile
    has_num_batch = "num_batch" in request or "num_batch" in modelfile
    num_ctx = number("num_ctx", context_length_env or default_num_ctx)
    num_batch = number("num_batch", DEFAULT_BATCH)
    if is_embedding and not has_num_batch:
        num_batch = min(EMBEDDING_BATCH_MAX, num_ctx) if num_ctx > 0 else EMBEDDING_BATCH_MAX
    has_draft = has_draft or "draft_num_predict" in request or "draft_num_predict" in modelfile
    draft = number("draft_num_predict", DEFAULT_DRAFT_PREDICT if has_draft else 0)
    use_mmap = merged.get("use_mmap")
    return LoadShape(
        options=RunnerOptions(
            num_ctx=max(num_ctx, 2048 if has_vision else 4),
            num_batch=num_batch,
            num_gpu=number("num_gpu", -1),
            main_gpu=number("main_gpu", 0) if "main_gpu" in merged else None,
            use_mmap=use_mmap if isinstance(use_mmap, bool) else None,
            num_thread=number("num_thread", 0),
            draft_num_predict=draft,
        ),
        num_ctx_auto=not has_num_ctx and context_length_env == 0,
        num_batch_auto=not has_num_batch and not is_embedding,
        context_shift=context_shift(file.family, shift) and not is_mlx,
        adapters=adapters,
        projectors=projectors,
        trained_context=file.trained_context,
        is_mlx=is_mlx,
    )


def context_shift(family: str, shift: bool | None) -> bool:
    """Returns the effective context-shift flag. Source: `resolveContextShift`, since v0.30.9."""
    return family != "deepseek2" if shift is None else shift
