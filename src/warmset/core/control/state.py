"""What the loop remembers between two looks. Frozen, plain, versioned; losing it loses no model.

Everything here is either an observation worth keeping (when a model came, what its load took), a
promise to hold back (back-off, cool-down), or the one order that is being carried out. What is
wanted is never remembered: it is decided afresh from what is seen.

Units:
    Moments are `step`'s `now`: Unix seconds that run steadily. The driver makes them from the
    wall clock at its start plus a clock that never steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from warmset.core.control.actions import CallOff, Preload, Renew, Unload
from warmset.core.control.plain import UNWRITTEN, PlainError, from_plain, to_plain
from warmset.core.control.wanted import Planned
from warmset.core.model import DeviceId, ModelKey, Resident, ServerProcess
from warmset.core.replacing import replace
from warmset.errors import TraceError

VERSION: Final = 1
"""Raised when an older reader would misunderstand; fields with defaults do not need it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What is remembered of one model.

    Attributes:
        slot: its rank's place among the leases.
        lease: the keep-alive that warmset gave and believes to stand; `None`: none, or overwritten.
        leased_at: when warmset gave it the keep-alive that it has, as far as known, whether that
            is known to stand or not; `None`: it has somebody else's.
        foreign: what a client's own keep-alive seems to be.
        is_overruled: a client replaced our lease; only a pin takes it back.
        pid: of its runner, since it was seen resident.
        resident_since: since when it is seen resident.
        used_at: the last sign of use; `busy_at`: the last sign that it was busy at that moment.
        touched_at: the last order of ours that reached it.
        unmoved: the deadline that our last ping did not move: a request is in flight until it does.
        unloaded_at, preloaded_at: by warmset; the former is when it was gone, until then when the
            unload was sent. `comes_back`: that unload was to load it again.
        lost_at, lost_to: when it left against our wish, and what was coming or there then.
        client: who was connected to the server at the look after it was lost or overruled last.
        missing_since: since when it is pinned and not resident.
        restores, overwrites, cycles: moments within the fight window.
        pause: how long the last back-off was; `quiet_until`: nothing is sent to it before.
        free_low, free_high: device -> bytes that were free before it was loaded, at least and at
            most; Ollama goes on counting with that as long as its runner lives. Both empty: nobody
            saw it come.
        digest: of its manifest when `/api/ps` listed it last; `held`: device -> bytes then. Under
            that digest it is found again when its name means other weights.
        place: where on several GPUs it lies, as Ollama counts its bytes; empty: nobody saw.
        load_seconds: of its last load by warmset. `was_there`: the last preload was answered at
            once, so it loaded nothing.
        retired_at: when it had been unused for as long as it is kept; `None`: it was asked for
            since.
    """

    name: str
    slot: int | None = None
    lease: float | None = None
    leased_at: float | None = None
    foreign: float | None = None
    is_overruled: bool = False
    pid: int | None = None
    resident_since: float | None = None
    used_at: float | None = None
    busy_at: float | None = None
    touched_at: float | None = None
    unmoved: float | None = None
    unloaded_at: float | None = None
    comes_back: bool = False
    preloaded_at: float | None = None
    lost_at: float | None = None
    lost_to: str = ""
    client: str = ""
    missing_since: float | None = None
    restores: tuple[float, ...] = ()
    overwrites: tuple[float, ...] = ()
    cycles: tuple[float, ...] = ()
    failures: int = 0
    pause: float = 0.0
    quiet_until: float | None = None
    quiet_reason: str = ""
    free_low: Mapping[DeviceId, int] = field(default_factory=dict)
    free_high: Mapping[DeviceId, int] = field(default_factory=dict)
    digest: str = ""
    held: Mapping[DeviceId, int] = field(default_factory=dict)
    place: Mapping[DeviceId, int] = field(default_factory=dict)
    load_seconds: float | None = None
    was_there: bool = False
    retired_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """The last look that told what is resident.

    Attributes:
        wall_at: the wall clock then, which `expires_at` is compared with.
        is_first: there was none before it, or none that may be compared with it.
        pids: runner of each model, as it was seen last.
        free: device -> bytes.
        held: model -> device -> bytes, as far as known.
    """

    at: float
    wall_at: float
    residents: tuple[Resident, ...]
    is_first: bool = False
    free: Mapping[DeviceId, int] = field(default_factory=dict)
    pids: Mapping[ModelKey, int] = field(default_factory=dict)
    held: Mapping[ModelKey, Mapping[DeviceId, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What other programs hold on one GPU; see `lasting`.

    Attributes:
        lasting: bytes that they have held for as long as `LoopSettings.pressure`.
        more: the least that they have held since `more_since`, always more than that.
    """

    lasting: int = 0
    more: int = 0
    more_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """A model that was unloaded and whose memory is not back yet.

    `preloaded_at`: by warmset, before it was unloaded. `is_ignored`: at the last look the unload
    had done nothing.

    Units:
        Bytes per device; `gone_at` is when `/api/ps` no longer listed it.
    """

    key: ModelKey
    name: str
    held: Mapping[DeviceId, int]
    free_before: Mapping[DeviceId, int]
    since: float
    gone_at: float | None = None
    preloaded_at: float | None = None
    is_ignored: bool = False


Stage = Literal["read", "ping", "check", "preload", "unload"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """The command that is open, and the order it belongs to.

    `listed_since`: since when a row shows the name of its model and weights that nobody knows: its
    own load, if that is answered at once.
    """

    number: int
    stage: Stage
    order: Renew | Preload | Unload
    since: float
    is_cancelled: bool = False
    called_off: CallOff | None = None
    listed_since: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """The executor's own state: what is open and what comes next.

    `ping_seconds`: how long the ping took that is being checked.
    """

    queue: tuple[Renew | Preload | Unload, ...] = ()
    running: Running | None = None
    number: int = 0
    ping_seconds: float = 0.0
    is_stopping: bool = False


LeverName = Literal["ping", "preload", "unload", "order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeverRecord:
    """How one way of steering Ollama fared of late, on one version of it; see `drift`.

    Attributes:
        failures: uses in a row without effect.
        broken_since: since when it is taken for broken; `quiet_until`: it is not used before;
            `pause`: how long that was.
        version: of Ollama.
    """

    failures: int = 0
    broken_since: float | None = None
    quiet_until: float | None = None
    pause: float = 0.0
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything the loop remembers.

    Attributes:
        at: the last step; 0: none yet.
        clock_offset: wall clock minus `now`; a jump of it is a clock that was set.
        gpus: those that the server was started with, as far as known.
        load_seen_at: the last sign of a load that was not ours, or of a request for one.
        load_why: what it was.
        freed: device -> bytes that left a short while ago: when a load began since, the driver may
            not have shown them as free. `freed_at`: when the last of them left.
        awaited: device -> bytes that are free at least once what left last is back.
        at_rest: device -> bytes that were free at the last look that showed nothing being loaded: a
            model that came since may have found no more.
        loading: process of each model that was being loaded at the last look.
        beside_loading: model -> device -> the least that was free at looks that showed it loading.
        pressure_since: since when more is held than may be.
        others: what other programs hold on each GPU.
        unexplained: what is taken on each of several GPUs beside those whose `place` is known.
        reloads: moments of our preloads of models that had been resident before.
        base: the shortest lease in force; 0: none yet.
        raised: codes of the alarms that stand -> since when.
        races: pings that reloaded or resurrected something.
        pings_quiet_until: no ping before.
        moved_at: when a model last came, left or was seen loading.
        stuck_since: since when Ollama seems to load nothing any more.
        probe_at: until then nothing is preloaded, if so.
        rescues: unloads that were to wake its queue.
        levers: those that failed the last time they were used.
        planned: the last plans, so that a host that looks as before is not planned for again; not
            written.
        unreachable: steps in a row without an answer.
    """

    version: int = VERSION
    at: float = 0.0
    clock_offset: float | None = None
    server: ServerProcess | None = None
    server_version: str | None = None
    gpus: tuple[DeviceId, ...] | None = None
    looked: Looked | None = None
    models: Mapping[ModelKey, Remembered] = field(default_factory=dict)
    leaving: tuple[Leaving, ...] = ()
    load_seen_at: float | None = None
    load_why: str = ""
    freed: Mapping[DeviceId, int] = field(default_factory=dict)
    freed_at: float | None = None
    awaited: Mapping[DeviceId, int] = field(default_factory=dict)
    at_rest: Mapping[DeviceId, int] = field(default_factory=dict)
    loading: Mapping[ModelKey, int] = field(default_factory=dict)
    beside_loading: Mapping[ModelKey, Mapping[DeviceId, int]] = field(default_factory=dict)
    pressure_since: float | None = None
    others: Mapping[DeviceId, Held] = field(default_factory=dict)
    unexplained: Mapping[DeviceId, Held] = field(default_factory=dict)
    reloads: tuple[float, ...] = ()
    base: float = 0.0
    raised: Mapping[str, float] = field(default_factory=dict)
    races: tuple[float, ...] = ()
    pings_quiet_until: float | None = None
    moved_at: float | None = None
    stuck_since: float | None = None
    probe_at: float | None = None
    rescues: tuple[float, ...] = ()
    levers: Mapping[LeverName, LeverRecord] = field(default_factory=dict)
    unreachable: int = 0
    orders: Orders = field(default_factory=Orders)
    planned: tuple[Planned, ...] = field(default=(), compare=False, repr=False, metadata=UNWRITTEN)

    @property
    def load_seconds(self) -> Mapping[ModelKey, float]:
        """What the last load of each model took, where warmset loaded it."""
        known = self.models.items()
        return {key: m.load_seconds for key, m in known if m.load_seconds is not None}

    def of(self, key: ModelKey, name: str = "") -> Remembered:
        """Returns what is remembered of a model; of an unknown one nothing but its name."""
        return self.models.get(key) or Remembered(name=name)

    def note(self, key: ModelKey, name: str = "", **changes: object) -> State:
        """Returns the state with some facts of one model changed."""
        known = self.of(key, name)
        changed = replace(known, **changes)  # type: ignore[arg-type]  # names are checked by replace
        return replace(self, models={**self.models, key: changed})


def state_to_plain(state: State) -> object:
    """Returns the state as JSON-able values."""
    return to_plain(state)


def state_from_plain(plain: object) -> State:
    """Returns a saved state, ready for a new process: what was open then is closed.

    Raises:
        TraceError: it is of another version or not a state. Start with `State()` then.
    """
    version = plain.get("version") if isinstance(plain, dict) else None
    if version != VERSION:
        raise TraceError(
            f"the saved state has version {version!r}; this warmset writes {VERSION}",
            hint="nothing is lost but what was learnt of fights and load times",
        )
    try:
        state = from_plain(State, plain)
    except PlainError as error:
        raise TraceError(f"the saved state cannot be used: {error}") from error
    return replace(state, orders=Orders(number=state.orders.number), looked=None)
