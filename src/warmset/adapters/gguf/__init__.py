"""GGUF headers: architecture facts and the tensor table, without the weights."""

from warmset.adapters.gguf.header import Header, read_header
from warmset.adapters.gguf.parts import GgufModel, part_names, read_file, read_parts
from warmset.adapters.gguf.source import ByteSource, FileSource

__all__ = [
    "ByteSource",
    "FileSource",
    "GgufModel",
    "Header",
    "part_names",
    "read_file",
    "read_header",
    "read_parts",
]
