"""The file, the environment and the flags laid over each other, with the source of each value."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from warmset.adapters.config.document import KeyPath, find_lines, parse_toml, read_text
from warmset.adapters.config.locate import find_file
from warmset.errors import ConfigError

URL: KeyPath = ("ollama", "url")


@dataclass(slots=True)
class Layers:
    """The values of all sources as one tree, and where each of them came from."""

    name: str = "configuration"  # the file as messages name it
    path: str = ""
    tree: dict[str, object] = field(default_factory=dict)
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    overlaid: dict[KeyPath, str] = field(default_factory=dict)

    def origin(self, path: KeyPath) -> str:
        """Returns where a key came from: `--host`, `WARMSET_…` or `FILE:LINE`."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.overlaid:
                return self.overlaid[path[:length]]
            if path[:length] in self.lines:
                return f"{self.name}:{self.lines[path[:length]]}"
        return self.name

    def overlay(self, path: KeyPath, value: object, origin: str) -> None:
        """Puts a value above what is there."""
        table = self.tree
        for key in path[:-1]:
            inner = table.setdefault(key, {})
            if not isinstance(inner, dict):
                return  # the file is wrong here, and the report says so
            table = inner
        table[path[-1]] = value
        self.overlaid[path] = origin


def read_layers(
    *, config: str | None, host: str | None, look_here: bool, changes: Sequence[str] = ()
) -> Layers:
    """Returns everything that was said, unchecked.

    Raises:
        ConfigError: if the file cannot be read or is not TOML, or a change is no `KEY=VALUE`.
    """
    layers = Layers()
    path = find_file(config, look_here=look_here)
    if path is not None:
        text = read_text(path)
        layers.name = layers.path = str(path)
        layers.tree = parse_toml(text, layers.name)
        layers.lines = find_lines(text)
    for name, value in sorted(os.environ.items()):
        if name.startswith("WARMSET_") and "__" in name:
            keys = tuple(name.removeprefix("WARMSET_").lower().split("__"))
            layers.overlay(keys, _value_of(value), name)
    for change in changes:
        layers.overlay(*_read_change(change), f"--set {change}")
    for origin, url in (("--host", host), ("WARMSET_HOST", os.environ.get("WARMSET_HOST"))):
        if url:
            layers.overlay(URL, url, origin)
            return layers
    if not _has_url(layers) and os.environ.get("OLLAMA_HOST", "").strip():
        layers.overlay(URL, os.environ["OLLAMA_HOST"], "OLLAMA_HOST")
    return layers


def _read_change(change: str) -> tuple[KeyPath, object]:
    """Returns the key and the value of `policy.tick=10s` or `model."a:7b".pin=true`."""
    key, equals, text = change.partition("=")
    path: list[str] = []
    try:
        tree = tomllib.loads(f"{key} = 0")
        while isinstance(tree, dict):
            ((part, tree),) = tree.items()
            path.append(part)
    except (ValueError, RecursionError):
        path = []
    if not equals or not path or "\n" in key:
        raise ConfigError(
            f"--set {change}: should be KEY=VALUE",
            hint="such as --set policy.tick=10s or --set 'model.\"qwen2.5:7b\".pin=true'",
        )
    try:
        value: object = tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        value = text.strip()  # a word without quotes
    return tuple(path), value


def _has_url(layers: Layers) -> bool:
    section = layers.tree.get("ollama", {})
    return not isinstance(section, dict) or "url" in section


def _value_of(text: str) -> object:
    """Returns what a variable says: numbers and truth values as in TOML, all else as text."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    value = parsed["value"]
    return value if len(parsed) == 1 and isinstance(value, int | float) else text
