"""GGUF files made byte by byte, also wrong ones that no writer would make."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

U32, F32, BOOL, TEXT, ARRAY, U64 = 4, 6, 7, 8, 9, 10


def text(value: str | bytes, order: str = "<") -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack(order + "Q", len(raw)) + raw


def fact(key: str, kind: int, payload: bytes, order: str = "<") -> bytes:
    return text(key, order) + struct.pack(order + "I", kind) + payload


def number(key: str, value: int, order: str = "<") -> bytes:
    return fact(key, U32, struct.pack(order + "I", value), order)


def word(key: str, value: str, order: str = "<") -> bytes:
    return fact(key, TEXT, text(value, order), order)


def array(kind: int, count: int, payload: bytes = b"", order: str = "<") -> bytes:
    return struct.pack(order + "IQ", kind, count) + payload


def tokens(count: int, order: str = "<") -> bytes:
    """The key `tokenizer.ggml.tokens` with that many texts of 7 bytes."""
    one = text("token_x", order)
    return fact("tokenizer.ggml.tokens", ARRAY, array(TEXT, count, one * count, order), order)


def tensor(
    name: str, shape: Sequence[int], kind: int = 0, offset: int = 0, order: str = "<"
) -> bytes:
    sides = struct.pack(f"{order}I{len(shape)}Q", len(shape), *shape)
    return text(name, order) + sides + struct.pack(order + "IQ", kind, offset)


def header(
    facts: Sequence[bytes] = (),
    tensors: Sequence[bytes] = (),
    *,
    version: int = 3,
    order: str = "<",
    counts: tuple[int, int] | None = None,
) -> bytes:
    n_tensors, n_facts = counts or (len(tensors), len(facts))
    head = b"GGUF" + struct.pack(order + "IQQ", version, n_tensors, n_facts)
    return head + b"".join(facts) + b"".join(tensors)


LLAMA_NUMBERS = {
    "block_count": 2,
    "context_length": 8192,
    "embedding_length": 64,
    "feed_forward_length": 256,
    "attention.head_count": 4,
    "attention.head_count_kv": 2,
    "vocab_size": 1000,
}


def tiny_llama(*, vocabulary: int = 1000, order: str = "<") -> bytes:
    """The header of a two-block llama with F16 matrices: `tiny_llama_bytes` with the weights."""
    facts = [word("general.architecture", "llama", order)]
    facts += [number(f"llama.{key}", value, order) for key, value in LLAMA_NUMBERS.items()]
    facts.append(tokens(vocabulary, order))
    rows, offset = [], 0
    for name, shape in (
        ("token_embd.weight", (64, vocabulary)),
        ("blk.0.ffn_up.weight", (64, 256)),
        ("blk.1.ffn_up.weight", (64, 256)),
        ("output.weight", (64, vocabulary)),
    ):
        rows.append(tensor(name, shape, 1, offset, order))
        offset += 2 * shape[0] * shape[1]
    return header(facts, rows, order=order)


def write_sparse(path: Path, head: bytes, size_bytes: int) -> Path:
    """A file that begins with `head` and claims `size_bytes`, without taking them."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size_bytes)
    return path
