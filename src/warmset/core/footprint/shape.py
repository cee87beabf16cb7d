"""One model's numbers, block by block: what each caches, and how wide its passes are.

The rule of this file: what decides the cache is required, and its absence is a `FactsError` that
names the key; what only decides scratch memory may be missing, and is then listed in
`Shape.missing`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from warmset.core.footprint.architectures import Scheme, scheme_of, sliding_layers
from warmset.core.footprint.facts import Found, Value, missing_fact, read_values
from warmset.core.model import Facts

_GLM_5_2_CONTEXT: Final = 1 << 20


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

    row: int  # elements for each cell and block
    rank: int  # the part of a row that older runtimes stored again as values
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
    pools: bool  # the file pools its output into one embedding
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
    def embeds(self) -> bool:
        """Whether Ollama loads it to embed: encoders, and decoders that pool their output."""
        return self.pools or self.is_encoder

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
    keys = ("pooling_type", f"{architecture}.pooling_type")
    pools = any(facts.get(key) is not None for key in keys)
    scheme = scheme_of(architecture, pools=pools)
    return _shape(architecture, scheme, pools, read_values(facts, architecture))


@lru_cache(maxsize=512)
def with_vocabulary(shape: Shape, vocabulary: int) -> Shape:
    """Returns `shape` with the rows that the embedding really has: padding counts."""
    missing = tuple(key for key in shape.missing if key != "vocab_size")
    return replace(shape, vocabulary=vocabulary, missing=missing)


@lru_cache(maxsize=512)
def _shape(architecture: str, scheme: Scheme, pools: bool, values: tuple[Value, ...]) -> Shape:
    found = Found(values)
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
        pools=pools,
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


def _narrowest(value: Value) -> int:
    return min(value, default=1) if isinstance(value, tuple) else 1 if value is None else value


def _layers(
    found: Found, scheme: Scheme, blocks: int, main: int, embedding: int
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


def _window(found: Found, scheme: Scheme) -> int:
    given = found.optional("attention.sliding_window")
    if given is None and scheme.needs_window:
        raise missing_fact("attention.sliding_window")
    return scheme.default_window if given is None else given


def _owners(found: Found, scheme: Scheme, main: int) -> int:
    """Returns how many blocks have a cache of their own; the rest reuse theirs.

    Source: llama.cpp `llama_hparams::n_layer_kv_from_start`, set in `src/models/gemma3n.cpp` and
    `gemma4.cpp`.
    """
    shared = found.optional("attention.shared_kv_layers")
    if shared is None:
        return scheme.caching_blocks or main
    return max(main - shared, 0)


def _head_length(found: Found, scheme: Scheme, embedding: int) -> int:
    """Returns the elements of one key; by default the embedding split over the heads."""
    given = found.optional("attention.key_length")
    if given or scheme.is_recurrent_only:
        return given or 0
    heads = found.widest("attention.head_count")
    if not heads:
        raise missing_fact("attention.head_count")
    return embedding // heads


def _state(found: Found, scheme: Scheme, embedding: int) -> int:
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
    if scheme.state_kind == "kda":
        # delta attention: a convolution each for queries, keys and values, and a square state
        head, rows = found.required("kda.head_dim"), found.required("ssm.conv_kernel") - 1
        heads = found.widest("attention.head_count") or 0
        return heads * head * (3 * rows + head)
    inner, state = found.required("ssm.inner_size"), found.required("ssm.state_size")
    groups = found.optional("ssm.group_count")
    if groups is None:
        if scheme.needs_groups:
            raise missing_fact("ssm.group_count")
        groups = 0
    rows = max(found.required("ssm.conv_kernel") - 1, 0)
    return rows * (inner + 2 * groups * state) + state * inner


def _latent(found: Found, scheme: Scheme, blocks: int) -> Latent | None:
    rank = found.optional("attention.kv_lora_rank")
    if not scheme.is_latent or not rank:
        return None
    rope = found.required("rope.dimension_count")
    index = 0
    if scheme.is_indexed:
        index = found.required("attention.indexer.key_length")
    return Latent(
        row=rank + rope,
        rank=rank,
        has_split_weights=bool(found.optional("attention.key_length_mla")),
        index_rows=tuple(index * has for has in _indexers(found, blocks)),
    )


def _indexers(found: Found, blocks: int) -> tuple[int, ...]:
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
