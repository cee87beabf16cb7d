"""What the twin keeps of models, requests and runners."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from warmset.core.ollama.belief import RunnerView
from warmset.core.ollama.types import Gpu, LoadShape, OptionValues, WeightsFile
from warmset.core.twin.clock import Timer


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinModel:
    """One name of an installed model, as the scheduler sees it.

    Attributes:
        key: path of the weights blob; runners are kept by it and ties broken by its order.
        completes: has the capability to generate; others embed only.
        embeds: has the capability to embed, which changes the automatic batch.
        broken: why reading the file fails, if it does.
    """

    key: str
    name: str
    file: WeightsFile
    digest: str = ""
    completes: bool = True
    embeds: bool = False
    has_vision: bool = False
    modelfile: OptionValues = field(default_factory=dict)
    adapters: tuple[str, ...] = ()
    projectors: tuple[str, ...] = ()
    broken: str = ""
    is_mlx: bool = False


@dataclass(slots=True, kw_only=True)
class Request:
    """One request on its way to a runner."""

    id: int
    model: TwinModel
    shape: LoadShape
    keep_alive: float | None
    submitted_at: float
    is_cancelled: bool = False
    has_retried_oom: bool = False


@dataclass(slots=True, kw_only=True)
class Runner:
    """One resident model and its process.

    Attributes:
        gpus: those it was started on, with the free memory Ollama believed in.
        view: what Ollama's free-memory rules know of it.
        vram_bytes, total_bytes: as `/api/ps` shows them.
        has_discrete_gpu: an unload waits for its memory to come back (not for Metal's).
        expires_at: `None` until it was idle for the first time.
        expires_when_idle: an unload event that arrived while it was busy.
        is_evicted: it was chosen to make room, and nobody has used it since.
    """

    model: TwinModel
    shape: LoadShape
    parallel: int
    gpus: tuple[Gpu, ...]
    view: RunnerView
    vram_bytes: int
    total_bytes: int
    duration: float
    pid: int
    started_at: float
    has_discrete_gpu: bool
    refs: int = 0
    expires_at: float | None = None
    timer: Timer | None = None
    expires_when_idle: bool = False
    is_evicted: bool = False
    is_alive: bool = True

    def stop_timer(self) -> None:
        """Forgets the planned expiry, if any."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    """What a runner process is started with."""

    model: TwinModel
    shape: LoadShape  # options as launched: num_ctx not clamped, main_gpu after placement
    parallel: int
    gpus: tuple[Gpu, ...]
    must_be_full: bool
    free_bytes: Mapping[str, int]  # device -> the driver's truth at this moment
    ram_free_bytes: int | None = None  # bounds GPUs that live in RAM

    def room_on(self, gpu: Gpu) -> int:
        """Returns what a GPU has to give."""
        free = self.free_bytes[gpu.device]
        is_bounded = gpu.integrated and self.ram_free_bytes is not None
        return min(free, self.ram_free_bytes or 0) if is_bounded else free


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """How starting a runner ends.

    Attributes:
        seconds: until it is ready, or until it fails.
        by_position: bytes per GPU of the order, as the driver counts them.
        logged: bytes per GPU as the runner's log tells Ollama; empty: the same. The driver's
            context of the process is missing there.
        total_bytes: as `/api/ps` will show it, GPUs included.
        error: text of the failure; empty for success.
    """

    seconds: float
    by_position: tuple[int, ...] = ()
    logged: tuple[int, ...] = ()
    total_bytes: int = 0
    error: str = ""

    @property
    def seen_by_ollama(self) -> tuple[int, ...]:
        """Bytes per GPU that Ollama knows of: `size_vram` is their sum."""
        return self.logged or self.by_position
