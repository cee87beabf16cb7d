"""The values that every room shares: what a host has, what is installed, what is resident.

One identity rules here: a model is its *weights blob*, not its tag, since Ollama keeps one
runner per blob (`server/sched.go: schedulerModelKey`, v0.33). Tags are names of an entry.
Unknown is `None` together with a reason, never zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Generic, Literal, NewType, TypeVar

from warmset.core.loads import Learnt

ModelKey = NewType("ModelKey", str)
"""`sha256:HEX` of the weights blob; `manifest:HEX` for models without a GGUF blob."""

DeviceId = NewType("DeviceId", str)
"""GPU UUID, else PCI address; for hosts known only through Ollama `LIBRARY:ID`."""

FactValue = int | float | bool | str | tuple["FactValue", ...] | None
"""One GGUF metadata value. `None`: the key exists, its value was not sent (arrays)."""

Facts = Mapping[str, FactValue]
"""GGUF keys as in `/api/show` `model_info` (architecture prefix kept) to values."""

T = TypeVar("T")
FOREVER = math.inf


class Quality(StrEnum):
    """How far a reading can be trusted, best first."""

    EXACT = "exact"
    ESTIMATE = "estimate"
    STALE = "stale"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[T]):
    """One fact read from the host.

    Invariants:
        `value` is `None` exactly when `quality` is `UNKNOWN`; then `reason` says why.
    """

    value: T | None
    source: str
    quality: Quality = Quality.EXACT
    age_seconds: float = 0.0
    reason: str = ""

    def __post_init__(self) -> None:
        assert (self.value is None) == (self.quality is Quality.UNKNOWN), self


def unknown(source: str, reason: str) -> Reading[T]:
    """Returns the reading that says: not known, and why."""
    return Reading(value=None, source=source, quality=Quality.UNKNOWN, reason=reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One GPU (or MIG slice, or the CPU's memory as a pool) that can hold models."""

    id: DeviceId
    name: str
    library: str  # Ollama's backend word: CUDA, ROCm, Vulkan, Metal
    total_bytes: Reading[int]
    free_bytes: Reading[int]
    index: int | None = None  # decoration: the driver does not promise an order
    pci_id: str = ""
    integrated: bool = False  # shares the host's RAM
    compute: str = ""  # e.g. "8.9"; decides flash attention in Ollama


@dataclass(frozen=True, slots=True, kw_only=True)
class HostMemory:
    """RAM as the server process may use it.

    Attributes:
        pressure: why nothing is preloaded whatever is available; empty without signs of pressure.
    """

    total_bytes: Reading[int]
    available_bytes: Reading[int]
    pressure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One row of a GGUF tensor table. `type` is the GGML name, e.g. `Q4_K`."""

    name: str
    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One installed set of weights with all of its names.

    Invariants:
        `names` is not empty, sorted, and each carries a tag (`:latest` if none was given).
    """

    key: ModelKey
    names: tuple[str, ...]
    manifest_digests: Mapping[str, str]  # name -> manifest digest, hex without prefix
    file_bytes: int | None  # the weights blob; None where only the manifest's sum is known
    size_bytes: int | None = None  # `/api/tags`: all layers of the manifest
    format: str = "gguf"
    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    capabilities: frozenset[str] = frozenset()
    facts: Facts = field(default_factory=dict)
    tensors: tuple[Tensor, ...] | None = None
    projector_facts: Facts = field(default_factory=dict)
    projector_bytes: int | None = 0  # None: it has one, size unknown
    adapter_bytes: int | None = 0
    modelfile_num_ctx: Mapping[str, int] = field(default_factory=dict)  # name -> num_ctx
    modelfile_main_gpu: Mapping[str, int] = field(default_factory=dict)  # name -> main_gpu
    basis: str = ""  # where the facts come from: "show verbose", "tags only", …

    @property
    def name(self) -> str:
        """The name shown to people: the shortest, then the first in order."""
        return min(self.names, key=lambda n: (len(n), n))

    @property
    def is_embedding(self) -> bool:
        """Whether the model only embeds (no completion): it runs one slot, and other pings."""
        return "embedding" in self.capabilities and "completion" not in self.capabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """One row of `/api/ps`.

    Units:
        `expires_at` is Unix seconds; `FOREVER` when more than 100 years away.
    """

    name: str
    manifest_digest: str
    key: ModelKey | None  # None: no installed entry matches (deleted or re-pulled)
    size_bytes: int | None
    size_vram_bytes: int | None
    context: int | None  # of one slot
    expires_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How the Ollama server was started, as far as known; `None` means Ollama's default."""

    max_loaded_models: int | None = None
    num_parallel: int | None = None
    context_length: int | None = None
    kv_cache_type: str | None = None
    flash_attention: bool | None = None
    sched_spread: bool | None = None
    keep_alive_seconds: float | None = None
    gpu_overhead_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """The server's process: with its start it tells a restarted server from the one before."""

    pid: int
    started_at: float


RunnerPhase = Literal["loading", "resident", "stopping", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerSeen:
    """One runner process of the server, as the process table shows it.

    Attributes:
        key: the model it serves; `None` where its command line cannot be read.
        is_working: whether it used CPU or GPU since the look before; `None`: not known.

    Units:
        `started_at` is Unix seconds.
    """

    pid: int
    started_at: float
    key: ModelKey | None
    phase: RunnerPhase
    is_working: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One look at a host. Everything the decision may depend on besides config and state.

    Attributes:
        residents_at: when `/api/ps` was asked; `None`: at `at`.
        server: the server's process; `None`: it cannot be seen from here.
        runners: of this server only; `None`: its processes cannot be seen from here.
        located: resident -> device -> bytes, as far as the driver told them by process.
        placed: the same of others, as they were seen to come; the bytes are Ollama's word. A look
            shows none: the loop adds what it remembers.
        clients: who was connected to the server, names of programs or addresses; `None`: nobody
            asked, or it cannot be seen from here.
        trouble: why the server did not answer; empty when it did.
        learnt: what earlier loads on this host taught.

    Units:
        `at` and `residents_at` are Unix seconds of the wall clock.
    """

    at: float
    server_url: str
    is_local: bool
    version: str | None
    entries: tuple[Entry, ...]
    residents: tuple[Resident, ...] | None  # None: not known (timed out), never "empty"
    devices: tuple[Device, ...]
    memory: HostMemory
    settings: ServerSettings = field(default_factory=ServerSettings)
    notes: tuple[str, ...] = ()  # what could not be read, in plain words
    residents_at: float | None = None
    server: ServerProcess | None = None
    runners: tuple[RunnerSeen, ...] | None = None
    located: Mapping[ModelKey, Mapping[DeviceId, int]] = field(default_factory=dict)
    placed: Mapping[ModelKey, Mapping[DeviceId, int]] = field(default_factory=dict)
    clients: tuple[str, ...] | None = None
    trouble: str = ""
    learnt: Learnt = field(default_factory=Learnt)

    def name_of(self, key: ModelKey | None) -> str:
        """Returns the name of an installed model; empty if it is not one."""
        return next((entry.name for entry in self.entries if entry.key == key), "")


@lru_cache(maxsize=4096)
def normalise_name(name: str) -> str:
    """Returns the name as Ollama compares it: lower case, with a tag.

    Source: ollama-behaviour 3.1 and transcript 16: case does not matter, no tag means `:latest`.
    """
    lowered = name.strip().lower()
    last = lowered.rsplit("/", 1)[-1]
    return lowered if ":" in last else f"{lowered}:latest"


def find_entry(entries: tuple[Entry, ...], name: str) -> Entry | None:
    """Returns the entry that carries `name` (any case, tag optional), or `None`."""
    wanted = normalise_name(name)
    for entry in entries:
        if wanted in (normalise_name(n) for n in entry.names):
            return entry
    return None
