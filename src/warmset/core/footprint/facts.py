"""GGUF keys read once, checked, and turned into the shape that every formula works on.

The rule of this file: what decides the cache is required, and its absence is a `FactsError` that
names the key; what only decides scratch memory may be missing, and is then listed in
`Shape.missing`. Values come from files and servers we do not control, so every number is bounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from warmset.core.footprint.architectures import Scheme, scheme_of, sliding_layers
from warmset.core.model import Facts, FactValue
from warmset.errors import FactsError

MAX_BLOCKS: Final = 1024
_LIMIT: Final = 1 << 31
_LIMITS: Final[Mapping[str, int]] = {
    "block_count": MAX_BLOCKS,
    "embedding_length": 1 << 20,
    "attention.head_count": 1 << 14,
    "attention.head_count_kv": 1 << 14,
    "attention.key_length": 1 << 16,
    "attention.value_length": 1 << 16,
    "attention.key_length_swa": 1 << 16,
    "attention.value_length_swa": 1 << 16,
    "feed_forward_length": 1 << 22,
    "expert_feed_forward_length": 1 << 22,
    "vocab_size": 1 << 24,
    "expert_count": 1 << 14,
    "expert_used_count": 1 << 14,
    "ssm.inner_size": 1 << 20,
    "ssm.state_size": 1 << 16,
    "ssm.group_count": 1 << 16,
    "ssm.conv_kernel": 1 << 12,
}
_ARRAYS: Final = frozenset(
    {
        "attention.head_count",
        "attention.head_count_kv",
        "attention.sliding_window_pattern",
        "attention.indexer.types",
        "feed_forward_length",
    }
)
_KEYS: Final = (
    "block_count",
    "embedding_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "attention.key_length_swa",
    "attention.value_length_swa",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.shared_kv_layers",
    "attention.kv_lora_rank",
    "attention.key_length_mla",
    "attention.indexer.key_length",
    "attention.indexer.types",
    "rope.dimension_count",
    "feed_forward_length",
    "expert_feed_forward_length",
    "expert_count",
    "expert_used_count",
    "vocab_size",
    "context_length",
    "full_attention_interval",
    "nextn_predict_layers",
    "ssm.conv_kernel",
    "ssm.state_size",
    "ssm.group_count",
    "ssm.inner_size",
    "shortconv.l_cache",
    "wkv.head_size",
    "token_shift_count",
)

_GLM_5_2_CONTEXT: Final = 1 << 20

Value = int | tuple[int, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCache:
    """What one block caches for each cell, in elements; zero for none."""

    key: int = 0
    value: int = 0
    slides: bool = False
    state: int = 0  # recurrent f32 elements for each sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Latent:
    """Multi-head latent attention: the one compressed row that newer caches keep."""

    row: int  # elements for each cell and block, no separate value
    has_split_weights: bool  # the file carries the matrices that a latent cache needs
    index_rows: tuple[int, ...]  # further elements for each cell, by block


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """One architecture with its numbers.

    Equal facts give the same object, so that what follows from a shape is computed once.

    Invariants:
        `layers` has one entry for each block of the main context, `drafts` one for each
        next-token block, which caches only while drafting.
    """

    architecture: str
    scheme: Scheme
    embedding: int
    heads: int  # the widest layer
    kv_heads_min: int  # as Ollama reads it: 1 where the key is absent
    head_length: int  # the longest key
    feed_forward: int | None
    experts: int
    experts_used: int
    expert_feed_forward: int | None
    vocabulary: int | None
    trained_context: int | None
    window: int
    conv_channels: int
    inner: int
    layers: tuple[LayerCache, ...]
    drafts: tuple[LayerCache, ...]
    latent: Latent | None
    missing: tuple[str, ...]

    @property
    def is_encoder(self) -> bool:
        """Whether it only embeds: one pass, no generation, no cache in newer runtimes."""
        return self.scheme.is_encoder


def read_shape(facts: Facts) -> Shape:
    """Returns the shape that these facts describe.

    Args:
        facts: GGUF keys with or without the architecture prefix.

    Raises:
        FactsError: unknown architecture, a key that matters is missing, or a value that no model
            can have. The message and `context["key"]` name the key.
    """
    architecture = facts.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        raise missing_fact("general.architecture")
    scheme = scheme_of(architecture)
    prefixed = _prefixed(architecture)
    values: list[Value] = []
    for key, full in zip(_KEYS, prefixed, strict=True):
        raw = facts.get(full)
        if raw is None:
            raw = facts.get(key)
            if raw is None:
                absent = key not in facts and full not in facts
                values.append(None if absent or key not in _ARRAYS else _NOT_SENT)
                continue
        if type(raw) is int and 0 <= raw <= _LIMITS.get(key, _LIMIT):
            values.append(raw)
        else:
            values.append(_checked(key, raw))
    if values[_VOCABULARY] is None:
        tokens = facts.get("tokenizer.ggml.tokens")
        if isinstance(tokens, tuple | list):
            values[_VOCABULARY] = min(len(tokens), _LIMITS["vocab_size"])
    return _shape(architecture, scheme, tuple(values))


_NOT_SENT: Final = ()
"""Marks an array key whose value was withheld, as `/api/show` does without `verbose`."""
_VOCABULARY: Final = _KEYS.index("vocab_size")


@lru_cache(maxsize=256)
def _prefixed(architecture: str) -> tuple[str, ...]:
    return tuple(f"{architecture}.{key}" for key in _KEYS)


def missing_fact(key: str, why: str = "is missing") -> FactsError:
    """Returns the refusal that names `key`."""
    return FactsError(
        f"{key} {why}",
        hint="fetch the verbose form of /api/show, or read the GGUF file",
        context={"key": key},
    )


def _checked(key: str, raw: FactValue) -> Value:
    if isinstance(raw, tuple | list):
        if key not in _ARRAYS or len(raw) > 2 * MAX_BLOCKS:
            raise missing_fact(key, f"is an array of {len(raw)}, which no model has")
        numbers = [item for item in raw if type(item) is int]
        plain = len(numbers) == len(raw) > 0
        if plain and 0 <= min(numbers) <= max(numbers) <= _LIMITS.get(key, 1):
            return tuple(numbers)
        return tuple(_number(key, item) for item in raw)
    if key == "attention.sliding_window_pattern" and isinstance(raw, bool):
        return int(raw)
    return _number(key, raw)


def _number(key: str, raw: object) -> int:
    if isinstance(raw, bool) and key == "attention.sliding_window_pattern":
        return int(raw)
    if isinstance(raw, float) and math.isfinite(raw) and raw.is_integer():
        raw = int(raw)
    limit = _LIMITS.get(key, _LIMIT)
    if not isinstance(raw, int) or isinstance(raw, bool) or not 0 <= raw <= limit:
        shown = repr(raw)[:60]
        raise missing_fact(key, f"is {shown}; a whole number from 0 to {limit} was expected")
    return raw


@lru_cache(maxsize=512)
def _shape(architecture: str, scheme: Scheme, values: tuple[Value, ...]) -> Shape:
    found = _Found(dict(zip(_KEYS, values, strict=True)))
    blocks = found.required("block_count")
    embedding = found.required("embedding_length")
    drafts = min(found.optional("nextn_predict_layers") or 0, blocks - 1)
    main = blocks - drafts
    layers = _layers(found, scheme, blocks, main, embedding)
    feed_forward = found.widest("feed_forward_length")
    experts = found.optional("expert_count") or 0
    expert_width = found.optional("expert_feed_forward_length") or None
    if experts and expert_width is None and not scheme.is_latent:
        expert_width = feed_forward  # mixtral: one width for all; latent models have both
    gaps = {"vocab_size": found.optional("vocab_size"), "feed_forward_length": feed_forward}
    if experts:
        gaps["expert_used_count"] = found.optional("expert_used_count")
        gaps["feed_forward_length"] = feed_forward or expert_width
        gaps["expert_feed_forward_length"] = expert_width
    groups, state = found.optional("ssm.group_count") or 0, found.optional("ssm.state_size") or 0
    inner = found.optional("ssm.inner_size") or 0
    return Shape(
        architecture=architecture,
        scheme=scheme,
        embedding=embedding,
        heads=found.widest("attention.head_count") or 0,
        kv_heads_min=_narrowest(found.raw("attention.head_count_kv")),
        head_length=_head_length(found, scheme, embedding),
        feed_forward=feed_forward or None,
        experts=experts,
        experts_used=found.optional("expert_used_count") or 0,
        expert_feed_forward=expert_width,
        vocabulary=found.optional("vocab_size") or None,
        trained_context=found.optional("context_length") or None,
        window=_window(found, scheme),
        conv_channels=inner + 2 * groups * state,
        inner=inner,
        layers=layers[:main],
        drafts=layers[main:],
        latent=_latent(found, scheme, blocks),
        missing=tuple(key for key, value in gaps.items() if not value),
    )


class _Found:
    """The values read, with the refusals."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = values

    def required(self, key: str) -> int:
        value = self.optional(key)
        if not value:
            raise missing_fact(key, "is missing" if value is None else "is 0")
        return value

    def optional(self, key: str) -> int | None:
        value = self._values[key]
        if isinstance(value, tuple):
            raise missing_fact(key, "is an array")
        return value

    def widest(self, key: str) -> int | None:
        value = self._values[key]
        return max(value, default=None) if isinstance(value, tuple) else value

    def by_layer(self, key: str, blocks: int) -> tuple[int, ...] | None:
        """Returns one number for each block, `None` where the key is absent."""
        value = self._values[key]
        if value is None:
            return None
        if isinstance(value, int):
            return (value,) * blocks
        if not value:
            raise missing_fact(key, "is an array that was not sent")
        if len(value) < blocks:
            raise missing_fact(key, f"has {len(value)} entries for {blocks} blocks")
        return value[:blocks]

    def raw(self, key: str) -> Value:
        return self._values[key]


def _narrowest(value: Value) -> int:
    return min(value, default=1) if isinstance(value, tuple) else 1 if value is None else value


def _layers(
    found: _Found, scheme: Scheme, blocks: int, main: int, embedding: int
) -> tuple[LayerCache, ...]:
    state = _state(found, scheme, embedding)
    if scheme.is_recurrent_only:
        return (LayerCache(state=state),) * blocks
    heads = found.by_layer("attention.head_count", blocks)
    if heads is None:
        raise missing_fact("attention.head_count")
    # an absent key means one key head for each head: llama.cpp `llama_model_base::load_hparams`
    kv_heads = found.by_layer("attention.head_count_kv", blocks) or heads
    key = _head_length(found, scheme, embedding)
    value = found.optional("attention.value_length") or key
    key_swa = found.optional("attention.key_length_swa") or key
    value_swa = found.optional("attention.value_length_swa") or value
    window = _window(found, scheme)
    slides = sliding_layers(scheme, found.raw("attention.sliding_window_pattern"), blocks, window)
    interval = found.optional("full_attention_interval") or scheme.attention_interval
    widths = found.by_layer("feed_forward_length", blocks) if scheme.has_plain_blocks else None
    owners = _owners(found, scheme, main)
    layers = []
    for block in range(blocks):
        recurs = scheme.recurs(block, interval, kv_heads[block]) and block < main
        if recurs and widths is not None and widths[block]:
            recurs = False  # neither attention nor recurrence, just a feed-forward block
        attends = not recurs or scheme.does_both
        if owners <= block < main:
            attends = False
        count = kv_heads[block] if attends else 0
        layers.append(
            LayerCache(
                key=count * (key_swa if slides[block] else key),
                value=count * (value_swa if slides[block] else value),
                slides=slides[block],
                state=state if recurs else 0,
            )
        )
    return tuple(layers)


def _window(found: _Found, scheme: Scheme) -> int:
    given = found.optional("attention.sliding_window")
    return scheme.default_window if given is None else given


def _owners(found: _Found, scheme: Scheme, main: int) -> int:
    """Returns how many blocks have a cache of their own; the rest reuse theirs.

    Source: llama.cpp `llama_hparams::n_layer_kv_from_start`, set in `src/models/gemma3n.cpp` and
    `gemma4.cpp`.
    """
    shared = found.optional("attention.shared_kv_layers")
    if shared is None:
        return scheme.caching_blocks or main
    return max(main - shared, 0)


def _head_length(found: _Found, scheme: Scheme, embedding: int) -> int:
    """Returns the elements of one key; by default the embedding split over the heads."""
    given = found.optional("attention.key_length")
    if given or scheme.is_recurrent_only:
        return given or 0
    heads = found.widest("attention.head_count")
    if not heads:
        raise missing_fact("attention.head_count")
    return embedding // heads


def _state(found: _Found, scheme: Scheme, embedding: int) -> int:
    """Returns the recurrent elements of one layer and sequence.

    Source: llama.cpp `src/llama-hparams.cpp: n_embd_r, n_embd_s`.
    """
    if not scheme.has_state:
        return 0
    if scheme.state_kind == "rwkv":
        shifts = found.optional("token_shift_count") or 2
        return embedding * (shifts + found.required("wkv.head_size"))
    if scheme.state_kind == "shortconv":
        return embedding * (found.required("shortconv.l_cache") - 1)
    inner, state = found.required("ssm.inner_size"), found.required("ssm.state_size")
    groups = found.optional("ssm.group_count")
    if groups is None:
        if scheme.needs_groups:
            raise missing_fact("ssm.group_count")
        groups = 0
    rows = max(found.required("ssm.conv_kernel") - 1, 0)
    return rows * (inner + 2 * groups * state) + state * inner


def _latent(found: _Found, scheme: Scheme, blocks: int) -> Latent | None:
    rank = found.optional("attention.kv_lora_rank")
    if not scheme.is_latent or not rank:
        return None
    rope = found.required("rope.dimension_count")
    index = 0
    if scheme.is_indexed:
        index = found.required("attention.indexer.key_length")
    return Latent(
        row=rank + rope,
        has_split_weights=bool(found.optional("attention.key_length_mla")),
        index_rows=tuple(index * has for has in _indexers(found, blocks)),
    )


def _indexers(found: _Found, blocks: int) -> tuple[int, ...]:
    """Returns for each block whether it keeps an index.

    Source: llama.cpp `src/models/glm-dsa.cpp`: every block, but of GLM 5.2 (known by its trained
    context) the first two and then every fourth; the file's own list goes first.
    """
    given = found.by_layer("attention.indexer.types", blocks)
    if given is not None:
        return tuple(int(bool(flag)) for flag in given)
    if (found.optional("context_length") or 0) < _GLM_5_2_CONTEXT:
        return (1,) * blocks
    return tuple(int(block < 2 or (block - 2) % 4 == 0) for block in range(blocks))
