"""What each architecture caches, as far as its name decides it.

The names are those of `general.architecture`. An architecture that is not listed is refused: its
cache might follow a rule that no key tells.

Source: llama.cpp `src/llama-arch.cpp` for the names, `src/models/*.cpp` for windows and patterns
that are fixed in code; Ollama `fs/ggml/ggml.go` for its own names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from warmset.errors import FactsError

StateKind = Literal["", "ssm", "rwkv", "shortconv", "kda"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """How blocks cache: attention over everything, a window, a state, or nothing."""

    slide_period: int = 0  # every n-th block sees everything, the others slide; 0: none slides
    sees_first: bool = False  # the first of each period sees everything, not the last
    default_window: int = 0
    needs_pattern: bool = False  # only the file's own pattern tells
    needs_window: bool = False  # the runtime refuses the file without it
    caching_blocks: int = 0  # later blocks reuse the caches of these; 0: a key tells
    is_encoder: bool = False
    is_uncached: bool = False  # text diffusion: every pass sees everything afresh
    is_latent: bool = False
    is_indexed: bool = False  # sparse attention with an index of its own in the cache
    state_kind: StateKind = ""
    is_recurrent_only: bool = False
    attention_interval: int = 0  # every n-th block attends, the others recur
    recurs_without_heads: bool = False  # blocks with 0 key heads recur
    has_plain_blocks: bool = False  # blocks with 0 key heads may be plain feed-forward
    does_both: bool = False  # a block attends and recurs
    needs_groups: bool = False

    @property
    def has_state(self) -> bool:
        """Whether some block keeps a recurrent state."""
        return self.state_kind != ""

    def recurs(self, block: int, interval: int, kv_heads: int) -> bool:
        """Returns whether this block keeps a recurrent state."""
        if self.does_both:
            return True
        if self.recurs_without_heads:
            return kv_heads == 0
        return bool(self.has_state and interval and (block + 1) % interval)


_DENSE: Final = """
llama llama2 falcon grok gpt2 gptj gptneox mpt baichuan starcoder starcoder2 refact bloom
stablelm qwen qwen2 qwen2moe qwen2vl qwen25vl qwen2.5vl qwen3 qwen3moe qwen3vl qwen3vlmoe phi2
phi3 phimoe plamo codeshell orion internlm2 minicpm gemma command-r dbrx olmo olmoe openelm
arctic deepseek chatglm glm4 glm4moe glm4v bitnet jais jais2 nemotron exaone granite granitemoe
granite-moe chameleon mistral mistral3 mistral4 mllama deci arcee ernie4_5 ernie4_5-moe
hunyuan-moe hunyuan-dense hunyuan smollm3 smollm dots1 bailingmoe bailingmoe2
seed_oss apertus grovemoe minimax-m2 pangu-embedded xverse pixtral llava gigachat
solar maincoder talkie megrez cogvlm paddleocr deepseek2-ocr deepseekocr glmocr hunyuan_vl hy_v3 t5
"""
_DIFFUSION: Final = "dream llada llada-moe rnd1"
_ENCODERS: Final = """
bert modern-bert nomic-bert nomic-bert-moe neo-bert jina-bert-v2 jina-bert-v3 eurobert
gemma-embedding llama-embed t5encoder
"""
_STATE_SPACE: Final = Scheme(state_kind="ssm", is_recurrent_only=True)
_RWKV: Final = Scheme(state_kind="rwkv", is_recurrent_only=True)
_DELTA_NET: Final = Scheme(state_kind="ssm", attention_interval=4, needs_groups=True)
_MIXED_SSM: Final = Scheme(state_kind="ssm", recurs_without_heads=True)
_SHORT_CONV: Final = Scheme(state_kind="shortconv", recurs_without_heads=True)
_LATENT: Final = Scheme(is_latent=True)

SCHEMES: Final = {
    **dict.fromkeys(_DENSE.split(), Scheme()),
    **dict.fromkeys(_ENCODERS.split(), Scheme(is_encoder=True)),
    **dict.fromkeys(_DIFFUSION.split(), Scheme(is_uncached=True)),
    "gemma2": Scheme(slide_period=2, default_window=4096),
    "gemma3": Scheme(slide_period=6),
    "gemma3n": Scheme(slide_period=5, caching_blocks=20, needs_window=True),
    "gemma4": Scheme(needs_pattern=True, needs_window=True),
    "cohere2": Scheme(slide_period=4, needs_window=True),
    "cohere2moe": Scheme(needs_pattern=True, sees_first=True, needs_window=True),
    "llama4": Scheme(slide_period=4, default_window=8192),
    **dict.fromkeys(("gpt-oss", "gptoss"), Scheme(slide_period=2, needs_window=True)),
    "olmo2": Scheme(slide_period=4),
    "olmo3": Scheme(slide_period=4),
    "exaone4": Scheme(slide_period=4),
    "exaone-moe": Scheme(slide_period=4),
    "afmoe": Scheme(slide_period=4),
    **dict.fromkeys(("smallthinker", "laguna"), Scheme(slide_period=4, sees_first=True)),
    "mellum": Scheme(slide_period=4),
    "plamo3": Scheme(slide_period=8),
    **dict.fromkeys(("mimo2", "step35"), Scheme(needs_pattern=True, needs_window=True)),
    **dict.fromkeys(("deepseek2", "deepseek3", "minicpm3", "plm", "kimi-k2"), _LATENT),
    **dict.fromkeys(("glm-dsa", "deepseek32"), Scheme(is_latent=True, is_indexed=True)),
    "glm4moelite": _LATENT,
    **dict.fromkeys(("mamba", "mamba2"), _STATE_SPACE),
    **dict.fromkeys(("rwkv6", "rwkv7", "rwkv6qwen2", "arwkv7"), _RWKV),
    **dict.fromkeys(("qwen3next", "qwen35", "qwen35moe"), _DELTA_NET),
    **dict.fromkeys(("jamba", "granitehybrid", "granite-hybrid", "plamo2"), _MIXED_SSM),
    **dict.fromkeys(
        ("nemotron_h", "nemotron_h_moe", "nemotron_h_omni"),
        Scheme(state_kind="ssm", recurs_without_heads=True, has_plain_blocks=True),
    ),
    **dict.fromkeys(("lfm2", "lfm2moe"), _SHORT_CONV),
    "kimi-linear": Scheme(state_kind="kda", recurs_without_heads=True, is_latent=True),
    "falcon-h1": Scheme(state_kind="ssm", does_both=True),
}


def scheme_of(architecture: str, *, pools: bool = False) -> Scheme:
    """Returns how this architecture caches.

    Args:
        architecture: its name.
        pools: whether the file pools its output into one embedding.

    Source:
        Ollama v0.33 `llama/compat`: a pooling gemma3 is loaded as gemma-embedding.

    Raises:
        FactsError: an architecture whose cache we do not know.
    """
    scheme = SCHEMES.get("gemma-embedding" if pools and architecture == "gemma3" else architecture)
    if scheme is None:
        raise FactsError(
            f"general.architecture {architecture[:60]!r} is unknown: its cache cannot be foretold",
            hint="load the model once and let warmset learn from what Ollama reports",
            context={"key": "general.architecture"},
        )
    return scheme


def sliding_layers(
    scheme: Scheme, pattern: int | tuple[int, ...] | None, blocks: int, window: int
) -> tuple[bool, ...]:
    """Returns for each block whether it attends to a sliding window only.

    A pattern is a flag for each block (repeated where shorter), or the period.

    Source:
        llama.cpp `llama_hparams::set_swa_pattern`.

    Raises:
        FactsError: the file's pattern decides, and it is missing.
    """
    if not window or not (scheme.slide_period or scheme.needs_pattern):
        return (False,) * blocks
    if isinstance(pattern, tuple) and pattern:
        return tuple(bool(pattern[block % len(pattern)]) for block in range(blocks))
    if scheme.needs_pattern and not isinstance(pattern, int):
        raise FactsError(
            "attention.sliding_window_pattern is missing: which blocks slide is not known",
            hint="if a server withheld it, its verbose /api/show or the GGUF file has it",
            context={"key": "attention.sliding_window_pattern"},
        )
    period = pattern if isinstance(pattern, int) else scheme.slide_period
    if period == 0:
        return (True,) * blocks
    seeing = 0 if scheme.sees_first else period - 1
    return tuple(block % period != seeing for block in range(blocks))
