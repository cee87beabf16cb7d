"""The models that are resident, wanted or configured, and what happens to each next."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from warmset.core.control.actions import Decision, Wait
from warmset.core.control.config import Config
from warmset.core.control.state import Remembered, State
from warmset.core.host.observed import observe_by_device, observe_model
from warmset.core.host.picture import Picture
from warmset.core.model import Entry, ModelKey, Observation, Resident, find_entry, normalise_name
from warmset.core.planner.result import Action as Change
from warmset.core.planner.result import ActionKind, Member
from warmset.core.units import format_seconds
from warmset.core.windows import find_open, next_opening
from warmset.shell.board.gaps import Gaps
from warmset.shell.board.gpus import label_of
from warmset.shell.board.values import Model

LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that a picture is drawn from.

    Attributes:
        decision: the last one; `None`: nobody steers.
        planned: the last decision that planned something.
        now: in the time of `step`; `observation.at` is the wall clock then.
    """

    observation: Observation
    picture: Picture | None
    config: Config
    state: State
    decision: Decision | None
    planned: Decision | None
    now: float

    @property
    def order(self) -> tuple[ModelKey, ...]:
        """Returns the keys by rank, the first to go first."""
        return self.state.planned[0].wish.ranked if self.state.planned else ()

    @property
    def changes(self) -> tuple[Change, ...]:
        """Returns what the plan still wants; an old plan may be fulfilled in part by now."""
        if self.planned is None or self.decision is None or self.decision.trouble:
            return ()
        wanted = [c for c in self.planned.changes if c.kind is not ActionKind.KEEP]
        if self.planned is not self.decision:
            here = {row.key for row in self.observation.residents or ()}
            wanted = [c for c in wanted if (c.key in here) is not (c.kind is ActionKind.PRELOAD)]
        return tuple(wanted)


def models_of(view: View, gaps: Gaps) -> tuple[tuple[Model, ...], dict[str, str]]:
    """Returns the models, the one that is kept longest first, and the letter of each name."""
    observation = view.observation
    residents = {row.key: row for row in observation.residents or () if row.key}
    strangers = [row for row in observation.residents or () if row.key is None]
    shown: dict[ModelKey, str] = {key: row.name for key, row in residents.items()}
    for key, name in _further(view):
        shown.setdefault(key, name)
    absent = [
        policy.name
        for policy in view.config.settings.models.values()
        if find_entry(observation.entries, policy.name) is None
    ]
    names = sorted({*shown.values(), *(row.name for row in strangers)})
    marks = {name: LETTERS[n % len(LETTERS)] for n, name in enumerate(names)}
    rows = [
        _Row(view, key, name, residents.get(key)).model(marks, gaps) for key, name in shown.items()
    ]
    rows += [_stranger(row, view, marks[row.name]) for row in strangers]
    rows += [_absent(name, view.config) for name in absent] if observation.entries else []
    return tuple(sorted(rows, key=_place)), marks


def _place(model: Model) -> tuple[bool, float, bool, str]:
    is_here = model.state in ("resident", "loading", "stopping")
    return (model.rank is None, model.rank or 0, not is_here, model.name)


def _further(view: View) -> Iterator[tuple[ModelKey, str]]:
    """Yields models that are not resident and belong into the picture."""
    entries = view.observation.entries
    names = {entry.key: entry.name for entry in entries}
    for runner in view.observation.runners or ():
        if runner.key in names and runner.phase in ("loading", "stopping"):
            yield runner.key, names[runner.key]
    if view.picture is not None:
        for seen in view.picture.runners:
            if seen.key in names and seen.is_ours and seen.phase.value in ("loading", "stopping"):
                yield ModelKey(str(seen.key)), names[ModelKey(str(seen.key))]
    for member in view.planned.members if view.planned else ():
        yield member.key, member.name
    for entry in entries:
        said = {normalise_name(name) for name in entry.names}
        configured = said & {*view.config.settings.models, *view.config.holds}
        if configured:
            yield entry.key, next(n for n in entry.names if normalise_name(n) in configured)


def _stranger(row: Resident, view: View, mark: str) -> Model:
    """A resident of which no installed model is known any more."""
    left, is_forever = _left(row, view.observation.at)
    return Model(
        name=row.name,
        mark=mark,
        state="resident",
        is_wanted=False,
        is_pinned=False,
        priority=None,
        rank=None,
        where="",
        held_bytes=row.size_vram_bytes,
        is_observed=False,
        keep_alive_seconds=None,
        left_seconds=left,
        is_forever=is_forever,
        is_busy=None,
        used_ago_seconds=None,
        next=_leaving_text(left, is_forever=is_forever),
    )


def _absent(name: str, config: Config) -> Model:
    policy = config.settings.policy_for((name,))
    return Model(
        name=name,
        mark="",
        state="not installed",
        is_wanted=policy.pin,
        is_pinned=policy.pin,
        priority=policy.priority,
        rank=None,
        where="",
        held_bytes=None,
        is_observed=False,
        keep_alive_seconds=None,
        left_seconds=None,
        is_forever=False,
        is_busy=None,
        used_ago_seconds=None,
        next="not installed: nothing is fetched for it",
    )


def _left(row: Resident | None, at: float) -> tuple[float | None, bool]:
    if row is None or row.expires_at is None:
        return None, False
    if math.isinf(row.expires_at):
        return None, True
    return max(0.0, row.expires_at - at), False


def _leaving_text(left: float | None, *, is_forever: bool) -> str:
    if is_forever:
        return "stays: a client keeps it for ever"
    return "" if left is None else f"leaves in {format_seconds(left)} unless it is used"


class _Row:
    """One model in a view."""

    def __init__(self, view: View, key: ModelKey, name: str, row: Resident | None) -> None:
        self.view, self.key, self.name, self.row = view, key, name, row
        self.entry: Entry | None = next((e for e in view.observation.entries if e.key == key), None)
        self.names = (name,) if self.entry is None else self.entry.names
        self.known: Remembered = view.state.of(key, name)
        members = view.planned.members if view.planned else ()
        self.member: Member | None = next((m for m in members if m.key == key), None)

    def model(self, marks: Mapping[str, str], gaps: Gaps) -> Model:
        view, config = self.view, self.view.config
        is_managed = config.is_managed(self.names, view.now)
        held, is_observed = self._held()
        left, is_forever = _left(self.row, view.observation.at)
        order = view.order
        count, curve = gaps.curve(self.key)
        lease = self.known.lease if self.known.lease is not None else self.known.foreign
        return Model(
            name=self.name,
            mark=marks.get(self.name, ""),
            state=self._state(),
            is_wanted=self.member is not None,
            is_pinned=config.is_pinned(self.names, view.now),
            priority=config.settings.policy_for(self.names).priority if is_managed else None,
            rank=len(order) - order.index(self.key) if self.key in order else None,
            where=self._where(),
            held_bytes=held,
            is_observed=is_observed,
            keep_alive_seconds=lease if self.row and lease and math.isfinite(lease) else None,
            left_seconds=left,
            is_forever=is_forever,
            is_busy=self._is_busy(),
            used_ago_seconds=self._used_ago(),
            next=self._next(left, is_forever=is_forever),
            gap_count=count,
            gaps=curve,
        )

    def _state(self) -> str:
        phases: set[str] = {
            r.phase for r in self.view.observation.runners or () if r.key == self.key
        }
        if self.view.picture is not None:
            phases |= {
                r.phase.value for r in self.view.picture.runners if r.key == self.key and r.is_ours
            }
        if self.row is not None:
            return "resident"
        return next((p for p in ("loading", "stopping") if p in phases), "absent")

    def _held(self) -> tuple[int | None, bool]:
        """Returns what it holds or would hold on GPUs and in RAM, and whether that was seen."""
        if self.row is not None:
            if self.view.picture is not None:
                seen = observe_model(self.view.picture, self.row).value
                if seen:
                    return seen, True
            return self.row.size_bytes, False
        if self.member is not None:
            return sum(self.member.point.values()) or self.member.ram_bytes, False
        return None, False

    def _where(self) -> str:
        if self.row is None:
            return ""
        labels = {device.id: label_of(device) for device in self.view.observation.devices}
        seen = observe_by_device(self.view.picture, self.row) if self.view.picture else {}
        found = [labels[device] for device, count in seen.items() if count != 0]
        in_ram = (self.row.size_bytes or 0) > (self.row.size_vram_bytes or 0)
        if self.row.size_vram_bytes and not found:
            found = ["GPU"]
        return " + ".join([*found, *(["RAM"] if in_ram else [])])

    def _is_busy(self) -> bool | None:
        if self.row is None:
            return None
        if self.known.busy_at is not None and self.known.busy_at >= self.view.now:
            return True
        signs = self.view.picture.use if self.view.picture else ()
        return True if any(use.key == self.key and use.is_busy for use in signs) else None

    def _used_ago(self) -> float | None:
        used = self.known.used_at
        return None if used is None else max(0.0, self.view.now - used)

    def _next(self, left: float | None, *, is_forever: bool) -> str:
        decision = self.view.decision
        for action in decision.actions if decision else ():
            if isinstance(action, Wait) and action.key == self.key:
                return f"waits: {action.reason}"
        for change in self.view.changes:
            if change.key == self.key:
                return f"{change.kind.value}: {change.reason}"
        if self.row is not None:
            if self.known.lease is not None and left is not None:
                return f"lease: renewed before {format_seconds(left)} have passed"
            return _leaving_text(left, is_forever=is_forever)
        return self._why_outside()

    def _why_outside(self) -> str:
        view = self.view
        name = normalise_name(view.config.settings.policy_for(self.names).name)
        spans = view.config.openings.get(name, ())
        if spans and find_open(spans, view.now) is None:
            opens = next_opening(spans, view.now)
            if opens is not None:
                return f"its window opens in {format_seconds(opens - view.now)}"
        for model in view.planned.left_out if view.planned else ():
            if model.key == self.key:
                return f"left out: {model.reason}"
        return ""
