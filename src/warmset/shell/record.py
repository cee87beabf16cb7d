"""From the loop's values to the journal's rows.

A decision is written whole when it differs from the one before, sends something, or when
something was found; otherwise only that it was made again. So a quiet day takes few rows, and no
change goes unrecorded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from warmset.adapters.journal import DecisionRow, EventRow, Journal, LoadRow
from warmset.core.control.actions import Alarm, Decision, Finding, Preload
from warmset.core.control.config import Config
from warmset.core.control.plain import to_plain
from warmset.core.control.remembered import find_planned_on
from warmset.core.control.state import Orders, State, state_from_plain, state_to_plain
from warmset.core.control.wanted import Wish
from warmset.core.loads import Learnt
from warmset.core.model import ModelKey, Observation
from warmset.core.replacing import replace
from warmset.errors import TraceError

SAVE_EVERY_SECONDS: Final = 60.0
"""The saved state may be so old while nothing changes but the time."""

_OUTCOMES: Final = {"preload_failed": "failed", "load_aborted": "aborted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What was predicted of a load that is under way or not yet verified. Units: bytes, seconds."""

    name: str
    point_bytes: int | None
    upper_bytes: int | None
    seconds: float | None
    took_seconds: float | None = None


class Recorder:
    """Writes down one loop's life.

    Args:
        journal: where to.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._shared: dict[str, tuple[object, object]] = {}
        self._loads: dict[ModelKey, Expected] = {}
        self._saved: tuple[float, State] | None = None

    def restore(self) -> tuple[State, str]:
        """Returns the state that an earlier process left, and what is to be said of it."""
        try:
            plain = self.journal.state()
            if plain is None:
                return State(), ""
            return state_from_plain(plain), _left_open(plain)
        except TraceError as error:
            return State(), error.message

    def decision(
        self,
        observation: Observation,
        config: Config,
        before: State,
        decision: Decision,
        wish: Wish | None = None,
        *,
        after: State,
    ) -> None:
        """Records one step: what was seen, what was known, what was decided.

        Args:
            observation: the look.
            config: the operator's words.
            before: the state that `step` was given.
            decision: what it returned.
            wish: what it planned with; `None`: it planned nothing.
            after: the state that it returned: it tells which earlier plans were used.
        """
        at = observation.at
        self._expect(decision)
        self._verify(observation)
        digest = digest_of(decision)
        news = [*decision.findings, *decision.alarms]
        is_quiet = not decision.sends and not news
        if is_quiet and self.journal.repeat_decision(digest, at):
            return
        row = DecisionRow(
            at=at,
            digest=digest,
            parts={
                "entries": self._shared_plain("entries", observation.entries),
                "config": self._shared_plain("config", config),
                "candidates": [] if wish is None else weighed(wish),
                "learnt": self._shared_plain("learnt", observation.learnt),
            },
            body={
                "now": decision.at,
                "observation": to_plain(_without_parts(observation)),
                "state": state_to_plain(before),
                "decision": to_plain(decision),
                "planned_on": to_plain(find_planned_on(observation, config, after, decision)),
            },
        )
        events = [*rows_of(decision.findings, at), *_alarm_rows(decision.alarms, at)]
        events += [
            EventRow(
                at=at,
                kind=f"{type(order).__name__.lower()}_ordered",
                key=order.key,
                name=order.name,
                text=order.reason,
                basis=dict(order.basis),
            )
            for order in decision.sends
        ]
        self.journal.record_decision(row, events)

    def findings(self, found: Sequence[Finding], at: float) -> None:
        """Records what the end of an order showed."""
        self.journal.record_events(rows_of(found, at))
        for finding in found:
            self._hear_of_load(finding, at)

    def failure(self, observation: Observation, config: Config, state: State, error: str) -> None:
        """Records the look on which a decision failed, to be replayed."""
        body = {
            "observation": to_plain(_without_parts(observation)),
            "state": state_to_plain(state),
            "error": error,
        }
        parts = {
            "entries": to_plain(observation.entries),
            "config": to_plain(config),
            "learnt": to_plain(observation.learnt),
        }
        row = DecisionRow(at=observation.at, digest="failed", body=body, parts=parts)
        text = error.strip().rpartition("\n")[2]
        event = EventRow(at=observation.at, kind="decision_failed", severity="error", text=text)
        self.journal.record_decision(row, (event,))

    def event(self, kind: str, text: str, at: float, **basis: object) -> None:
        """Records something of the loop's own life."""
        self.journal.record_events((EventRow(at=at, kind=kind, text=text, basis=basis),))

    def state(self, state: State, at: float, *, is_last: bool = False) -> None:
        """Saves the state if it says something new, or once in a while."""
        lasting = replace(state, at=0.0, looked=None, clock_offset=None, orders=Orders())
        if self._saved is not None and not is_last:
            saved_at, saved = self._saved
            if saved == lasting and at - saved_at < SAVE_EVERY_SECONDS:
                return
        self._saved = (at, lasting)
        self.journal.save_state(state_to_plain(replace(state, looked=None)), at)

    def _shared_plain(self, name: str, value: object) -> object:
        """Returns a part's plain form, the very same one as long as the part is the same."""
        written = self._shared.get(name)
        if written is None or written[0] != value:
            written = self._shared[name] = (value, to_plain(value))
        return written[1]

    # -- loads: predicted and actual --------------------------------------------------------------

    def _expect(self, decision: Decision) -> None:
        for order in decision.sends:
            if isinstance(order, Preload):
                in_ram = _number(order.basis, "ram_bytes")
                self._loads[order.key] = Expected(
                    name=order.name,
                    point_bytes=_number(order.basis, "point_bytes") or in_ram,
                    upper_bytes=_number(order.basis, "upper_bytes") or in_ram,
                    seconds=_seconds(order.basis, "load_seconds"),
                )

    def _hear_of_load(self, finding: Finding, at: float) -> None:
        if finding.key is None or finding.key not in self._loads:
            return
        took = _seconds(finding.basis, "seconds")
        if finding.kind == "preloaded":
            self._loads[finding.key] = replace(self._loads[finding.key], took_seconds=took)
        elif finding.kind in _OUTCOMES:
            expected = replace(self._loads.pop(finding.key), took_seconds=took)
            self._record_load(finding.key, expected, _OUTCOMES[finding.kind], None, at)

    def _verify(self, observation: Observation) -> None:
        """A load that is done is compared with what the first look after it shows."""
        for resident in observation.residents or ():
            expected = self._loads.get(resident.key) if resident.key else None
            if resident.key is None or expected is None or expected.took_seconds is None:
                continue
            del self._loads[resident.key]
            held = observation.located.get(resident.key)
            told = resident.size_vram_bytes or resident.size_bytes
            count = sum(held.values()) if held else told
            self._record_load(resident.key, expected, "loaded", count, observation.at)

    def _record_load(
        self, key: ModelKey, expected: Expected, outcome: str, count: int | None, at: float
    ) -> None:
        self.journal.record_load(
            LoadRow(
                at=at,
                key=key,
                name=expected.name,
                outcome=outcome,
                predicted_bytes=expected.point_bytes,
                upper_bytes=expected.upper_bytes,
                actual_bytes=count,
                predicted_seconds=expected.seconds,
                actual_seconds=expected.took_seconds,
            )
        )


def _without_parts(observation: Observation) -> Observation:
    """Leaves out what is stored once for many decisions."""
    return replace(observation, entries=(), learnt=Learnt())


def _left_open(plain: object) -> str:
    """Returns which order an earlier process left open when it ended without a word."""
    orders = plain.get("orders") if isinstance(plain, dict) else None
    running = orders.get("running") if isinstance(orders, dict) else None
    if not isinstance(running, dict) or orders is None or orders.get("is_stopping"):
        return ""
    order = running.get("order")
    name = order.get("name") if isinstance(order, dict) else "?"
    return f"an earlier process ended during its {running.get('stage')} of {name}"


def weighed(wish: Wish) -> list[Mapping[str, object]]:
    """Returns who was weighed and with which numbers, the first to go first.

    `worth` is seconds of waiting saved per day; `need_bytes` an upper bound, on one GPU or in RAM.
    """
    inside = {member.key for member in wish.plan.members}
    rank = {key: place for place, key in enumerate(wish.ranked)}
    rows = sorted(wish.candidates, key=lambda c: (rank.get(c.key, -1), c.rank))
    return [
        {
            "key": c.key,
            "name": c.name,
            "is_configured": c.key in wish.managed,
            "is_resident": c.is_resident,
            "is_in_warm_set": c.key in inside,
            "pin": c.pin,
            "priority": c.priority,
            "worth": wish.worth.get(c.key),
            "need_bytes": c.on_cpu_bytes if c.on_one is None else c.on_one.upper_bytes,
            "ollama_expects_bytes": c.forecast_bytes,
            "load_seconds": c.load_seconds,
        }
        for c in rows
    ]


def digest_of(decision: Decision) -> str:
    """Returns what two decisions have in common that say the same, numbers and times left out."""
    says = {
        "actions": [(type(a).__name__, getattr(a, "key", None)) for a in decision.actions],
        "changes": [(change.kind.value, change.key) for change in decision.changes],
        "members": [(member.key, sorted(member.upper)) for member in decision.members],
        "left_out": [model.key for model in decision.left_out],
        "conflict": decision.conflict.keys if decision.conflict else None,
        "standing": decision.standing,
        "trouble": bool(decision.trouble),
    }
    return sha256(json.dumps(says).encode()).hexdigest()


def rows_of(findings: Iterable[Finding], at: float) -> tuple[EventRow, ...]:
    """Returns findings as rows."""
    return tuple(
        EventRow(
            at=at,
            kind=finding.kind,
            key=finding.key or "",
            name=finding.name,
            severity=finding.severity.value,
            text=finding.text,
            basis=dict(finding.basis),
        )
        for finding in findings
    )


def _alarm_rows(alarms: Iterable[Alarm], at: float) -> tuple[EventRow, ...]:
    return tuple(
        EventRow(
            at=at,
            kind=f"alarm_{alarm.code.split()[0]}",
            key=alarm.keys[0] if alarm.keys else "",
            severity=alarm.severity.value,
            text=alarm.text,
            basis=dict(alarm.basis),
        )
        for alarm in alarms
    )


def _number(basis: Mapping[str, object], name: str) -> int | None:
    found = basis.get(name)
    return found if isinstance(found, int) else None


def _seconds(basis: Mapping[str, object], name: str) -> float | None:
    found = basis.get(name)
    return float(found) if isinstance(found, int | float) else None
