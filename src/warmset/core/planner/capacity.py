"""What a host can hold: bytes per GPU within the budget, RAM, and Ollama's view of both."""

from __future__ import annotations

from dataclasses import dataclass, field

from warmset.core.model import DeviceId
from warmset.core.ollama.admission import max_loaded
from warmset.core.ollama.env import ServerEnv
from warmset.core.ollama.types import Gpu
from warmset.core.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuCapacity:
    """One GPU.

    Attributes:
        gpu: as Ollama sees it when it is empty of models: `free_bytes` is what models can have.
        usable_bytes: what the plan may fill: within the budget and beside other programs;
            `None`: not known, `unknown` says why, and nothing is promised on it.
        names: what the operator may call it, normalised: UUID, PCI address, index.
    """

    id: DeviceId
    name: str
    gpu: Gpu
    usable_bytes: int | None
    unknown: str = ""
    names: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The short name for people."""
        return f"GPU {self.gpu.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostCapacity:
    """One host, without the models that warmset may move.

    Attributes:
        gpus: in Ollama's order; none for a CPU-only host.
        ram_bytes: RAM that models may take; `None`: not known.
        env: the server's settings.
        strangers: resident runners that no candidate stands for; they count towards the maximum.
        knows_residents: whether what is resident could be read; if not, nothing is to be done.
    """

    gpus: tuple[GpuCapacity, ...]
    ram_bytes: int | None
    env: ServerEnv = field(default_factory=ServerEnv)
    strangers: int = 0
    knows_residents: bool = True
    notes: tuple[str, ...] = ()

    @property
    def max_count(self) -> int:
        """The models that may be resident together, beside strangers."""
        limit = max_loaded(self.env.max_loaded_models, len(self.gpus))
        return max(0, limit - self.strangers)

    @property
    def known(self) -> tuple[GpuCapacity, ...]:
        """The GPUs on which something can be promised."""
        return tuple(gpu for gpu in self.gpus if gpu.usable_bytes is not None)

    @property
    def is_cpu_only(self) -> bool:
        """Whether models live in RAM here."""
        return not self.gpus

    def find(self, device: str) -> GpuCapacity:
        """Returns the GPU that Ollama calls `device` (`LIBRARY:ID`)."""
        return next(gpu for gpu in self.gpus if gpu.gpu.device == device)

    def named(self, name: str) -> DeviceId | None:
        """Returns the GPU that the operator calls so; `None`: there is none."""
        return next((gpu.id for gpu in self.gpus if name in gpu.names), None)

    def label_of(self, device: DeviceId) -> str:
        """Returns the short name of a GPU."""
        return next(gpu.label for gpu in self.gpus if gpu.id == device)

    def group_of(self, gpu: GpuCapacity) -> tuple[GpuCapacity, ...]:
        """Returns the backend group of a GPU: Ollama never combines two libraries."""
        return tuple(g for g in self.gpus if g.gpu.library == gpu.gpu.library)

    def describe(self) -> str:
        """Returns the sizes in words, for reasons."""
        if self.is_cpu_only:
            return f"{format_bytes(self.ram_bytes)} of RAM"
        sizes = ", ".join(f"{g.label} {format_bytes(g.usable_bytes)}" for g in self.gpus)
        return f"room for models: {sizes}"
