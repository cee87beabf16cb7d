"""A model as the planner weighs it: what it needs, what it is worth, what Ollama will think of it.

Need and forecast are two truths. *Need* is what the driver will show, with an upper bound; the
*forecast* is Ollama's own cruder sum, made from the weights file and the load shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from warmset.core.footprint.result import Basis
from warmset.core.model import DeviceId, ModelKey
from warmset.core.ollama.context import server_context
from warmset.core.ollama.predict import predict_vram
from warmset.core.ollama.types import LoadShape, WeightsFile
from warmset.core.replacing import replace
from warmset.core.settings import DEFAULT_PRIORITY

NEUTRAL_REQUESTS_PER_DAY: Final = 1.0
"""Demand of a model that nobody has described: each counts alike, as one cold start a day."""

NEUTRAL_LOAD_BYTES_PER_SECOND: Final = 1_000_000_000
"""Reading speed where no load was timed: one GB/s, between a SATA and an NVMe drive."""

LOAD_START_SECONDS: Final = 2.0
"""Start of the runner process and its GPU context, before any weights are read.

Source: small models in the recorded Ollama transcripts take one to three seconds.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Bytes that one placement takes.

    Invariants:
        `upper_bytes` >= `point_bytes`; plans count with the upper bound.
    """

    point_bytes: int
    upper_bytes: int
    ram_bytes: int = 0
    basis: Basis = "estimated"

    def __post_init__(self) -> None:
        assert 0 <= self.point_bytes <= self.upper_bytes, self
        assert self.ram_bytes >= 0, self


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Bytes of a model over a whole backend group of GPUs.

    Each GPU takes its `fixed` bytes and a share of the `shared` ones in proportion to its free
    memory. `fixed` includes one layer, since layers are not cut.
    """

    fixed_point_bytes: int
    fixed_upper_bytes: int
    shared_bytes: int
    ram_bytes: int = 0
    basis: Basis = "estimated"

    @property
    def margin_bytes(self) -> int:
        """What the upper bound adds on each GPU."""
        return self.fixed_upper_bytes - self.fixed_point_bytes

    def shares(self, free: Mapping[DeviceId, int], *, is_upper: bool = True) -> dict[DeviceId, int]:
        """Returns device -> bytes when the GPUs of the group have this much free."""
        fixed = self.fixed_upper_bytes if is_upper else self.fixed_point_bytes
        parts = split_in_proportion(self.shared_bytes, tuple(free.values()))
        return {device: fixed + part for device, part in zip(free, parts, strict=True)}


DemandBasis = Literal["measured", "said", "assumed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """How often a model is asked for, and how that is known.

    Attributes:
        basis: "measured" in this host's history, "said" by the operator, or "assumed", since
            nobody has described it.
    """

    requests_per_day: float = NEUTRAL_REQUESTS_PER_DAY
    basis: DemandBasis = "assumed"

    @classmethod
    def known_from(cls, measured: float | None, said: float | None) -> Demand:
        """Returns what is known best: history counts before the operator's expectation."""
        if measured is not None:
            return cls(requests_per_day=measured, basis="measured")
        return cls() if said is None else cls(requests_per_day=said, basis="said")


UNDESCRIBED: Final = Demand()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One model that could be resident.

    Attributes:
        on_one: need on a single GPU; `None`: not known, `unknown` says why.
        spread: need over a group of GPUs; `None`: not known or never split.
        on_cpu_bytes: RAM where no GPU is used; `None`: not known.
        file, shape: for Ollama's forecast; `None` where the file's size is not known.
        value: expected seconds of waiting that residency saves per day.
        demand: the requests a day that `value` is made of.
        bound_to: the only GPU on which the operator wants it; `None`: any.
        located: for a resident, device -> bytes it holds there.
        is_preloadable: whether warmset may fetch it; what may not be fetched is only kept.
        is_fixed: whether a resident stays where it is, though another place would suit a plan.
        dismissed: why it shall not be resident even where there is room; empty: it may be.

    Invariants:
        A model that is `located` is resident. A pin is not dismissed.
    """

    key: ModelKey
    name: str
    names: tuple[str, ...]
    on_one: Need | None
    spread: Spread | None = None
    on_cpu_bytes: int | None = None
    unknown: str = ""
    file: WeightsFile | None = None
    shape: LoadShape | None = None
    parallel: int = 1
    completes: bool = True
    priority: int = DEFAULT_PRIORITY
    pin: bool = False
    value: float = 0.0
    demand: Demand = UNDESCRIBED
    load_seconds: float = LOAD_START_SECONDS
    is_preloadable: bool = True
    bound_to: DeviceId | None = None
    is_resident: bool = False
    is_busy: bool = False
    is_fixed: bool = False
    located: Mapping[DeviceId, int] | None = None
    dismissed: str = ""

    def __post_init__(self) -> None:
        assert not (self.pin and self.dismissed), self.name
        assert self.located is None or self.is_resident, self.name
        assert self.value >= 0, self.name

    def afresh(self) -> Candidate:
        """Returns the model as if it were not resident."""
        return replace(self, is_resident=False, is_busy=False, is_fixed=False, located=None)

    @property
    def rank(self) -> tuple[bool, int, float, str]:
        """The order of worth: what ranks lower is evicted first."""
        return (self.pin, self.priority, self.value, self.key)

    @property
    def forecast_bytes(self) -> int | None:
        """What Ollama's own formula says of the load; `None`: its file is not known."""
        if self.file is None or self.shape is None:
            return None
        cells = server_context(self.shape.options.num_ctx, self.file, self.parallel)
        return predict_vram(self.file, cells)


def split_in_proportion(total: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Returns whole parts of `total` in proportion to `weights`, summing up exactly.

    Invariants:
        Each part is its exact share rounded down or up, so parts stay within the weights
        wherever `total` stays within their sum.
    """
    positive = [max(0, weight) for weight in weights]
    whole = sum(positive)
    if whole == 0:
        positive, whole = [1] * len(positive), len(positive)
    parts = []
    passed = given = 0
    for weight in positive:
        passed += weight
        until = total * passed // whole
        parts.append(until - given)
        given = until
    return tuple(parts)


def expected_saving(
    file_bytes: int | None, *, load_seconds: float | None, requests_per_day: float | None
) -> tuple[float, float]:
    """Returns (value, load seconds) of a model, with the neutral rule where nothing is known.

    Args:
        file_bytes: the weights, for a load time nobody has measured.
        load_seconds: as measured here.
        requests_per_day: as stated by the operator or measured.

    Formula:
        value = load seconds * requests per day, as if each request found the model cold.
        Unknown demand counts as one request a day, an unknown load time as two seconds and the
        file at one GB/s.
    """
    if load_seconds is None:
        load_seconds = LOAD_START_SECONDS + (file_bytes or 0) / NEUTRAL_LOAD_BYTES_PER_SECOND
    rate = NEUTRAL_REQUESTS_PER_DAY if requests_per_day is None else requests_per_day
    return load_seconds * rate, load_seconds
