"""GGUF keys read and checked: whole numbers within bounds, arrays of bounded length.

Values come from files and servers we do not control. Whatever they are, the answer is a value
that a model can have, or a `FactsError` that names the key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from itertools import repeat
from typing import Final

from warmset.core.model import Facts
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
    "kda.head_dim": 1 << 12,
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
KEYS: Final = (
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
    "kda.head_dim",
    "token_shift_count",
)

Value = int | tuple[int, ...] | None
"""One value: a number, an array, or absent. An empty array was not sent."""


def read_values(facts: Facts, architecture: str) -> tuple[Value, ...]:
    """Returns the values of `KEYS`, in that order, for `Found`.

    Args:
        facts: GGUF keys with or without the architecture prefix.
        architecture: the prefix.

    Raises:
        FactsError: a value that no model can have.
    """
    raws = tuple(map(facts.get, _names(architecture), repeat(_ABSENT)))
    kinds = tuple(map(type, raws))
    # equal numbers of other types are other values: True is no 1. Arrays hide the types inside.
    check = _check_all.__wrapped__ if tuple in kinds or list in kinds else _check_all
    values = check(raws, kinds)
    if values[_VOCABULARY] is None:
        tokens = facts.get("tokenizer.ggml.tokens")
        if isinstance(tokens, tuple | list):
            count = min(len(tokens), _LIMITS["vocab_size"])
            return (*values[:_VOCABULARY], count, *values[_VOCABULARY + 1 :])
    return values


_ABSENT: Final = object()
_NOT_SENT: Final = ()
"""Marks an array key whose value was withheld, as `/api/show` does without `verbose`."""
_VOCABULARY: Final = KEYS.index("vocab_size")


@lru_cache(maxsize=256)
def _names(architecture: str) -> tuple[str, ...]:
    """Returns the keys with their prefix, then without it."""
    return (*(f"{architecture}.{key}" for key in KEYS), *KEYS)


@lru_cache(maxsize=512)
def _check_all(raws: tuple[object, ...], _kinds: tuple[type, ...]) -> tuple[Value, ...]:
    values: list[Value] = []
    for key, full, plain in zip(KEYS, raws, raws[len(KEYS) :], strict=False):
        raw = plain if full is None or full is _ABSENT else full
        if raw is None or raw is _ABSENT:
            is_absent = full is plain is _ABSENT
            values.append(None if is_absent or key not in _ARRAYS else _NOT_SENT)
        elif type(raw) is int and 0 <= raw <= _LIMITS.get(key, _LIMIT):
            values.append(raw)
        else:
            values.append(_checked(key, raw))
    return tuple(values)


def missing_fact(key: str, why: str = "is missing") -> FactsError:
    """Returns the refusal that names `key`."""
    return FactsError(
        f"{key} {why}",
        hint="if a server withheld it, its verbose /api/show or the GGUF file has it",
        context={"key": key},
    )


def _checked(key: str, raw: object) -> Value:
    if isinstance(raw, tuple | list):
        if key not in _ARRAYS or len(raw) > 2 * MAX_BLOCKS:
            raise missing_fact(key, f"is an array of {len(raw)}, which no model has")
        numbers = [item for item in raw if type(item) is int]
        plain = len(numbers) == len(raw) > 0
        if plain and 0 <= min(numbers) <= max(numbers) <= _LIMITS.get(key, 1):
            return tuple(numbers)
        return tuple(_number(key, item) for item in raw)
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


class Found:
    """The values read, with the refusals."""

    __slots__ = ("_values",)

    def __init__(self, values: tuple[Value, ...]) -> None:
        self._values = dict(zip(KEYS, values, strict=True))

    def required(self, key: str) -> int:
        """Returns a number that must be there and not be 0."""
        value = self.optional(key)
        if not value:
            raise missing_fact(key, "is missing" if value is None else "is 0")
        return value

    def optional(self, key: str) -> int | None:
        """Returns a number, or `None` where it is absent."""
        value = self._values[key]
        assert not isinstance(value, tuple), key  # only keys in `_ARRAYS` may hold arrays
        return value

    def widest(self, key: str) -> int | None:
        """Returns a number, or the largest of an array."""
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
        """Returns the value as it was read."""
        return self._values[key]
