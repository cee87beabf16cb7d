"""How the twin's Ollama learns of free memory: the real way, or a perfect one for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from warmset.core.ollama.belief import RunnerView, looked_up, refresh_free
from warmset.core.ollama.types import Gpu
from warmset.core.twin.cards import Cards
from warmset.core.twin.runner import LoadOrder
from warmset.core.units import MIB


class Discovery(Protocol):
    """Ollama's `getGpuFn` and the naming of a runner's devices."""

    def refresh(self, runners: Sequence[RunnerView]) -> tuple[Gpu, ...]:
        """Returns the GPUs with free memory as Ollama finds it."""
        ...

    def view(self, order: LoadOrder, by_position: Sequence[int]) -> RunnerView:
        """Returns what Ollama will know of a runner just loaded, given its bytes per GPU."""
        ...


def newest_first(runners: Sequence[RunnerView]) -> Sequence[RunnerView]:
    """Returns the runners in the reverse order of their loads."""
    return tuple(reversed(runners))


class RunnerDiscovery:
    """As in Ollama: runners answer first, the driver only where none does, names may not meet.

    Args:
        cards: the truth.
        ask_order: the order in which runners are asked, from the order of their loads. A random
            map order in Ollama; the newest first here unless said otherwise.
    """

    def __init__(
        self,
        cards: Cards,
        ask_order: Callable[[Sequence[RunnerView]], Sequence[RunnerView]] = newest_first,
    ) -> None:
        self._cards = cards
        self._ask_order = ask_order
        self._gpus = tuple(replace(gpu, free_bytes=cards.free(gpu.device)) for gpu in cards.gpus)

    def refresh(self, runners: Sequence[RunnerView]) -> tuple[Gpu, ...]:
        """See `belief.refresh_free`; what is found is remembered as the next stale value."""
        asked = self._ask_order(runners)
        self._gpus = refresh_free(self._gpus, asked, self._cards.all_free())
        return self._gpus

    def view(self, order: LoadOrder, by_position: Sequence[int]) -> RunnerView:
        """Bytes and free-at-load as looked up under the host's names (`belief.looked_up`).

        Of free memory at load only the first device is known, in whole MiB: Ollama takes one match
        per piece of log that it reads (`memoryParsingWriter.Write`; `real-g4-mixed` shows it).
        """
        first = order.gpus[:1]
        at_load = [order.free_bytes[gpu.device] // MIB * MIB for gpu in first]
        return RunnerView(
            gpus=tuple(gpu.device for gpu in order.gpus),
            bytes_by_gpu=looked_up(order.gpus, by_position),
            free_at_load=looked_up(first, at_load),
        )


class DriverDiscovery:
    """Always the driver's truth and the right names; can be frozen at a moment."""

    def __init__(self, cards: Cards) -> None:
        self._cards = cards
        self._frozen: dict[str, int] | None = None

    def freeze(self) -> None:
        """Keeps reporting the free memory of this moment."""
        self._frozen = self._cards.all_free()

    def thaw(self) -> None:
        """Reports the truth again."""
        self._frozen = None

    def refresh(self, runners: Sequence[RunnerView]) -> tuple[Gpu, ...]:
        """Returns the driver's free memory, or the frozen one."""
        del runners
        free = self._frozen if self._frozen is not None else self._cards.all_free()
        return tuple(replace(gpu, free_bytes=free[gpu.device]) for gpu in self._cards.gpus)

    def view(self, order: LoadOrder, by_position: Sequence[int]) -> RunnerView:
        """Returns the true bytes under the true names."""
        pairs = zip(order.gpus, by_position, strict=True)
        return RunnerView(
            gpus=tuple(gpu.device for gpu in order.gpus),
            bytes_by_gpu={gpu.device: count for gpu, count in pairs},
        )
