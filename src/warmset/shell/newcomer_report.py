"""All that `add --dry-run` tells of a model: verdict, room per GPU, losses, first hour, choices."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from warmset.core.control.wanted import UNMANAGED_PRIORITY, as_unmanaged, favour_residents
from warmset.core.model import DeviceId, Entry, ModelKey, Observation
from warmset.core.planner.candidates import Candidate, Demand
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.result import Plan
from warmset.core.planner.verdict import DryRun, dry_run
from warmset.core.settings import Settings
from warmset.shell.changes import Scene, variations
from warmset.shell.decide import Decision, decide
from warmset.shell.newcomer import with_policy
from warmset.shell.rehearsal import Happening, rehearse
from warmset.shell.said import config_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one model takes on one GPU."""

    name: str
    point_bytes: int
    upper_bytes: int
    is_new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRoom:
    """One GPU without and with the newcomer.

    Attributes:
        foreign_bytes: what other programs hold.
        usable_bytes: what models may take; `None`: not known.
        before, after: the warm set without the newcomer, and the one that holds it.
    """

    id: DeviceId
    label: str
    name: str
    total_bytes: int
    foreign_bytes: int
    usable_bytes: int | None
    before: tuple[Share, ...]
    after: tuple[Share, ...]

    @property
    def margin_bytes(self) -> int | None:
        """What is expected to be left of the budget."""
        return self._left(sum(share.point_bytes for share in self.after))

    @property
    def sure_margin_bytes(self) -> int | None:
        """What is left of the budget at the upper bounds."""
        return self._left(sum(share.upper_bytes for share in self.after))

    def _left(self, taken: int) -> int | None:
        return None if self.usable_bytes is None else self.usable_bytes - taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """What the absence of a model costs, from the demand for it."""

    name: str
    reloads_per_day: float
    demand: Demand
    load_seconds: float

    @property
    def seconds_per_day(self) -> float:
        """Seconds of waiting a day."""
        return self.reloads_per_day * self.load_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """The same model otherwise, and what would become of it."""

    kind: str
    value: str
    verdict: str
    reason: str
    need_bytes: int | None
    joins: bool
    losses: tuple[Loss, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What adding one model would change.

    Attributes:
        gpus: without it, and with it resident.
        losses: what is away while it is resident.
    """

    entry: Entry
    decision: Decision
    outcome: DryRun
    gpus: tuple[GpuRoom, ...]
    losses: tuple[Loss, ...]
    hour: tuple[Happening, ...]
    alternatives: tuple[Alternative, ...]

    @property
    def candidate(self) -> Candidate:
        """The newcomer with its own worth."""
        return next(c for c in self.decision.candidates if c.key == self.entry.key)

    @property
    def lost_value(self) -> float:
        """Seconds of waiting per day that the absence of others costs."""
        return sum(loss.seconds_per_day for loss in self.losses)


def report_on(
    observation: Observation,
    settings: Settings,
    located: Mapping[ModelKey, Mapping[DeviceId, int]],
    entry: Entry,
) -> Report:
    """Returns the report.

    Args:
        observation: the host, with the newcomer among its entries.
        settings: with what is said of the newcomer.
        located: where residents are.
        entry: the newcomer.
    """
    settings = with_policy(settings, entry.name, preload=True)
    decision = decide(observation, settings, located=located)
    newcomer, others = _parted(decision, entry.key)
    may_leave = settings.loop.may_evict_unconfigured
    fixed = frozenset(c.key for c in others if c.priority == UNMANAGED_PRIORITY and not may_leave)
    outcome = dry_run(newcomer, others, decision.host, fixed=fixed)
    scene = Scene(
        observation=observation,
        settings=settings,
        located=located,
        wanted=frozenset({entry.key}),
    )
    alternatives = []
    for kind, value, varied in variations(scene, entry):
        other = decide(varied.observation, varied.settings, located=located)
        varied_newcomer, beside = _parted(other, entry.key)
        is_same = (beside, other.host) == (others, decision.host)
        before = outcome.before if is_same else None
        what = dry_run(
            varied_newcomer, beside, other.host, before=before, fixed=fixed, is_brief=True
        )
        need = varied_newcomer.on_one
        alternatives.append(
            Alternative(
                kind=kind,
                value=value,
                verdict=what.fit.verdict.value,
                reason=what.fit.reason,
                need_bytes=None if need is None else need.upper_bytes,
                joins=what.joins,
                losses=_losses(other, what.pushed_out),
            )
        )
    return Report(
        entry=entry,
        decision=decision,
        outcome=outcome,
        gpus=_rooms(decision.host, outcome, entry),
        losses=_losses(decision, outcome.absent),
        hour=rehearse(observation, settings, decision.host, entry),
        alternatives=tuple(alternatives),
    )


def _parted(decision: Decision, key: ModelKey) -> tuple[Candidate, tuple[Candidate, ...]]:
    """Returns the newcomer, and the others that the loop weighs, both as the loop weighs them.

    Those are configured or resident. A resident that nobody configured ranks below all that is,
    and is never fetched; within one priority any resident outweighs whoever is not.
    """
    at = decision.observation.at
    config = config_of(decision.settings, at)
    weighed = []
    for candidate in decision.candidates:
        if candidate.key == key or config.is_managed(candidate.names, at):
            weighed.append(candidate)
        elif candidate.is_resident:
            weighed.append(as_unmanaged(candidate))
    favoured = {c.key: c for c in favour_residents(weighed)}
    return favoured.pop(key), tuple(favoured.values())


def _losses(decision: Decision, gone: Collection[str]) -> tuple[Loss, ...]:
    return tuple(
        Loss(
            name=c.name,
            reloads_per_day=c.value / c.load_seconds if c.load_seconds else 0.0,
            demand=c.demand,
            load_seconds=c.load_seconds,
        )
        for c in decision.candidates
        if c.name in gone
    )


def _rooms(host: HostCapacity, outcome: DryRun, entry: Entry) -> tuple[GpuRoom, ...]:
    return tuple(
        GpuRoom(
            id=gpu.id,
            label=gpu.label,
            name=gpu.name,
            total_bytes=gpu.gpu.total_bytes,
            foreign_bytes=gpu.gpu.total_bytes - gpu.gpu.free_bytes,
            usable_bytes=gpu.usable_bytes,
            before=_shares(outcome.before, gpu.id, entry),
            after=_shares(outcome.with_it, gpu.id, entry),
        )
        for gpu in host.gpus
    )


def _shares(made: Plan, device: DeviceId, entry: Entry) -> tuple[Share, ...]:
    return tuple(
        Share(
            name=member.name,
            point_bytes=member.point.get(device, 0),
            upper_bytes=member.upper[device],
            is_new=member.key == entry.key,
        )
        for member in made.members
        if device in member.upper
    )
