"""The GGUF reader on sound files, checked against another reader, and on hostile ones."""

from __future__ import annotations

import math
import os
import struct
import time
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import gguf
import gguf_bytes as raw
import numpy as np
import pytest
from gguf_bytes import write_sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from warmset.adapters.gguf import FileSource, part_names, read_file, read_header, read_parts
from warmset.adapters.gguf.header import TENSOR_TYPES
from warmset.adapters.gguf.source import MAX_HEADER_BYTES
from warmset.core.model import Tensor
from warmset.core.units import GIB, MIB
from warmset.errors import ConfigError, FactsError


class Bytes:
    """A source in memory that counts what is asked of it."""

    def __init__(self, content: bytes, size: int | None = None) -> None:
        self.content, self.name, self.size_bytes = content, "memory", size
        self.transferred = self.end = 0

    def read(self, offset: int, count: int) -> bytes:
        assert offset >= self.end, "the reader went back"
        assert count > 0
        part = self.content[offset : offset + count]
        self.end, self.transferred = offset + len(part), self.transferred + len(part)
        return part


def read(content: bytes):
    return read_header(Bytes(content))


def written_by_gguf(path: Path, endian: gguf.GGUFEndian, **kwargs: object) -> gguf.GGUFWriter:
    return gguf.GGUFWriter(path, "llama", endianess=endian, **kwargs)


def fill(writer: gguf.GGUFWriter) -> None:
    writer.add_uint32("llama.block_count", 2)
    writer.add_int32("llama.minus", -5)
    writer.add_uint64("llama.big", 1 << 40)
    writer.add_float32("llama.eps", 0.5)
    writer.add_float64("llama.double", 1e-9)
    writer.add_uint8("llama.u8", 200)
    writer.add_int8("llama.i8", -100)
    writer.add_uint16("llama.u16", 60000)
    writer.add_int16("llama.i16", -30000)
    writer.add_int64("llama.i64", -(1 << 40))
    writer.add_bool("llama.yes", True)
    writer.add_array("llama.attention.head_count_kv", [8, 0, 4])
    writer.add_array("general.tags", ["a", "b"])
    writer.add_array("llama.pattern", [True, False])
    writer.add_array("tokenizer.ggml.tokens", [f"tok{i}" for i in range(500)])
    writer.add_array("tokenizer.ggml.scores", [0.5] * 500)
    for name in ("token_embd.weight", "blk.0.attn_q.weight", "blk.1.attn_q.weight"):
        writer.add_tensor(name, np.zeros((4, 64), dtype=np.float16))
    writer.add_tensor("output_norm.weight", np.zeros(64, dtype=np.float32))


def close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.parametrize("endian", [gguf.GGUFEndian.LITTLE, gguf.GGUFEndian.BIG])
def test_the_reader_agrees_with_the_reference_package(
    tmp_path: Path, endian: gguf.GGUFEndian
) -> None:
    """Facts, tensors, shapes and the start of the weights, in both byte orders."""
    path = tmp_path / "m.gguf"
    writer = written_by_gguf(path, endian)
    fill(writer)
    close(writer)
    reference = gguf.GGUFReader(path)
    with FileSource(path) as source:
        header = read_header(source)
    assert header.is_big_endian == (endian is gguf.GGUFEndian.BIG)
    assert header.data_offset == reference.data_offset
    assert header.whole_bytes <= path.stat().st_size < header.whole_bytes + 64
    expected = {f.name: f for f in reference.fields.values() if not f.name.startswith("GGUF.")}
    for key, value in header.facts.items():
        if key.endswith(".length"):
            assert value == len(expected.pop(key.removesuffix(".length")).data)
            continue
        content = expected.pop(key).contents()
        assert (list(value) if isinstance(value, tuple) else value) == content
        assert isinstance(value, bool) == isinstance(content, bool)
    assert not expected
    assert [(t.name, t.type, list(t.shape)) for t in header.tensors] == [
        (t.name, t.tensor_type.name, t.shape.tolist()) for t in reference.tensors
    ]


def test_every_tensor_type_has_the_name_of_the_reference_package() -> None:
    """No type is missing; 4 is what Ollama's first gpt-oss files used."""
    named = {kind.value: kind.name for kind in gguf.GGMLQuantizationType}
    assert {**named, 4: "MXFP4"} == dict(TENSOR_TYPES)


@pytest.mark.parametrize("order", ["<", ">"])
def test_version_two_reads_like_version_three(order: str) -> None:
    """The only difference between them was the byte order."""
    facts = [raw.number("a.b", 7, order)]
    two = read(raw.header(facts, version=2, order=order))
    three = read(raw.header(facts, version=3, order=order))
    assert (two.version, three.version) == (2, 3)
    assert two.facts == three.facts == {"a.b": 7}


def test_the_first_gpt_oss_files_are_understood() -> None:
    """Type 4 has the 17 bytes per 32 elements of MXFP4."""
    header = read(raw.header([], [raw.tensor("blk.0.x", (64,), 4)]))
    assert header.tensors == (Tensor(name="blk.0.x", type="MXFP4", shape=(64,)),)
    assert header.whole_bytes == header.data_offset + 64  # 34, padded to 32


def test_a_type_from_the_future_leaves_the_size_unknown() -> None:
    """It keeps its number; nothing is guessed."""
    header = read(raw.header([], [raw.tensor("blk.0.x", (64,), 999)]))
    assert header.tensors[0].type == "type 999"
    assert header.whole_bytes is None


def test_values_that_no_fact_can_hold_are_unknown_not_zero() -> None:
    """Infinities, and arrays too long to matter, are `None`."""
    header = read(
        raw.header(
            [
                raw.fact("a.inf", raw.F32, struct.pack("<f", math.inf)),
                raw.fact("a.long", raw.ARRAY, raw.array(0, 5000, bytes(5000))),
                raw.fact("a.nested", raw.ARRAY, raw.array(9, 1, raw.array(0, 2, b"\1\2"))),
            ]
        )
    )
    assert header.facts == {"a.inf": None, "a.long": None, "a.nested": ((1, 2),)}


def test_texts_cannot_steer_a_terminal_and_are_cut() -> None:
    """Control characters become `?`; a chat template of a megabyte is not kept."""
    header = read(raw.header([raw.word("a.b", "x\x1b[31m"), raw.word("a.c", "y" * MIB)]))
    assert header.facts["a.b"] == "x?[31m"
    assert header.facts["a.c"] == "y" * 4096


HUGE = 1 << 62
BAD = {
    "empty": b"",
    "not GGUF": b"PK\3\4" + bytes(100),
    "only the magic": b"GGUF",
    "version 1": raw.header(version=1),
    "version 4": raw.header(version=4),
    "huge counts": raw.header(counts=(HUGE, HUGE)),
    "many keys that are not there": raw.header(counts=(0, 16000)),
    "huge key": raw.header(counts=(0, 1)) + struct.pack("<Q", HUGE),
    "empty key": raw.header([raw.number("", 1)]),
    "key that is no text": raw.header(counts=(0, 1)) + raw.text(b"\xff\xfe") + bytes(8),
    "huge text": raw.header([raw.fact("a", raw.TEXT, struct.pack("<Q", HUGE))]),
    "huge array": raw.header([raw.fact("a", raw.ARRAY, raw.array(0, HUGE))]),
    "huge tokenizer": raw.header([raw.fact("tokenizer.x", raw.ARRAY, raw.array(8, HUGE))]),
    "huge token": raw.header(
        [raw.fact("tokenizer.x", raw.ARRAY, raw.array(8, 2, struct.pack("<Q", HUGE)))]
    ),
    "unknown type": raw.header([raw.fact("a", 13, bytes(8))]),
    "array of unknown type": raw.header([raw.fact("a", raw.ARRAY, raw.array(77, 1, bytes(8)))]),
    "arrays all the way down": raw.header(
        [raw.fact("a", raw.ARRAY, b"".join(raw.array(9, 1) for _ in range(500)))]
    ),
    "tokenizer arrays all the way down": raw.header(
        [raw.fact("tokenizer.a", raw.ARRAY, b"".join(raw.array(9, 1) for _ in range(500)))]
    ),
    "a key twice": raw.header([raw.number("a", 1), raw.number("a", 2)]),
    "a tensor twice": raw.header([], [raw.tensor("t", (1,)), raw.tensor("t", (1,))]),
    "nine dimensions": raw.header([], [raw.tensor("t", (1,) * 9)]),
    "alignment 0": raw.header([raw.number("general.alignment", 0)]),
    "alignment 3": raw.header([raw.number("general.alignment", 3)]),
    "alignment as text": raw.header([raw.word("general.alignment", "32")]),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD.keys())
def test_hostile_headers_are_refused_by_name(content: bytes) -> None:
    """A typed refusal that names the file, at once and without memory for what it claims."""
    tracemalloc.start()
    begun = time.process_time()
    try:
        with pytest.raises(FactsError, match="memory: no sound GGUF header") as caught:
            read(content)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()
    assert time.process_time() - begun < 2
    assert "at_bytes" in caught.value.context


def test_a_header_without_end_is_left_at_the_limit() -> None:
    """A stream that never ends is read up to the limit, no further."""

    class Endless(Bytes):
        def read(self, offset: int, count: int) -> bytes:
            self.transferred += count
            return bytes([8]) * count

    source = Endless(b"")
    start = raw.header(counts=(0, 1)) + raw.text("tokenizer.t")
    start += struct.pack("<I", raw.ARRAY) + raw.array(raw.TEXT, 1 << 22)

    def once(offset: int, count: int) -> bytes:
        body = struct.pack("<Q", 100) + bytes(100)
        source.transferred += count
        head = start if offset == 0 else b""
        shift = 0 if offset == 0 else (offset - len(start)) % len(body)
        return (head + (body * (count // len(body) + 2))[shift:])[:count]

    source.read = once
    with pytest.raises(FactsError, match="longer than 64 MiB"):
        read_header(source)
    assert source.transferred <= MAX_HEADER_BYTES


@pytest.mark.parametrize("order", ["<", ">"])
def test_cut_off_anywhere_it_is_refused(order: str) -> None:
    """No prefix of a header passes for a whole one."""
    whole = raw.tiny_llama(vocabulary=5, order=order)
    assert len(read(whole).tensors) == 4
    for length in range(len(whole)):
        with pytest.raises(FactsError):
            read(whole[:length])
        with pytest.raises(FactsError):
            read_header(Bytes(whole[:length], size=length))


@settings(max_examples=300)
@given(st.data())
def test_any_damage_gives_a_header_or_a_refusal(data: st.DataObject) -> None:
    """Whatever bytes are changed, inserted or cut, nothing else than `FactsError` comes out."""
    content = bytearray(raw.tiny_llama(vocabulary=5, order=data.draw(st.sampled_from("<>"))))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(content) - 1))
        match data.draw(st.sampled_from(("set", "word", "cut", "insert"))):
            case "set":
                content[at] = data.draw(st.integers(0, 255))
            case "word":
                content[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
            case "cut":
                del content[at : at + data.draw(st.integers(1, 40))]
            case _:
                content[at:at] = data.draw(st.binary(min_size=1, max_size=20))
        if not content:
            break
    try:
        header = read(bytes(content))
    except FactsError:
        return
    assert all(text.isprintable() for text in header.facts)
    assert all(tensor.name.isprintable() for tensor in header.tensors)


@given(st.binary(max_size=400))
def test_any_bytes_after_the_magic_give_a_header_or_a_refusal(tail: bytes) -> None:
    """Random bytes never crash the reader."""
    for head in (b"GGUF\3\0\0\0", b"GGUF\0\0\0\3", b"GGUF", b""):
        try:
            read(head + tail)
        except FactsError:
            continue


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12),
            st.integers(0, 2**32 - 1) | st.booleans() | st.text(max_size=30),
        ),
        max_size=20,
        unique_by=lambda pair: pair[0],
    ),
    st.sampled_from("<>"),
)
def test_what_is_written_is_read(pairs: list[tuple[str, object]], order: str) -> None:
    """Any keys and values come back, in any byte order."""
    facts = []
    for key, value in pairs:
        if isinstance(value, bool):
            facts.append(raw.fact(key, raw.BOOL, bytes([value]), order))
        elif isinstance(value, int):
            facts.append(raw.number(key, value, order))
        else:
            facts.append(raw.word(key, str(value), order))
    found = read(raw.header(facts, order=order)).facts
    shown = {k: v if not isinstance(v, str) or v.isprintable() else found[k] for k, v in pairs}
    assert found == shown


def test_the_header_of_a_large_file_costs_little(tmp_path: Path) -> None:
    """Of 40 GB with a vocabulary of 262,144 only the header and one chunk more are read."""
    head = raw.tiny_llama(vocabulary=1 << 18)
    path = write_sparse(tmp_path / "big.gguf", head, 40 * 10**9)
    source = Bytes(head + bytes(8 * MIB), size=path.stat().st_size)
    read_header(source)
    assert source.transferred < len(head) + MIB
    begun = time.process_time()
    model = read_file(path)
    assert time.process_time() - begun < 2
    assert model.file_bytes == 40 * 10**9
    assert model.facts["tokenizer.ggml.tokens.length"] == 1 << 18


def test_skipped_number_tables_are_not_transferred() -> None:
    """Scores and token types are stepped over."""
    scores = raw.fact("tokenizer.ggml.scores", raw.ARRAY, raw.array(6, 1 << 20, bytes(4 << 20)))
    source = Bytes(raw.header([scores, raw.number("a.b", 1)]))
    assert read_header(source).facts == {"tokenizer.ggml.scores.length": 1 << 20, "a.b": 1}
    assert source.transferred < 2 * MIB


def split_model(folder: Path) -> Path:
    writer = written_by_gguf(folder / "m.gguf", gguf.GGUFEndian.LITTLE, split_max_tensors=2)
    fill(writer)
    close(writer)
    return folder / "m-00001-of-00002.gguf"


def test_split_files_are_one_model(tmp_path: Path) -> None:
    """Any part leads to all: the first's facts, the tensors and bytes of all."""
    first = split_model(tmp_path)
    second = tmp_path / "m-00002-of-00002.gguf"
    model = read_file(first)
    assert read_file(second) == model
    assert model.facts["llama.block_count"] == 2
    assert len(model.tensors) == 4
    assert model.file_bytes == first.stat().st_size + second.stat().st_size


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    """The error names the file that is not there."""
    first = split_model(tmp_path)
    (tmp_path / "m-00002-of-00002.gguf").unlink()
    with pytest.raises(ConfigError, match="m-00002-of-00002.gguf"):
        read_file(first)


def test_parts_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    """Parts of another count, and the same part under two names."""
    first = split_model(tmp_path)
    second = tmp_path / "m-00002-of-00002.gguf"
    second.write_bytes(first.read_bytes())
    with pytest.raises(FactsError, match="the same tensor is in two parts"):
        read_file(first)
    for number in (1, 2, 3):
        (tmp_path / f"n-{number:05}-of-00003.gguf").write_bytes(first.read_bytes())
    with pytest.raises(FactsError, match=r"split\.count is 2, the name says 3"):
        read_file(tmp_path / "n-00001-of-00003.gguf")


def test_names_of_parts() -> None:
    """Whole files stand alone, an impossible number is refused, query strings survive."""
    assert part_names("x.gguf") == ("x.gguf",)
    assert part_names("u/x-00002-of-00002.gguf?download=true") == (
        "u/x-00001-of-00002.gguf?download=true",
        "u/x-00002-of-00002.gguf?download=true",
    )
    for name in ("x-00004-of-00003.gguf", "x-00000-of-00003.gguf", "x-00001-of-99999.gguf"):
        with pytest.raises(FactsError, match="cannot be"):
            part_names(name)


def test_a_download_that_broke_off_is_told(tmp_path: Path) -> None:
    """A file shorter than its table says counts as whole, with a note."""
    path = tmp_path / "m.gguf"
    path.write_bytes(raw.tiny_llama(vocabulary=5))
    model = read_file(path)
    assert "is cut off" in model.notes[0]
    assert model.file_bytes > path.stat().st_size


def test_where_no_size_is_told_the_table_gives_it() -> None:
    """A stream without a length has the size that its tensors add up to."""

    @contextmanager
    def opened(name: str):
        yield Bytes(raw.tiny_llama(vocabulary=5))

    assert read_parts("x", opened).file_bytes == read(raw.tiny_llama(vocabulary=5)).whole_bytes


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "locked", "nul"])
def test_what_is_no_readable_file_is_a_usage_error(tmp_path: Path, kind: str) -> None:
    """Also a pipe, which must not block."""
    path = tmp_path / "x.gguf"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "locked":
        path = Path("/proc/self/mem")  # a regular file whose first bytes cannot be read
    elif kind == "nul":
        path = tmp_path / "x\0.gguf"
    with pytest.raises((ConfigError, FactsError)):
        read_file(path)


def test_sizes_beyond_any_disk_are_sums_not_crashes() -> None:
    """A tensor of impossible shape makes the whole size unknown."""
    header = read(raw.header([], [raw.tensor("blk.0.x", (GIB, GIB, GIB))]))
    assert header.whole_bytes is None
