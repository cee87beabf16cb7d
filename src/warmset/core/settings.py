"""The operator's words as values: server, budget, models. All defaults are stated here.

Whoever reads budgets.toml (or builds a test) makes one `Settings`; the decision rooms know
nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType

from warmset.core.loop_settings import LoopSettings
from warmset.core.model import Device, ServerSettings, normalise_name
from warmset.core.units import GIB
from warmset.core.windows import Window

DEFAULT_URL = "http://127.0.0.1:11434"
"""Source: ollama-behaviour 1, `envconfig/config.go: Host`."""

DEFAULT_PRIORITY = 50
DEFAULT_LEAST_ALARM = "warning"
DEFAULT_VRAM_RESERVE_BYTES = 1 * GIB
"""Held back on each GPU: driver contexts, a display, fragmentation.

Source: two CUDA contexts (0.3-0.5 GiB each as `nvidia-smi` shows them) or one small desktop;
an operator's choice, not a measurement of this host.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPolicy:
    """What the operator wants for one model.

    Attributes:
        keep_alive: how long an unused, unpinned model is kept; `None`: as long as its rank allows.
        windows: when it is wanted; none: always. `timezone` says whose local time; empty: the
            host's.

    Units:
        `context` is tokens of one slot; `requests_per_day` is the expected demand; `keep_alive`
        is seconds.
    """

    name: str  # as written in the file
    priority: int = DEFAULT_PRIORITY  # the lowest loses first
    pin: bool = False  # always wanted resident
    preload: bool = True  # False: kept when asked for, never fetched
    context: int | None = None  # what its clients get; None: the server decides
    parallel: int | None = None
    requests_per_day: float | None = None
    gpu: str | None = None  # the only one it may lie on (`normalise_gpu`); None: any
    clients_send_context: bool = False  # only then a preload may send `num_ctx`
    class_name: str = ""
    keep_alive: float | None = None
    windows: tuple[Window, ...] = ()
    timezone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuBudget:
    """The share of one GPU that warmset may fill.

    Attributes:
        stated_bytes: its size as the operator states it, for GPUs whose driver does not tell.

    Invariants:
        At most one of `vram_limit_ratio` and `vram_limit_bytes` is set.
    """

    vram_reserve_bytes: int = DEFAULT_VRAM_RESERVE_BYTES
    vram_limit_ratio: float | None = None
    vram_limit_bytes: int | None = None
    stated_bytes: int | None = None

    def __post_init__(self) -> None:
        assert self.vram_limit_ratio is None or self.vram_limit_bytes is None, self

    def bytes_of(self, total_bytes: int) -> int:
        """Returns the usable bytes of a GPU of that size, within limit and reserve."""
        limit = total_bytes
        if self.vram_limit_ratio is not None:
            limit = int(total_bytes * self.vram_limit_ratio)
        elif self.vram_limit_bytes is not None:
            limit = min(total_bytes, self.vram_limit_bytes)
        return max(0, min(limit, total_bytes - self.vram_reserve_bytes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What warmset may fill: the same for every GPU unless `gpus` names one.

    Invariants:
        Keys of `gpus` are normalised (`normalise_gpu`): a UUID, a PCI address or an index.
    """

    default: GpuBudget = field(default_factory=GpuBudget)
    gpus: Mapping[str, GpuBudget] = field(default_factory=lambda: MappingProxyType({}))
    ram_limit_bytes: int | None = None  # None: what the host has

    def of(self, device_id: str, *, index: int | None = None, pci_id: str = "") -> GpuBudget:
        """Returns the budget of one GPU; its UUID counts before its address and its index."""
        for key in (device_id, pci_id, "" if index is None else str(index)):
            if key and normalise_gpu(key) in self.gpus:
                return self.gpus[normalise_gpu(key)]
        return self.default

    def strangers(self, devices: Iterable[Device]) -> tuple[str, ...]:
        """Returns the keys of `gpus` that name none of these devices: most likely mistakes."""
        known: set[str] = set()
        for device in devices:
            index = "" if device.index is None else str(device.index)
            known |= {normalise_gpu(name) for name in (device.id, device.pci_id, index) if name}
        return tuple(key for key in self.gpus if key not in known)

    def budget_bytes(
        self, device_id: str, index: int | None, total_bytes: int, *, pci_id: str = ""
    ) -> int:
        """Returns the bytes that models may take on this GPU, never more than it has."""
        return self.of(device_id, index=index, pci_id=pci_id).bytes_of(total_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where `warmset serve` answers `/metrics`, `/healthz` and `/readyz`."""

    host: str = "127.0.0.1"
    port: int = 11436
    """Next to Ollama's 11434 and the twin's 11435. Our choice."""

    @property
    def address(self) -> str:
        """The address as people write it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """How the daemon shows itself.

    Attributes:
        listen: `None`: nowhere.
        allow_remote: whether `listen` may be an address that other machines reach.
        page: whether the status page is there too.
    """

    listen: Listen | None = Listen()
    allow_remote: bool = False
    page: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """Who is told of alarms.

    Attributes:
        webhook: where to POST them; may hold a secret, so it is shown nowhere whole.
        token_file: its content is sent as a bearer token.
        least: the quietest alarm that is told: `note`, `warning` or `error`.
    """

    webhook: str = ""
    token_file: str = ""
    least: str = DEFAULT_LEAST_ALARM


@dataclass(frozen=True, slots=True, kw_only=True)
class YieldSettings:
    """Whom every configured model makes way for, on a machine that others use too.

    Attributes:
        programs: names as the process table shows them.
        on_battery: whether a machine on its battery needs its memory and power itself.
    """

    programs: tuple[str, ...] = ()
    on_battery: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the operator said, and where each word came from.

    Invariants:
        Keys of `models` are normalised names (`normalise_name`).
        Keys of `origins` are dotted (`budget.vram_limit`); what is missing there is a default.
    """

    url: str = DEFAULT_URL
    server: ServerSettings = field(default_factory=ServerSettings)
    budget: Budget = field(default_factory=Budget)
    loop: LoopSettings = field(default_factory=LoopSettings)
    yields: YieldSettings = field(default_factory=YieldSettings)
    models: Mapping[str, ModelPolicy] = field(default_factory=lambda: MappingProxyType({}))
    classes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))  # priority
    serve: ServeSettings = field(default_factory=ServeSettings)
    alerts: AlertSettings = field(
        default_factory=AlertSettings, repr=False, metadata={"unwritten": True}
    )  # a secret of the operator: in no journal, no message
    origins: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    path: str = ""  # the file, if there was one

    def policy_for(self, names: tuple[str, ...]) -> ModelPolicy:
        """Returns the policy of the entry with these names, or the default policy.

        One set of weights can carry several names. If the file speaks of more than one, a pin
        counts before a higher priority: what is wanted under any name is wanted.
        """
        best: ModelPolicy | None = None
        for name in names:
            said = self.models.get(normalise_name(name))
            if said is None:
                continue
            if best is None or (said.pin, said.priority) > (best.pin, best.priority):
                best = said
        return best or ModelPolicy(name=names[0])


def merge_server(said: ServerSettings, seen: ServerSettings) -> ServerSettings:
    """Returns a server's settings: what was seen of it beats what the operator said of it."""
    values = {}
    for item in fields(ServerSettings):
        found = getattr(seen, item.name)
        values[item.name] = getattr(said, item.name) if found is None else found
    return ServerSettings(**values)


def normalise_gpu(name: str) -> str:
    """Returns a GPU's UUID, address or index in the one form that is compared.

    Source: `nvidia-smi` writes PCI domains with eight digits, the kernel with four.
    """
    lowered = name.strip().lower()
    domain, _, rest = lowered.partition(":")
    if lowered.isdigit():
        return str(int(lowered))
    return f"{domain[-4:]}:{rest}" if len(domain) == 8 and rest.count(":") == 1 else lowered
