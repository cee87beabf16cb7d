"""The `OLLAMA_*` variables of the server, read as Ollama reads them.

Source: Ollama v0.33 `envconfig/config.go: Var, Uint, BoolWithDefault, KeepAlive, LoadTimeout`:
blanks and quotes are trimmed, invalid integers mean the default, invalid booleans mean *true*.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from warmset.core.model import FOREVER, ServerSettings
from warmset.core.ollama.keepalive import (
    DEFAULT_KEEP_ALIVE,
    parse_env_duration,
    parse_env_keep_alive,
)
from warmset.core.ollama.types import U64

DEFAULT_MAX_QUEUE: Final = 512
DEFAULT_LOAD_TIMEOUT: Final = 300.0
_TRUE: Final = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE: Final = frozenset(("0", "f", "F", "FALSE", "false", "False"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEnv:
    """The settings that decide scheduling. 0 stands for "automatic" as in Ollama."""

    keep_alive: float = DEFAULT_KEEP_ALIVE
    max_loaded_models: int = 0
    num_parallel: int = 1
    max_queue: int = DEFAULT_MAX_QUEUE
    load_timeout: float = DEFAULT_LOAD_TIMEOUT
    context_length: int = 0
    kv_cache_type: str = ""
    flash_attention: bool | None = None
    gpu_overhead_bytes: int = 0
    sched_spread: bool = False
    no_cloud: bool = False
    raw: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> ServerEnv:
        """Reads the variables of a server process; never fails, as Ollama never does."""

        def text(key: str) -> str:
            return environ.get(key, "").strip().strip("\"'")

        return cls(
            keep_alive=parse_env_keep_alive(text("OLLAMA_KEEP_ALIVE")),
            max_loaded_models=_unsigned(text("OLLAMA_MAX_LOADED_MODELS"), 0),
            num_parallel=_unsigned(text("OLLAMA_NUM_PARALLEL"), 1),
            max_queue=_unsigned(text("OLLAMA_MAX_QUEUE"), DEFAULT_MAX_QUEUE),
            load_timeout=_load_timeout(text("OLLAMA_LOAD_TIMEOUT")),
            context_length=_unsigned(text("OLLAMA_CONTEXT_LENGTH"), 0),
            kv_cache_type=text("OLLAMA_KV_CACHE_TYPE"),
            flash_attention=_boolean(text("OLLAMA_FLASH_ATTENTION")),
            gpu_overhead_bytes=_unsigned(text("OLLAMA_GPU_OVERHEAD"), 0),
            sched_spread=_boolean(text("OLLAMA_SCHED_SPREAD")) or False,
            no_cloud=_boolean(text("OLLAMA_NO_CLOUD")) or False,
            raw={k: v for k, v in environ.items() if k.startswith("OLLAMA_")},
        )

    @classmethod
    def from_settings(cls, settings: ServerSettings) -> ServerEnv:
        """Returns the environment that the known settings amount to; unknown = default."""
        return cls(
            keep_alive=DEFAULT_KEEP_ALIVE
            if settings.keep_alive_seconds is None
            else settings.keep_alive_seconds,
            max_loaded_models=settings.max_loaded_models or 0,
            num_parallel=settings.num_parallel or 1,
            context_length=settings.context_length or 0,
            kv_cache_type=settings.kv_cache_type or "",
            flash_attention=settings.flash_attention,
            gpu_overhead_bytes=settings.gpu_overhead_bytes or 0,
            sched_spread=bool(settings.sched_spread),
        )

    def to_settings(self) -> ServerSettings:
        """Returns the settings that this environment amounts to; automatic ones are unknown."""
        return ServerSettings(
            max_loaded_models=self.max_loaded_models or None,
            num_parallel=max(self.num_parallel, 1),
            context_length=self.context_length or None,
            kv_cache_type=self.kv_cache_type or "f16",
            flash_attention=self.flash_attention,
            sched_spread=self.sched_spread,
            keep_alive_seconds=self.keep_alive,
            gpu_overhead_bytes=self.gpu_overhead_bytes,
        )


def _unsigned(text: str, default: int) -> int:
    number = int(text) if re.fullmatch(r"[0-9]{1,64}", text) else U64 + 1
    return number if number <= U64 else default


def _boolean(text: str) -> bool | None:
    if not text:
        return None
    return text not in _FALSE if text in _TRUE | _FALSE else True


def _load_timeout(text: str) -> float:
    seconds = parse_env_duration(text, DEFAULT_LOAD_TIMEOUT)
    return seconds if seconds > 0 else FOREVER
