"""What Ollama believes to be free on each GPU, which is not what the driver says.

- While every GPU has a runner that Ollama can ask, nobody asks the driver: free is computed from
  what was free when a runner loaded, minus that runner's own bytes.
- A runner alone on a GPU other than the first calls it `CUDA0`, the host calls it `CUDA1`: its
  bytes are looked up under the wrong name and count as *nothing* (the zero-count defect).

Source: Ollama v0.33 `discover/runner.go: GPUDevices`, `llm/llama_server.go: GetDeviceInfos,
VRAMByGPU`, `server/sched.go: updateFreeSpace`; `scenarios-real` of the decision vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from warmset.core.ollama.types import Gpu


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerView:
    """What Ollama knows of one resident runner's memory.

    Attributes:
        gpus: devices it was started on, `LIBRARY:ID`, in the host's naming.
        bytes_by_gpu: bytes as Ollama looks them up per device (after the naming defect).
        free_at_load: driver's free memory when it loaded, looked up the same way.
    """

    gpus: tuple[str, ...]
    bytes_by_gpu: Mapping[str, int] = field(default_factory=dict)
    free_at_load: Mapping[str, int] = field(default_factory=dict)


def looked_up(own: Sequence[Gpu], by_position: Sequence[int]) -> dict[str, int]:
    """Returns bytes per device as Ollama looks them up, given true bytes by position.

    Args:
        own: GPUs of the runner, in the order it was started with.
        by_position: one number per GPU of `own`.
    """
    filed = {
        f"{gpu.library}:{position}": count
        for position, (gpu, count) in enumerate(zip(own, by_position, strict=True))
    }
    return {gpu.device: filed[gpu.device] for gpu in own if gpu.device in filed}


def runner_report(gpu: Gpu, runner: RunnerView) -> int:
    """Returns the free bytes that a runner reports for one of its GPUs."""
    device = gpu.device
    used = runner.bytes_by_gpu.get(device, 0)
    accounted = max(gpu.total_bytes - used, 0)
    at_load = runner.free_at_load.get(device)
    if at_load is None:
        return accounted
    return min(accounted, max(at_load - used, 0))


def refresh_free(
    gpus: Sequence[Gpu], runners: Iterable[RunnerView], driver_free: Mapping[str, int]
) -> tuple[Gpu, ...]:
    """Returns the GPUs with free memory as discovery finds it (`GPUDevices`).

    Runners answer for their GPUs first, in the order given (a random map order in Ollama, and a
    later runner overwrites an earlier one's answer as long as it covers a GPU not yet answered
    for); only if some GPU is left without an answer is the driver asked, then for all of them.

    Args:
        gpus: with the last known free memory.
        runners: in the order in which they are asked.
        driver_free: device -> bytes; devices that fail to answer are missing and stay stale.
    """
    by_device = {gpu.device: gpu for gpu in gpus}
    free = {device: gpu.free_bytes for device, gpu in by_device.items()}
    answered: set[str] = set()
    for runner in runners:
        own = [device for device in runner.gpus if device in by_device]
        if not set(own) - answered:
            continue
        for device in own:
            free[device] = runner_report(by_device[device], runner)
            answered.add(device)
        if len(answered) == len(by_device):
            break
    if len(answered) < len(by_device):
        free.update({d: f for d, f in driver_free.items() if d in free})
    return tuple(_with_free(gpu, free[device]) for device, gpu in by_device.items())


def _with_free(gpu: Gpu, free_bytes: int) -> Gpu:
    """Copies only what changes: planners ask for beliefs by the ten thousand."""
    return gpu if gpu.free_bytes == free_bytes else gpu.with_free(free_bytes)


def subtract_known(gpus: Sequence[Gpu], runners: Iterable[RunnerView]) -> tuple[Gpu, ...]:
    """Returns the GPUs with free memory lowered to total minus all runners' known bytes."""
    known = sum_known(runners)
    return tuple(
        _with_free(gpu, min(gpu.free_bytes, max(gpu.total_bytes - known.get(gpu.device, 0), 0)))
        for gpu in gpus
    )


def sum_known(runners: Iterable[RunnerView]) -> dict[str, int]:
    """Returns device -> bytes of all runners, as Ollama looks them up."""
    known: dict[str, int] = {}
    for runner in runners:
        for device, count in runner.bytes_by_gpu.items():
            known[device] = known.get(device, 0) + count
    return known
