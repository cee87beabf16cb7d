"""Pretended hosts by name: what `twin://NAME` and `warmset twin NAME` stand for.

Card sizes are what the driver reports for common cards (RTX 3060 12 GB: 12288 MiB, RTX 4090:
24564 MiB, A100/H100 80 GB: 81559 MiB); a GB10 shares 128 GB with its CPU. Each host lists its
models in the order of the demand's roles: coder, chat, indexer, writer, script, giant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from warmset.core.catalogue import KnownModel, known_model
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.types import Gpu
from warmset.core.twin.host import HostSpec
from warmset.core.twin.library import InstalledModel, Weights
from warmset.core.twin.physics import FootprintPhysics
from warmset.core.units import GIB, MIB
from warmset.errors import ConfigError

RELEASE_LAG_SECONDS: Final = 0.8
"""Freed memory shows after 0.5 to 1.5 s. Source: Ollama `waitForVRAMRecovery`."""

_SMALL: Final = ("qwen2.5-coder:7b", "llama3.2:3b", "nomic-embed-text:latest", "qwen3:8b")
_MEDIUM: Final = (
    "qwen2.5-coder:7b",
    "llama3.1:8b",
    "nomic-embed-text:latest",
    "qwen2.5:14b",
    "llama3.2:3b",
    "qwen2.5:32b",
)
_LARGE: Final = (
    "qwen2.5-coder:14b",
    "llama3.1:8b",
    "nomic-embed-text:latest",
    "gemma3:12b",
    "qwen3:8b",
    "llama3.3:70b",
    "qwen2.5:32b",
    "phi4:14b",
)


def installed(model: KnownModel) -> InstalledModel:
    """Returns a model of the catalogue as a host has it installed."""
    return InstalledModel(
        name=model.name,
        weights=Weights(digest=model.key, size_bytes=model.file_bytes, facts=model.facts),
        family=model.arch,
        parameter_size=model.parameter_size,
        quantization=model.quantization,
        capabilities=model.capabilities,
    )


def _cards(count: int, name: str, total_bytes: int, *, integrated: bool = False) -> tuple[Gpu, ...]:
    return tuple(
        Gpu(
            library="CUDA",
            id=str(index),
            total_bytes=total_bytes,
            free_bytes=total_bytes,
            integrated=integrated,
            name=name,
        )
        for index in range(count)
    )


def _host(
    name: str,
    models: Sequence[str],
    *,
    gpus: tuple[Gpu, ...] = (),
    ram_bytes: int,
    desktop_bytes: int = 0,
    env: Mapping[str, str] | None = None,
) -> HostSpec:
    return HostSpec(
        name=name,
        gpus=gpus,
        system_total_bytes=ram_bytes,
        system_used_bytes=4 * GIB,
        models=tuple(installed(known_model(model)) for model in models),
        env=ServerEnv.from_environ(env or {}),
        foreign_bytes={gpus[0].device: desktop_bytes} if gpus and desktop_bytes else {},
        release_lag_seconds=RELEASE_LAG_SECONDS if gpus and not gpus[0].integrated else 0.0,
    )


# Beyond 47 GiB Ollama's automatic context is 262144, which fills cards with cache: operators of
# such hosts set a length, and so do these.
_TUNED: Final = {"OLLAMA_CONTEXT_LENGTH": "8192", "OLLAMA_MAX_LOADED_MODELS": "6"}
_LIMITED: Final = {"OLLAMA_CONTEXT_LENGTH": "32768"}

HOSTS: Final[Mapping[str, HostSpec]] = {
    spec.name: spec
    for spec in (
        _host(
            "laptop",
            _SMALL,
            gpus=_cards(1, "NVIDIA GeForce RTX 3060", 12288 * MIB),
            ram_bytes=32 * GIB,
            desktop_bytes=700 * MIB,
            env=_TUNED,
        ),
        _host(
            "workstation",
            _MEDIUM,
            gpus=_cards(1, "NVIDIA GeForce RTX 4090", 24564 * MIB),
            ram_bytes=64 * GIB,
            desktop_bytes=600 * MIB,
            env=_TUNED,
        ),
        _host(
            "2x24",
            _LARGE,
            gpus=_cards(2, "NVIDIA GeForce RTX 4090", 24564 * MIB),
            ram_bytes=128 * GIB,
            env=_LIMITED,
        ),
        _host(
            "8x80",
            _LARGE,
            gpus=_cards(8, "NVIDIA H100 80GB HBM3", 81559 * MIB),
            ram_bytes=1024 * GIB,
            env=_LIMITED,
        ),
        _host("cpu", _SMALL, ram_bytes=32 * GIB),
        _host(
            "unified",
            _MEDIUM,
            gpus=_cards(1, "NVIDIA GB10", 119 * GIB, integrated=True),
            ram_bytes=119 * GIB,
            env=_LIMITED,
        ),
    )
}


def named_host(name: str) -> HostSpec:
    """Returns a host of the table.

    Raises:
        ConfigError: there is none of that name.
    """
    try:
        return HOSTS[name]
    except KeyError:
        raise ConfigError(
            f'there is no twin host "{name}"',
            hint=f"Known: {', '.join(HOSTS)}; or a .toml file that describes one.",
            context={"host": name},
        ) from None


def physics_of(spec: HostSpec) -> FootprintPhysics:
    """Returns how long and how large loads are on a host."""
    return FootprintPhysics(
        {model.key: model.weights.facts for model in spec.models},
        seed=spec.seed,
        kv_type=spec.env.kv_cache_type,
    )
