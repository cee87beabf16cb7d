"""`warmset explain`: why a model is here or not, what happened to it, what would bring it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from warmset.adapters.journal import EventRow, LoadRow, Orders
from warmset.core.control.actions import Decision, Wait
from warmset.core.control.retention import OUTSIDE
from warmset.core.control.state import Remembered
from warmset.core.model import (
    FOREVER,
    Entry,
    ModelKey,
    Observation,
    Resident,
    normalise_name,
)
from warmset.core.planner.result import LeftOut, Member
from warmset.core.settings import ModelPolicy, Settings
from warmset.core.units import format_bytes, format_seconds
from warmset.core.windows import find_open, next_opening
from warmset.shell.naming import require_entry
from warmset.shell.one_pass import prepare
from warmset.shell.pages import Story, read_story
from warmset.shell.said import open_spans

NOT_KNOWN: Final = "cannot promise"  # so the planner's reasons begin where a reading lacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What can be said of one model.

    Attributes:
        here: why it is, or is not, resident now.
        wanted: whether it shall be resident, and why.
        back: what would bring it back, or keep it; empty: nothing is needed.
        events, loads: from the journal, oldest first.
    """

    name: str
    key: str
    is_resident: bool
    is_wanted: bool
    here: tuple[str, ...]
    wanted: tuple[str, ...]
    back: tuple[str, ...]
    events: tuple[EventRow, ...]
    loads: tuple[LoadRow, ...]


def explain(
    settings: Settings, environ: Mapping[str, str], model: str, *, limit: int
) -> Explanation:
    """Returns what can be said of a model on the host that the settings name.

    Raises:
        UnknownModel: the host does not have it.
        BackendError: the server does not answer.
        TraceError: the journal cannot be read.
    """
    with prepare(settings, environ, may_write=False) as prepared:
        seen = prepared.work.preview(refuses=False)
        observation, decision = seen.observation, seen.decision
        url = prepared.connection.server.url
        entry = require_entry(observation.entries, model, url=url)
        words = prepared.config().settings
    story = read_story(environ, url, key=entry.key, name=entry.name, limit=limit)
    subject = Subject(
        entry=entry,
        policy=words.policy_for(entry.names),
        is_named=any(normalise_name(n) in words.models for n in entry.names),
        orders=story.orders.without_past(observation.at),
        known=story.of(entry.key),
        observation=observation,
        decision=decision,
    )
    return subject.explain(story)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One model with everything that bears on it."""

    entry: Entry
    policy: ModelPolicy
    is_named: bool
    orders: Orders
    known: Remembered | None
    observation: Observation
    decision: Decision

    def explain(self, story: Story) -> Explanation:
        """Returns the explanation."""
        return Explanation(
            name=self.entry.name,
            key=self.entry.key,
            is_resident=self.row is not None,
            is_wanted=self.member is not None,
            here=tuple(self._here(story)),
            wanted=tuple(self._wanted()),
            back=tuple(self._back()),
            events=story.events,
            loads=story.loads,
        )

    @property
    def row(self) -> Resident | None:
        """Its row of `/api/ps`."""
        rows = self.observation.residents or ()
        return next((row for row in rows if row.key == self.entry.key), None)

    @property
    def member(self) -> Member | None:
        """Its place in the warm set."""
        return next((m for m in self.decision.members if m.key == self.entry.key), None)

    @property
    def left_out(self) -> LeftOut | None:
        """Why it is outside."""
        return next((m for m in self.decision.left_out if m.key == self.entry.key), None)

    def _here(self, story: Story) -> Iterator[str]:
        row = self.row
        if row is None:
            yield "it is not resident"
            yield from self._why_gone(story)
            return
        held = self.observation.located.get(self.entry.key) or {}
        place = ", ".join(f"{format_bytes(count)} on {device}" for device, count in held.items())
        yield f"it is resident{': ' + place if place else ''}"
        if row.expires_at is not None:
            left = row.expires_at - self.observation.at
            ends = "never" if row.expires_at == FOREVER else f"in {format_seconds(left)}"
            yield f"its keep-alive ends {ends}"
        came = _last(story.events, "preloaded", "model_came")
        if came is not None:
            ago = format_seconds(self.observation.at - came.at)
            who = "warmset" if came.kind == "preloaded" else "a client"
            yield f"{who} loaded it {ago} ago"

    def _why_gone(self, story: Story) -> Iterator[str]:
        gone = _last(story.events, "unload_sent", "model_left", "pushed_out", "evicted")
        if gone is None:
            yield (
                "the journal does not know of an earlier stay"
                if story.events
                else ("the journal of this host does not speak of it")
            )
            return
        ago = format_seconds(self.observation.at - gone.at)
        who = {"unload_sent": "warmset unloaded it", "evicted": "the operator unloaded it"}
        yield f"{who.get(gone.kind, 'it left')} {ago} ago: {gone.text}"

    def _wanted(self) -> Iterator[str]:
        if self.decision.conflict is not None:
            yield f"nothing is planned, since pins conflict: {self.decision.conflict.reason}"
            return
        if self._until(self.orders.holds) is not None:
            yield f"it is held for {format_seconds(self._until(self.orders.holds))} more"
        elif self.policy.pin:
            yield "it is pinned"
        elif self.is_named:
            yield f"it has priority {self.policy.priority}"
        else:
            yield "nobody configured it: warmset only watches it, and it ranks below all others"
        if not self.policy.preload:
            yield "it is kept when asked for and never fetched"
        yield from self._limits()
        if self.member is not None:
            place = ", ".join(self.member.upper) or "RAM"
            yield f"it is in the warm set, on {place}"
        elif self.left_out is not None:
            yield f"it is outside the warm set: {self.left_out.reason}"
        elif self.is_named:
            yield from (f"nothing is decided now: {reason}" for reason in self._waits(None))

    def _limits(self) -> Iterator[str]:
        now = self.observation.at
        if self.policy.windows:
            spans = open_spans(self.policy, now)
            opened, opens_at = find_open(spans, now), next_opening(spans, now)
            if opened is not None:
                yield f"its windows are open for {format_seconds(opened.end - now)} more"
            elif opens_at is not None:
                yield f"its windows open in {format_seconds(opens_at - now)}"
        if self.policy.keep_alive is not None and not self.policy.pin:
            yield f"it is kept for {format_seconds(self.policy.keep_alive)} after its last use"

    def _back(self) -> Iterator[str]:
        if self.decision.conflict is not None:
            yield "unpin one of the models that conflict"
            return
        if self.row is not None and self.member is not None:
            return
        yield from self._obstacles()
        if self.member is not None and self.row is None:
            yield "`warmset apply` or a running `warmset serve` loads it"
        elif self.row is None and not self.is_named:
            name = self.entry.name
            yield (
                f"`warmset pin {name}`, `warmset hold {name} --for 2h`, "
                "a section in budgets.toml, or any request for it"
            )
        elif self.row is None and not self.policy.preload:
            yield f"any request for it, or `warmset warm {self.entry.name}`"
        elif self.left_out is not None and self.left_out.reason == OUTSIDE:
            yield f"its next window, or `warmset hold {self.entry.name} --for 2h`"
        elif self.left_out is not None and self.left_out.reason.startswith(NOT_KNOWN):
            yield "a reading of what is not known (`warmset doctor`): neither rank nor pin helps"
        elif self.left_out is not None:
            yield f"room for it ({self.left_out.reason}), a higher priority, or a pin"

    def _obstacles(self) -> Iterator[str]:
        now = self.decision.at
        if self.known is not None and (self.known.quiet_until or 0.0) > now:
            until = self.known.quiet_until or 0.0
            pause = "" if until == FOREVER else f" for {format_seconds(until - now)} more"
            yield f"it is paused{pause}: {self.known.quiet_reason}"
        rest = self._until(self.orders.rests)
        if rest is not None:
            yield f"the operator's eviction keeps it out for {format_seconds(rest)} more"
        yield from (f"it waits: {reason}" for reason in self._waits(self.entry.key))
        if self.member is not None:
            yield from (f"it waits: {reason}" for reason in self._waits(None))

    def _waits(self, key: ModelKey | None) -> Iterator[str]:
        """What is waited for before anything is done for a model; `None`: for any."""
        for action in self.decision.actions:
            if isinstance(action, Wait) and action.key == key:
                yield action.reason

    def _until(self, table: Mapping[str, float]) -> float | None:
        """How long an order on it still counts."""
        ends = [table[n] for n in map(normalise_name, self.entry.names) if n in table]
        return max(ends) - self.observation.at if ends else None


def _last(events: tuple[EventRow, ...], *kinds: str) -> EventRow | None:
    return next((event for event in reversed(events) if event.kind in kinds), None)
