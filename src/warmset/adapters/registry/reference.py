"""Names of models as Ollama's registries know them: `[HOST/][NAMESPACE/]MODEL[:TAG]`.

`hf.co/USER/REPO:QUANT` is such a name, since that hub speaks the registry's protocol.

Source: Ollama v0.33 `types/model/name.go` (parts, defaults, allowed characters, lengths).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from warmset.errors import ConfigError

DEFAULT_REGISTRY: Final = "https://registry.ollama.ai"
_HUBS: Final = ("hf.co", "huggingface.co", "www.huggingface.co")
_NAMESPACE: Final = "library"
_TAG: Final = "latest"
_PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One published model.

    Attributes:
        base: scheme and host of its registry, without a slash at the end.
        repository: namespace and model.
        name: as people write it, with its tag.
    """

    base: str
    repository: str
    tag: str
    name: str

    @property
    def manifest_url(self) -> str:
        """Where its manifest is."""
        return f"{self.base}/v2/{self.repository}/manifests/{self.tag}"

    def blob_url(self, digest: str) -> str:
        """Where one of its files is."""
        return f"{self.base}/v2/{self.repository}/blobs/{digest}"


def is_link(text: str) -> bool:
    """Whether this is the URL of a file, not a name."""
    return text.lower().startswith(("http://", "https://"))


def file_url(text: str) -> str:
    """Returns where the bytes behind a link are; a hub's page about a file leads to the file.

    Raises:
        ConfigError: it is no URL with a host.
    """
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or not text.isprintable() or " " in text:
        raise ConfigError(f"{text[:200]!r} is no URL", hint="https://HOST/PATH/FILE.gguf")
    if host in _HUBS:
        return text.replace("/blob/", "/resolve/", 1)
    return text


def parse_reference(text: str, *, registry: str = DEFAULT_REGISTRY) -> Reference:
    """Returns where a model of this name is published.

    Args:
        text: the name.
        registry: base URL for names without a host.

    Raises:
        ConfigError: no model can have this name.
    """
    path, tag = text.strip(), _TAG
    head, colon, last = path.rpartition(":")
    if colon and "/" not in last:
        path, tag = head, last
    parts = path.split("/")
    host = parts.pop(0) if len(parts) == 3 else ""
    namespace = parts.pop(0) if len(parts) == 2 else _NAMESPACE
    model = parts.pop(0) if len(parts) == 1 else ""
    is_sound = all(_PART.fullmatch(part) for part in (namespace, model, tag))
    if parts or not is_sound or (host and not _HOST.fullmatch(host)):
        raise ConfigError(
            f"{text[:200]!r} is no model's name",
            hint="[HOST/][NAMESPACE/]MODEL[:TAG], hf.co/USER/REPO:QUANT, a URL, or a path",
            context={"model": text[:200]},
        )
    base = f"https://{host}" if host else registry.rstrip("/")
    shown = f"{host}/{namespace}/" if host else f"{namespace}/" if namespace != _NAMESPACE else ""
    return Reference(
        base=base, repository=f"{namespace}/{model}", tag=tag, name=f"{shown}{model}:{tag}"
    )
