"""Pretended hosts with a warmset beside them, for the tests of the loop."""

from __future__ import annotations

from dataclasses import dataclass, replace

from warmset.core.control.config import Config
from warmset.core.control.loop import Loop
from warmset.core.control.orders import SendPing, SendPreload, SendUnload
from warmset.core.control.state import State
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import ModelKey
from warmset.core.settings import ModelPolicy, Settings, normalise_name
from warmset.core.twin.clock import Timeline
from warmset.core.twin.events import Event, LoadEnded, LoadStarted, Unloaded
from warmset.core.twin.faults import FrailPhysics
from warmset.core.twin.host import HostSpec, TwinHost
from warmset.core.twin.hosts import named_host, physics_of
from warmset.core.twin.sidecar import Sidecar
from warmset.core.units import GIB, MIB

START = 1_760_000_000.0
CARD = "CUDA:0"
CODER, CHAT, EMBED = "qwen2.5-coder:7b", "llama3.1:8b", "nomic-embed-text:latest"
MEDIUM, SMALL, GIANT = "qwen2.5:14b", "llama3.2:3b", "qwen2.5:32b"


def config(loop: LoopSettings | None = None, **models: object) -> Config:
    """`CODER=dict(pin=True)`-like words under the names above."""
    return words({globals()[key]: said for key, said in models.items()}, loop)


def words(models: dict[str, dict], loop: LoopSettings | None = None) -> Config:
    """What an operator says of models, by name."""
    policies = {
        normalise_name(name): ModelPolicy(name=name, **said) for name, said in models.items()
    }
    return Config(settings=Settings(models=policies, loop=loop or LoopSettings()))


@dataclass
class World:
    """A twin with a sidecar; moments are seconds since the start."""

    host: TwinHost
    sidecar: Sidecar
    events: list[tuple[float, Event]]

    @property
    def now(self) -> float:
        return self.host.timeline.now - START

    def run(self, until: float) -> World:
        self.host.timeline.advance(START + until)
        return self

    def at(self, when: float, action) -> World:
        """Plans what happens to the host: `action` is given the twin."""
        self.host.timeline.at(START + when, lambda: action(self.host))
        return self

    def resident(self) -> set[str]:
        return {row.model.name for row in self.host.residents()}

    def sent(self, kind=object, since: float = 0.0) -> list[str]:
        return [
            command.name
            for at, command in self.sidecar.log.sent
            if isinstance(command, kind) and at >= START + since
        ]

    def preloads(self, since: float = 0.0) -> list[str]:
        return self.sent(SendPreload, since)

    def pings(self, since: float = 0.0) -> list[str]:
        return self.sent(SendPing, since)

    def unloads(self, since: float = 0.0) -> list[str]:
        return self.sent(SendUnload, since)

    def findings(self, kind: str) -> list[str]:
        return [found.name for _, found in self.sidecar.log.findings if found.kind == kind]

    def alarms(self) -> list[str]:
        """Codes of all alarms ever raised, without the model."""
        decisions = self.sidecar.log.decisions
        return [alarm.code.split()[0] for d in decisions for alarm in d.alarms]

    def texts(self, code: str) -> list[str]:
        decisions = self.sidecar.log.decisions
        return [a.text for d in decisions for a in d.alarms if a.code.split()[0] == code]

    def waits(self) -> list[str]:
        decision = self.sidecar.loop.decision
        return [action.reason for action in decision.actions if hasattr(action, "until")]

    def loads(self) -> list[tuple[float, float, str]]:
        """Start, end and model of each load, whoever asked for it."""
        started: dict[int, tuple[float, str]] = {}
        found = []
        for at, event in self.events:
            if isinstance(event, LoadStarted):
                started[event.pid] = (at, event.order.model.name)
            elif isinstance(event, LoadEnded):
                begun, name = started[event.pid]
                found.append((begun, at, name))
        return found

    def evicted(self, since: float = 0.0) -> list[str]:
        return [e.name for at, e in self.events if isinstance(e, Unloaded) and at >= since]

    def duration(self, name: str) -> float:
        model = self.host.library.find(name)
        return self.host.scheduler.loaded[model.key].duration

    def key(self, name: str) -> ModelKey:
        return ModelKey(self.host.library.find(name).key)


def world(
    said: Config,
    host: str | HostSpec = "workstation",
    *,
    state: State | None = None,
    starts: bool = True,
    loop: Loop | None = None,
    slowness: float = 1.0,
    **sidecar: object,
) -> World:
    """A twin host at `START` with a warmset that begins at once; loads take so much longer."""
    spec = named_host(host) if isinstance(host, str) else host
    events: list[tuple[float, Event]] = []
    timeline = Timeline(START)
    twin = TwinHost(
        spec,
        FrailPhysics(inner=physics_of(spec), slowness=slowness),
        timeline,
        on_event=lambda event: events.append((timeline.now - START, event)),
    )
    beside = Sidecar(twin, loop or Loop(said, state), **sidecar)
    if starts:
        beside.start()
    return World(twin, beside, events)


def with_env(host: str, **env: object) -> HostSpec:
    spec = named_host(host)
    return replace(spec, env=replace(spec.env, **env))


def pair() -> HostSpec:
    """The workstation with two cards of 12 GiB instead of one of 24; the desktop is on the first.

    Larger models lie over both.
    """
    card = replace(named_host("laptop").gpus[0], free_bytes=12288 * MIB)
    gpus = tuple(replace(card, id=str(index)) for index in range(2))
    return replace(named_host("workstation"), gpus=gpus)


def gib(count: float) -> int:
    return round(count * GIB)
