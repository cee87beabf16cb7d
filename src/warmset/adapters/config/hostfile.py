"""A file that describes a pretended host, for `twin://FILE.toml`.

ram = "64GiB"
[gpu.0]
name = "NVIDIA GeForce RTX 3090"
memory = "24GiB"
count = 2                       # that many alike
foreign = "600MiB"              # held by other programs, on each of them
[env]
OLLAMA_MAX_LOADED_MODELS = "6"  # as the pretended server is started
[model."qwen2.5:14b"]           # one that the twin knows: nothing more to say
[model."mine:7b"]
like = "llama3.1:8b"            # the architecture of a known one,
file = "4.6GB"                  # with another size
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from warmset.adapters.config.document import dotted, find_lines, parse_toml, read_text, shorten
from warmset.errors import ConfigError

if TYPE_CHECKING:
    from pydantic import ValidationError


@dataclass(frozen=True, slots=True, kw_only=True)
class HostGpu:
    """One kind of GPU in the file. Units: bytes."""

    name: str
    library: str
    memory_bytes: int
    foreign_bytes: int
    count: int
    integrated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HostModel:
    """One installed model. `file_bytes` `None`: as large as the one it is like."""

    name: str
    like: str
    file_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFile:
    """What the file says. Units: bytes."""

    name: str
    ram_bytes: int
    gpus: tuple[HostGpu, ...]
    env: Mapping[str, str]
    models: tuple[HostModel, ...]


def load_host_file(path: Path) -> HostFile:
    """Returns a described host.

    Raises:
        ConfigError: the file cannot be read, or says something that no host can be.
    """
    from pydantic import Field, ValidationError

    from warmset.adapters.config.schema import Flag, Section, Size, Text

    class Gpu(Section):
        name: Text = "GPU"
        library: Literal["CUDA", "ROCm", "Vulkan", "Metal"] = "CUDA"
        memory: Size
        foreign: Size | None = None
        count: int = Field(default=1, strict=True, ge=1, le=64)
        integrated: Flag = False

    class Model(Section):
        like: Text | None = None
        file: Size | None = None

    class Document(Section):
        name: Text | None = None
        ram: Size
        gpu: dict[str, Gpu] = Field(default_factory=dict)
        env: dict[str, Text] = Field(default_factory=dict)
        model: dict[str, Model] = Field(default_factory=dict)

    text = read_text(path)
    tree = parse_toml(text, str(path))
    try:
        said = Document.model_validate(tree)
    except ValidationError as error:
        raise _refuse(error, path, text) from error
    return HostFile(
        name=said.name or path.stem,
        ram_bytes=int(said.ram),
        gpus=tuple(
            HostGpu(
                name=gpu.name,
                library=gpu.library,
                memory_bytes=int(gpu.memory),
                foreign_bytes=int(gpu.foreign or 0),
                count=gpu.count,
                integrated=gpu.integrated,
            )
            for gpu in said.gpu.values()
        ),
        env=dict(said.env),
        models=tuple(
            HostModel(
                name=name,
                like=model.like or name,
                file_bytes=None if model.file is None else int(model.file),
            )
            for name, model in said.model.items()
        ),
    )


def _refuse(error: ValidationError, path: Path, text: str) -> ConfigError:
    lines = find_lines(text)
    told = []
    for item in error.errors(include_url=False):
        key = tuple(str(part) for part in item["loc"])
        line = next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), 1)
        problem = item["msg"].removeprefix("Value error, ")
        told.append(f"{path}:{line}: {dotted(key)} = {shorten(item['input'])}: {problem}")
    return ConfigError(
        "\n".join(told),
        hint="a host needs `ram`, and a `memory` for each [gpu.N]; see the README",
        context={"path": str(path), "errors": tuple(told)},
    )
