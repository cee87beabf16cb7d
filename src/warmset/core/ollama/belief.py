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
    return _report(gpu.device, gpu.total_bytes, runner)


def _report(device: str, total_bytes: int, runner: RunnerView) -> int:
    used = runner.bytes_by_gpu.get(device, 0)
    accounted = max(total_bytes - used, 0)
    at_load = runner.free_at_load.get(device)
    if at_load is None:
        return accounted
    return min(accounted, max(at_load - used, 0))


def refresh_free(
    gpus: Sequence[Gpu], runners: Iterable[RunnerView], driver_free: Mapping[str, int]
) -> tuple[Gpu, ...]:
    """Returns the GPUs with free memory as discovery finds it; see `found_free`.

    Args:
        gpus: with the last known free memory.
        runners: in the order in which they are asked.
        driver_free: device -> bytes; devices that fail to answer are missing and stay stale.
    """
    by_device = {gpu.device: gpu for gpu in gpus}
    totals = {device: gpu.total_bytes for device, gpu in by_device.items()}
    free = found_free(totals, runners, driver_free)
    return tuple(with_free(gpu, free.get(device)) for device, gpu in by_device.items())


def found_free(
    totals: Mapping[str, int], runners: Iterable[RunnerView], driver_free: Mapping[str, int]
) -> dict[str, int]:
    """Returns device -> free bytes as discovery finds them (`GPUDevices`), where anybody answers.

    Runners answer for their GPUs first, in the order given (a random map order in Ollama, and a
    later runner overwrites an earlier one's answer as long as it covers a GPU not yet answered
    for); only if some GPU is left without an answer is the driver asked, then for all of them.

    Args:
        totals: device -> bytes of its memory.
        runners: in the order in which they are asked.
        driver_free: device -> bytes; devices that fail to answer are missing.
    """
    free: dict[str, int] = {}
    for runner in runners:
        own = [device for device in runner.gpus if device in totals]
        if all(device in free for device in own):
            continue
        for device in own:
            free[device] = _report(device, totals[device], runner)
        if len(free) == len(totals):
            return free
    if len(free) < len(totals):
        free.update({d: f for d, f in driver_free.items() if d in totals})
    return free


def with_free(gpu: Gpu, free_bytes: int | None) -> Gpu:
    """Returns the GPU with another belief; the same one where it is the same, or there is none."""
    is_same = free_bytes is None or gpu.free_bytes == free_bytes
    return gpu if is_same or free_bytes is None else gpu.with_free(free_bytes)


def subtract_known(gpus: Sequence[Gpu], runners: Iterable[RunnerView]) -> tuple[Gpu, ...]:
    """Returns the GPUs with free memory lowered to total minus all runners' known bytes."""
    known = sum_known(runners)
    return tuple(
        with_free(gpu, at_most(gpu.free_bytes, gpu.total_bytes, known.get(gpu.device, 0)))
        for gpu in gpus
    )


def at_most(free_bytes: int, total_bytes: int, known_bytes: int) -> int:
    """Returns what is believed to be free beside bytes of runners that are known."""
    return min(free_bytes, max(total_bytes - known_bytes, 0))


def sum_known(runners: Iterable[RunnerView]) -> dict[str, int]:
    """Returns device -> bytes of all runners, as Ollama looks them up."""
    known: dict[str, int] = {}
    for runner in runners:
        for device, count in runner.bytes_by_gpu.items():
            known[device] = known.get(device, 0) + count
    return known
