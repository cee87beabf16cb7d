"""The first hour with a new model, rehearsed: the loop itself beside a twin copy of the host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from warmset.core.control.loop import Loop
from warmset.core.control.orders import SendPreload, SendUnload
from warmset.core.model import Entry, Observation, normalise_name
from warmset.core.planner.capacity import HostCapacity
from warmset.core.settings import Settings
from warmset.core.twin.clock import Timeline
from warmset.core.twin.events import Event, LoadEnded, LoadStarted, Unloaded
from warmset.core.twin.host import Grant, News, TwinHost
from warmset.core.twin.hosts import physics_of
from warmset.core.twin.mirror import mirror_host
from warmset.core.twin.names import parse_name
from warmset.core.twin.sidecar import Sidecar
from warmset.core.units import DAY, HOUR
from warmset.shell.said import config_of

REQUEST_SECONDS: Final = 10.0
"""How long a rehearsed request lasts. Our choice: a chat answer of a few hundred tokens."""

FIRST_REQUEST_SECONDS: Final = 300.0
"""When the newcomer is first asked for, so that one sees what the loop does before and after."""

STAND_IN: Final = "newcomer:latest"
MOST_PER_HOUR: Final = 60
SETTLE_SECONDS: Final = 600.0
"""For loading each resident into the copy; virtual time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One thing in the first hour.

    Attributes:
        at_seconds: since the model was added.
        what: `loads`, `loaded`, `load-failed`, `unloaded`, or `answered`: a request had its model.
        by: `warmset`, `a request` or `Ollama`.
        waited_seconds: how long a request waited for its model.
    """

    at_seconds: float
    what: str
    name: str
    by: str
    waited_seconds: float = 0.0


def rehearse(
    observation: Observation, settings: Settings, host: HostCapacity, newcomer: Entry
) -> tuple[Happening, ...]:
    """Returns what happens in the first hour after a model was added and configured.

    It is asked for once after five minutes, and as often as its expected demand says; so are the
    others whose demand the operator states.

    Args:
        observation: the host, with the newcomer among its entries.
        settings: with the newcomer's policy.
        host: what was made of the observation.
        newcomer: the model; where its name is an address, which Ollama would not install under
            that name, it is rehearsed under another one.
    """
    if parse_name(newcomer.name) is None:
        rehearsed = rehearse(*_renamed(observation, settings, newcomer, host=host))
        return tuple(
            replace(one, name=newcomer.name) if one.name == STAND_IN else one for one in rehearsed
        )
    spec = mirror_host(observation, host, host.env)
    timeline = Timeline(observation.at)
    story: list[tuple[float, Event]] = []
    twin = TwinHost(
        spec,
        physics_of(spec),
        timeline,
        on_event=lambda event: story.append((timeline.now, event)),
    )
    for resident in sorted(observation.residents or (), key=lambda r: -(r.size_vram_bytes or 0)):
        options = {} if resident.context is None else {"num_ctx": resident.context}
        if twin.library.find(resident.name) is not None:
            twin.use(resident.name, 0.1, options=options)
            timeline.advance(timeline.now + SETTLE_SECONDS / 10)
    start = timeline.now
    story.clear()
    sidecar = Sidecar(twin, Loop(config_of(settings, start)))
    sidecar.start()
    answers: list[Happening] = []
    for at, name in _requests(observation, settings, newcomer):
        timeline.at(start + at, partial(_use, twin, name, start, answers))
    timeline.advance(start + HOUR)
    told = _told(story, list(sidecar.log.sent), start)
    return tuple(sorted((*told, *answers), key=lambda happening: happening.at_seconds))


def _renamed(
    observation: Observation, settings: Settings, newcomer: Entry, *, host: HostCapacity
) -> tuple[Observation, Settings, HostCapacity, Entry]:
    named = replace(newcomer, names=(STAND_IN,), manifest_digests={})
    entries = tuple(named if e.key == newcomer.key else e for e in observation.entries)
    said = dict(settings.models)
    policy = said.pop(normalise_name(newcomer.name), None)
    if policy is not None:
        said[STAND_IN] = replace(policy, name=STAND_IN)
    return replace(observation, entries=entries), replace(settings, models=said), host, named


def _use(twin: TwinHost, name: str, start: float, answers: list[Happening]) -> None:
    def hear(news: News) -> None:
        if isinstance(news, Grant):
            answers.append(
                Happening(
                    at_seconds=twin.timeline.now - start,
                    what="answered",
                    name=name,
                    by="a request",
                    waited_seconds=news.waited_seconds,
                )
            )

    twin.use(name, REQUEST_SECONDS, then=hear)


def _requests(
    observation: Observation, settings: Settings, newcomer: Entry
) -> list[tuple[float, str]]:
    """Returns seconds and model of each request, evenly spaced."""
    found = [(FIRST_REQUEST_SECONDS, newcomer.name)]
    for entry in observation.entries:
        rate = settings.policy_for(entry.names).requests_per_day
        count = min(MOST_PER_HOUR, int((rate or 0.0) * HOUR / DAY))
        found += [(HOUR * (n + 0.5) / count, entry.name) for n in range(count)]
    return sorted(found)


def _told(
    story: list[tuple[float, Event]], sent: Sequence[tuple[float, object]], start: float
) -> tuple[Happening, ...]:
    asked = _Sent(sent)
    names: dict[int, tuple[str, str]] = {}
    told = []
    for at, event in story:
        since = at - start
        if isinstance(event, LoadStarted):
            name = event.order.model.name
            by = "warmset" if asked.last(SendPreload, name, at) else "a request"
            names[event.pid] = (name, by)
            told.append(Happening(at_seconds=since, what="loads", name=name, by=by))
        elif isinstance(event, LoadEnded):
            name, by = names.get(event.pid, (event.order.model.name, "a request"))
            what = "load-failed" if event.error else "loaded"
            told.append(Happening(at_seconds=since, what=what, name=name, by=by))
        elif isinstance(event, Unloaded):
            by = "warmset" if asked.last(SendUnload, event.name, at) else "Ollama"
            told.append(Happening(at_seconds=since, what="unloaded", name=event.name, by=by))
    return tuple(told)


class _Sent:
    """What warmset sent, to tell its own deeds from Ollama's."""

    def __init__(self, sent: Sequence[tuple[float, object]]) -> None:
        self._sent = sent

    def last(self, kind: type, name: str, at: float) -> bool:
        """Whether such a command for a model went out within the last minute."""
        return any(
            isinstance(command, kind)
            and at - 60 <= when <= at
            and normalise_name(getattr(command, "name", "")) == normalise_name(name)
            for when, command in self._sent
        )
