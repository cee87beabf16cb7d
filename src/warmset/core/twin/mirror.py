"""A twin of a host that was seen: the same GPUs, models and residents, to try things out on."""

from __future__ import annotations

from warmset.core.model import Entry, Observation
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.types import Gpu
from warmset.core.planner.capacity import HostCapacity
from warmset.core.twin.host import HostSpec
from warmset.core.twin.library import InstalledModel, Weights

RELEASE_LAG_SECONDS = 0.8
"""Freed memory shows after 0.5 to 1.5 s. Source: Ollama `waitForVRAMRecovery`."""


def mirror_host(observation: Observation, host: HostCapacity, env: ServerEnv) -> HostSpec:
    """Returns the host as a twin, without its residents: they are loaded into it as they were.

    What other programs hold on a GPU is held there too; a GPU that could not be read is left out.
    Models of unknown size are not installed.
    """
    gpus: list[Gpu] = []
    foreign: dict[str, int] = {}
    for capacity in host.gpus:
        gpu = capacity.gpu
        if capacity.usable_bytes is None:
            continue
        gpus.append(
            Gpu(
                library=gpu.library,
                id=str(len(gpus)),
                total_bytes=gpu.total_bytes,
                free_bytes=gpu.total_bytes,
                integrated=gpu.integrated,
                name=capacity.name,
                compute_major=gpu.compute_major,
                compute_minor=gpu.compute_minor,
            )
        )
        taken = gpu.total_bytes - gpu.free_bytes
        if taken > 0 and not gpu.integrated:  # there it is RAM, told below
            foreign[gpus[-1].device] = taken
    total = observation.memory.total_bytes.value or host.ram_bytes or 0
    return HostSpec(
        name="copy",
        gpus=tuple(gpus),
        system_total_bytes=total,
        system_used_bytes=max(0, total - (host.ram_bytes or total)),
        models=tuple(model for entry in observation.entries for model in _installed(entry)),
        env=env,
        foreign_bytes=foreign,
        release_lag_seconds=RELEASE_LAG_SECONDS if gpus else 0.0,
    )


def _installed(entry: Entry) -> list[InstalledModel]:
    size = entry.file_bytes if entry.file_bytes is not None else entry.size_bytes
    if size is None or not entry.facts:
        return []
    weights = Weights(
        digest=entry.key, size_bytes=size, facts=entry.facts, tensors=entry.tensors or ()
    )
    return [
        InstalledModel(
            name=name,
            weights=weights,
            digest=entry.manifest_digests.get(name, ""),
            size_bytes=entry.size_bytes or 0,
            format=entry.format,
            family=entry.family,
            parameter_size=entry.parameter_size,
            quantization=entry.quantization,
            capabilities=tuple(sorted(entry.capabilities)) or ("completion",),
            parameters={
                key: said[name]
                for key, said in (
                    ("num_ctx", entry.modelfile_num_ctx),
                    ("main_gpu", entry.modelfile_main_gpu),
                )
                if name in said
            },
        )
        for name in entry.names
    ]
