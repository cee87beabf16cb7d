"""The words of budgets.toml and what each may say. Only what this version does is accepted.

pydantic stays in this file and in `load`: what leaves the adapter is made of core types.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
)

from warmset.adapters.config.document import is_text
from warmset.adapters.config.listen import parse_listen
from warmset.adapters.config.zones import find_zone
from warmset.core.model import FOREVER
from warmset.core.ollama.keepalive import SAFE_MAX_SECONDS, DurationError, parse_go_duration
from warmset.core.windows import Window, WindowError, parse_window
from warmset.errors import ConfigError

KvCacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
"""What the server's runner takes. Source: llama.cpp `common/arg.cpp: kv_cache_types`."""

_SIZE = re.compile(r"(\d{1,15})(\.\d{1,6})?\s*([A-Za-z]*)", re.ASCII)
GPU_NAME = re.compile(
    r"\d{1,3}|(?:GPU|MIG)-[0-9a-f-]+|(?:[0-9a-f]{4}|[0-9a-f]{8}):[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]"
    r"|[a-z]+:\S+",
    re.ASCII | re.IGNORECASE,
)
_PERCENT = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)\s*%", re.ASCII)
_MAX_SIZE = 1 << 60
MAX_SPAN_SECONDS = 366 * 86400.0


def _check_size(value: object) -> object:
    """Refuses what pydantic would guess at: bits, fractions of a byte, trailing words."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError('should be a size such as "1GiB" or a whole number of bytes')  # noqa: TRY004 - pydantic turns only ValueError into a report
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        if found is None:
            raise ValueError('should be a size such as "1GiB", "512MiB" or "10GB"')
        whole, fraction, unit = found.groups()
        if (len(unit) > 1 and unit.endswith("b")) or unit.lower().endswith("bit"):
            raise ValueError('a small b means bits; write bytes, such as "8GB" or "8GiB"')
        if fraction and not unit:
            raise ValueError(f'a fraction of a byte; write a unit, as in "{whole}{fraction}GiB"')
        return value.strip()
    return value


def _check_range(value: int) -> int:
    if not 0 <= value <= _MAX_SIZE:
        raise ValueError("should be between 0 and 1 EiB")
    return value


def _parse_ratio(value: str) -> float:
    found = _PERCENT.fullmatch(value.strip())
    if found is None:
        raise ValueError('should be a share such as "90%" or a size such as "20GiB"')
    ratio = float(found[1]) / 100
    if not 0 < ratio <= 1:
        raise ValueError("should be above 0% and at most 100%")
    return ratio


def _kind_of_limit(value: object) -> str:
    return "share" if isinstance(value, str) and "%" in value else "size"


def _parse_keep_alive(value: object) -> float:
    """The meaning of OLLAMA_KEEP_ALIVE: a Go duration or whole seconds, negative = for ever."""
    seconds = None
    try:
        if isinstance(value, str):
            seconds = parse_go_duration(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            seconds = min(value, SAFE_MAX_SECONDS)
    except DurationError:
        pass
    if seconds is None:
        raise ValueError('should be a duration such as "5m", "1h30m" or -1 for ever')
    return FOREVER if seconds < 0 else seconds


def _parse_span(value: object) -> float:
    """A Go duration or a number of seconds, never negative nor endless."""
    seconds: float | None = None
    try:
        if isinstance(value, str):
            seconds = parse_go_duration(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value)
    except DurationError:
        pass
    if seconds is None or not 0 <= seconds <= MAX_SPAN_SECONDS:
        raise ValueError('should be a duration such as "5s", "2m" or "1h30m", up to a year')
    return seconds


def _check_webhook(value: str | None) -> str | None:
    scheme, _, rest = (value or "http://x").partition("://")
    if scheme not in ("http", "https") or not rest.strip("/"):
        raise ValueError('should be an address such as "https://chat.example/hooks/…"')
    return value


def _check_listen(value: str | None) -> str | None:
    if value is not None:
        parse_listen(value)
    return value


def _check_text(value: str) -> str:
    if not is_text(value):
        raise ValueError("should be a text without control characters, and not empty")
    return value.strip()


def _check_gpu(value: object) -> str:
    """A UUID, a PCI address or an index, as text or as a number."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not GPU_NAME.fullmatch(text.strip()):
        raise ValueError("should be a UUID (GPU-…), PCI address (0000:01:00.0) or index (0)")
    return text.strip()


def _parse_window(value: object) -> Window:
    if not isinstance(value, str):
        raise ValueError('should be a text such as "Mon-Fri 08:00-18:00"')  # noqa: TRY004 - as above
    try:
        return parse_window(value)
    except WindowError as error:
        raise ValueError(str(error)) from error


def _check_zone(value: str) -> str:
    try:
        find_zone(value)
    except ConfigError as error:
        raise ValueError(error.message) from error
    return value


Size = Annotated[ByteSize, AfterValidator(_check_range), BeforeValidator(_check_size)]
Share = Annotated[float, BeforeValidator(_parse_ratio)]
Limit = Annotated[
    Annotated[Share, Tag("share")] | Annotated[Size, Tag("size")], Discriminator(_kind_of_limit)
]
KeepAlive = Annotated[float, BeforeValidator(_parse_keep_alive)]
Seconds = Annotated[float, BeforeValidator(_parse_span)]
Text = Annotated[str, AfterValidator(_check_text), Field(strict=True)]
WindowText = Annotated[Window, BeforeValidator(_parse_window)]
Windows = Annotated[list[WindowText], Field(strict=True, max_length=64)]
Zone = Annotated[Text, AfterValidator(_check_zone)]
Gpu = Annotated[str, BeforeValidator(_check_gpu)]
Count = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
Tokens = Annotated[int, Field(strict=True, ge=1, le=100_000_000)]
Priority = Annotated[int, Field(strict=True, ge=0, le=1000)]
Times = Annotated[int | None, Field(strict=True, ge=0, le=1000)]
Flag = Annotated[bool, Field(strict=True)]


class Section(BaseModel):
    """A table of the file: no key but its own, no change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class OllamaSection(Section):
    """`[ollama]`: where the server is and how it was started, as far as known."""

    url: Text | None = None
    max_loaded_models: Count | None = None
    num_parallel: Count | None = None
    context_length: Count | None = None
    kv_cache_type: KvCacheType | None = None
    flash_attention: Flag | None = None
    sched_spread: Flag | None = None
    keep_alive: KeepAlive | None = None
    gpu_overhead: Size | None = None


class GpuSection(Section):
    """What may be filled of a GPU."""

    vram_reserve: Size | None = None
    vram_limit: Limit | None = None


class OneGpuSection(GpuSection):
    """`[budget.gpu."UUID, PCI address or index"]`: what differs on one GPU."""

    memory: Size | None = None


class BudgetSection(GpuSection):
    """`[budget]`: what warmset may fill."""

    ram_limit: Size | None = None
    gpu: dict[str, OneGpuSection] = Field(default_factory=dict)


class ClassSection(Section):
    """`[class.NAME]`: settings that several models share."""

    priority: Priority | None = None
    keep_alive: KeepAlive | None = None
    windows: Windows | None = None
    timezone: Zone | None = None


class ModelSection(Section):
    """`[model."NAME"]`: what is wanted for one model."""

    class_: Annotated[Text | None, Field(alias="class")] = None
    priority: Priority | None = None
    pin: Flag = False
    preload: Flag = True
    context: Tokens | None = None
    parallel: Annotated[int | None, Field(strict=True, ge=1, le=1024)] = None
    requests_per_day: Annotated[float | None, Field(strict=True, ge=0, le=1e9)] = None
    gpu: Gpu | None = None
    clients_send_context: Flag = False
    keep_alive: KeepAlive | None = None
    windows: Windows | None = None
    timezone: Zone | None = None


class PolicySection(Section):
    """`[policy]`: how often the loop looks and how eagerly it may act; see `LoopSettings`."""

    manage: Literal["configured", "all"] | None = None
    tick: Annotated[Seconds | None, Field(ge=0.2, le=300)] = None
    min_residency: Seconds | None = None
    idle_after: Seconds | None = None
    cool_down: Seconds | None = None
    calm: Seconds | None = None
    settle: Seconds | None = None
    pressure: Seconds | None = None
    lease_base: Annotated[Seconds | None, Field(ge=60)] = None
    lease_base_limit: Annotated[Seconds | None, Field(ge=60)] = None
    pings_per_tick: Annotated[int | None, Field(strict=True, ge=1, le=100)] = None
    fight_window: Annotated[Seconds | None, Field(ge=1)] = None
    restores_per_window: Annotated[int | None, Field(strict=True, ge=1, le=1000)] = None
    reasserts_per_window: Times = None
    reloads_per_window: Times = None
    back_off: Annotated[Seconds | None, Field(ge=1)] = None
    back_off_limit: Annotated[Seconds | None, Field(ge=1)] = None
    load_limit: Annotated[Seconds | None, Field(ge=10)] = None
    stuck_after: Annotated[Seconds | None, Field(ge=10)] = None
    may_rescue: Flag | None = None
    may_reload_pins: Flag | None = None
    may_evict_unconfigured: Flag | None = None
    may_overwrite_infinite: Flag | None = None
    name: Literal["saving", "worth"] | None = None
    price_per_gib_hour: Annotated[float | None, Field(strict=True, ge=0, le=1e9)] = None
    on_stop: Literal["leave", "release"] | None = None


class ServeSection(Section):
    """`[serve]`: where the daemon shows itself."""

    listen: Annotated[Text | None, AfterValidator(_check_listen)] = None
    allow_remote: Flag = False
    page: Flag = False


class AlertsSection(Section):
    """`[alerts]`: who is told of alarms."""

    webhook: Annotated[Text | None, AfterValidator(_check_webhook)] = None
    token_file: Text | None = None
    least: Literal["note", "warning", "error"] | None = None


class YieldSection(Section):
    """`[yield]`: whom every configured model makes way for."""

    programs: Annotated[list[Text] | None, Field(max_length=64)] = None
    on_battery: Flag | None = None


class BudgetsFile(Section):
    """The whole file."""

    timezone: Zone | None = None
    ollama: OllamaSection = Field(default_factory=OllamaSection)
    budget: BudgetSection = Field(default_factory=BudgetSection)
    policy: PolicySection = Field(default_factory=PolicySection)
    class_: Annotated[dict[str, ClassSection], Field(alias="class", default_factory=dict)]
    model: dict[str, ModelSection] = Field(default_factory=dict)
    serve: ServeSection = Field(default_factory=ServeSection)
    alerts: AlertsSection = Field(default_factory=AlertsSection)
    yield_: Annotated[YieldSection, Field(alias="yield", default_factory=YieldSection)]


def keys_of(section: type[BaseModel]) -> list[str]:
    """Returns the words that a section understands, as they stand in the file."""
    return [field.alias or name for name, field in section.model_fields.items()]


SECTIONS: Final[Mapping[tuple[str, ...], type[BaseModel]]] = {
    (): BudgetsFile,
    ("ollama",): OllamaSection,
    ("budget",): BudgetSection,
    ("policy",): PolicySection,
    ("budget", "gpu", "*"): OneGpuSection,
    ("class", "*"): ClassSection,
    ("model", "*"): ModelSection,
    ("serve",): ServeSection,
    ("alerts",): AlertsSection,
    ("yield",): YieldSection,
}
"""Path of table names -> what may stand there; `*` is any name."""


def section_at(path: tuple[str, ...]) -> type[BaseModel] | None:
    """Returns the section that a path of table names leads to, or `None`."""
    return SECTIONS.get(path) or SECTIONS.get((*path[:-1], "*"))
