"""Well-known models: architecture facts and file sizes, for twin hosts and where no network is.

Source:
    Block and head counts, lengths and vocabularies are those of the models' public configuration
    files; file sizes are those of the Q4_K_M (embedders: F16) files of the Ollama library,
    rounded as the library shows them where the exact size was not at hand. Read November 2026.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from warmset.core.model import Facts
from warmset.errors import ConfigError

MB = 10**6
GB = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """One model of the catalogue. Units: bytes, tokens."""

    name: str
    file_bytes: int
    arch: str
    blocks: int
    embedding: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_dim: int
    trained_context: int
    vocab: int
    parameter_size: str
    quantization: str = "Q4_K_M"
    capabilities: tuple[str, ...] = ("completion", "tools")
    extra: tuple[tuple[str, int], ...] = ()

    @property
    def key(self) -> str:
        """A digest that stands for its weights, which are nowhere."""
        return "sha256:" + hashlib.sha256(f"weights {self.name}".encode()).hexdigest()

    @property
    def facts(self) -> Facts:
        """GGUF keys as `/api/show` sends them."""
        embeds_only = "completion" not in self.capabilities
        plain: dict[str, int] = {
            "block_count": self.blocks,
            "context_length": self.trained_context,
            "embedding_length": self.embedding,
            "feed_forward_length": self.feed_forward,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv_heads,
            "attention.key_length": self.head_dim,
            "attention.value_length": self.head_dim,
            "vocab_size": self.vocab,
            **dict(self.extra),
        }
        facts: dict[str, str | int | bool] = {"general.architecture": self.arch}
        facts |= {f"{self.arch}.{key}": value for key, value in plain.items()}
        if embeds_only:
            facts[f"{self.arch}.pooling_type"] = 1
            facts[f"{self.arch}.attention.causal"] = False
        return facts


def _llama(name: str, size: int, blocks: int, shape: str, parameters: str) -> KnownModel:
    """A dense model; `shape`: architecture, embedding/feed-forward/heads/kv/head/context/vocab."""
    arch, _, numbers = shape.partition(":")
    embedding, feed, heads, kv, head, context, vocab = (int(n) for n in numbers.split("/"))
    return KnownModel(
        name=name,
        file_bytes=size,
        arch=arch,
        blocks=blocks,
        embedding=embedding,
        feed_forward=feed,
        heads=heads,
        kv_heads=kv,
        head_dim=head,
        trained_context=context,
        vocab=vocab,
        parameter_size=parameters,
    )


_GEMMA3 = KnownModel(
    name="gemma3:12b",
    file_bytes=8_149_180_896,
    arch="gemma3",
    blocks=48,
    embedding=3840,
    feed_forward=15360,
    heads=16,
    kv_heads=8,
    head_dim=256,
    trained_context=131072,
    vocab=262144,
    parameter_size="12.2B",
    capabilities=("completion", "vision"),
    extra=(("attention.sliding_window", 1024), ("attention.sliding_window_pattern", 6)),
)
_NOMIC = KnownModel(
    name="nomic-embed-text:latest",
    file_bytes=274_290_560,
    arch="nomic-bert",
    blocks=12,
    embedding=768,
    feed_forward=3072,
    heads=12,
    kv_heads=12,
    head_dim=64,
    trained_context=2048,
    vocab=30522,
    parameter_size="137M",
    quantization="F16",
    capabilities=("embedding",),
)

_MODELS = (
    _llama("llama3.2:1b", 1_321_082_688, 16, "llama:2048/8192/32/8/64/131072/128256", "1.2B"),
    _llama("llama3.2:3b", 2_019_377_376, 28, "llama:3072/8192/24/8/128/131072/128256", "3.2B"),
    _llama("llama3.1:8b", 4_920_738_944, 32, "llama:4096/14336/32/8/128/131072/128256", "8.0B"),
    _llama("qwen2.5:7b", 4_683_073_184, 28, "qwen2:3584/18944/28/4/128/32768/152064", "7.6B"),
    _llama("qwen2.5-coder:1.5b", 986 * MB, 28, "qwen2:1536/8960/12/2/128/32768/151936", "1.5B"),
    _llama("qwen2.5-coder:7b", 4_683_073_952, 28, "qwen2:3584/18944/28/4/128/32768/152064", "7.6B"),
    _llama(
        "qwen2.5-coder:14b", 8_988_110_688, 48, "qwen2:5120/13824/40/8/128/32768/152064", "14.8B"
    ),
    _llama("qwen2.5:14b", 8_988_110_464, 48, "qwen2:5120/13824/40/8/128/32768/152064", "14.8B"),
    _llama("qwen2.5:32b", 19_851_335_840, 64, "qwen2:5120/27648/40/8/128/32768/152064", "32.8B"),
    _llama("qwen3:8b", 5_225_374_400, 36, "qwen3:4096/12288/32/8/128/40960/151936", "8.2B"),
    _llama("qwen3:32b", 20 * GB, 64, "qwen3:5120/25600/64/8/128/40960/151936", "32.8B"),
    _llama("mistral:7b", 4_372_811_936, 32, "llama:4096/14336/32/8/128/32768/32768", "7.2B"),
    _llama("phi4:14b", 9_053_114_816, 40, "phi3:5120/17920/40/10/128/16384/100352", "14.7B"),
    _llama("llama3.3:70b", 42_520_395_584, 80, "llama:8192/28672/64/8/128/131072/128256", "70.6B"),
    _GEMMA3,
    _NOMIC,
)

CATALOGUE: Mapping[str, KnownModel] = {model.name: model for model in _MODELS}


def known_model(name: str) -> KnownModel:
    """Returns a model of the catalogue.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        return CATALOGUE[name]
    except KeyError:
        raise ConfigError(
            f'nothing is built in about a model "{name}"',
            hint=f"Known: {', '.join(sorted(CATALOGUE))}.",
            context={"model": name},
        ) from None
