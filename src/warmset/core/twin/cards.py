"""The GPUs of a pretended host: who holds how many bytes, and what the driver says.

The driver's truth here is the sum of allocations; Ollama's belief is computed elsewhere
(`core.ollama.belief`) and differs from it exactly as on a real host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmset.core.ollama.types import Gpu
from warmset.core.twin.clock import Timeline


class Cards:
    """Allocations by holder on each GPU, foreign programs, and late release.

    Units:
        Bytes and seconds.

    Invariants:
        free = total - foreign - held - draining, never below 0.
    """

    def __init__(
        self, timeline: Timeline, gpus: Sequence[Gpu], *, release_lag_seconds: float = 0.0
    ) -> None:
        self.gpus = tuple(gpus)
        self.release_lag_seconds = release_lag_seconds
        self._timeline = timeline
        self._foreign = {gpu.device: 0 for gpu in gpus}
        self._held: dict[int, dict[str, int]] = {}  # holder (pid) -> device -> bytes
        self._draining: dict[str, int] = {gpu.device: 0 for gpu in gpus}

    def set_foreign(self, device: str, count: int) -> None:
        """Says how many bytes other programs hold on a GPU now."""
        self._foreign[device] = count

    def foreign(self, device: str) -> int:
        """Returns the bytes that other programs hold on a GPU."""
        return self._foreign[device]

    def draining(self, device: str) -> int:
        """Returns the bytes that are freed but that the driver has not given back."""
        return self._draining[device]

    def held_by(self, holder: int) -> Mapping[str, int]:
        """Returns device -> bytes of one process."""
        return self._held.get(holder, {})

    @property
    def holders(self) -> tuple[int, ...]:
        """The processes that hold bytes, in no particular order of age."""
        return tuple(self._held)

    def allocate(self, holder: int, by_device: Mapping[str, int]) -> None:
        """Gives bytes to a process, in addition to what it has."""
        held = self._held.setdefault(holder, {})
        for device, count in by_device.items():
            held[device] = held.get(device, 0) + count

    def release(self, holder: int) -> None:
        """Takes everything from a process; the driver shows it after the release lag."""
        freed = self._held.pop(holder, {})
        if self.release_lag_seconds <= 0:
            return
        for device, count in freed.items():
            self._draining[device] += count
        self._timeline.after(self.release_lag_seconds, lambda: self._drained(freed))

    def _drained(self, freed: Mapping[str, int]) -> None:
        for device, count in freed.items():
            self._draining[device] -= count

    def free(self, device: str) -> int:
        """Returns what the driver shows as free on a GPU."""
        total = next(gpu.total_bytes for gpu in self.gpus if gpu.device == device)
        held = sum(by_device.get(device, 0) for by_device in self._held.values())
        return max(total - self._foreign[device] - held - self._draining[device], 0)

    def all_free(self) -> dict[str, int]:
        """Returns device -> free bytes for every GPU."""
        return {gpu.device: self.free(gpu.device) for gpu in self.gpus}
