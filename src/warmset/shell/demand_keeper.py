"""Writes down the demand that `serve` sees: uses, loads, departures. Own touches are none of it.

What a look can show is a deadline that moved, or a runner at work. So of many requests between two
looks one is seen, and how long a use lasted to the length of a tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warmset.adapters.journal import DemandStore, Departure, LoadSeen, ModelRow, UseRow
from warmset.core.control.actions import Finding
from warmset.core.demand.loads import WARM_SECONDS
from warmset.core.model import ModelKey, Observation
from warmset.shell.telemetry.listening import Step


@dataclass(slots=True)
class _Open:
    """A use that lasts. Units: Unix seconds."""

    number: int
    since: float
    seen: float


class DemandKeeper:
    """Listens to the loop. Implements `telemetry.listening.Listener`.

    Args:
        store: where to.
    """

    def __init__(self, store: DemandStore) -> None:
        self.store = store
        self._open: dict[ModelKey, _Open] = {}
        self._noted: dict[ModelKey, ModelRow] = {}
        self._left: dict[ModelKey, float] = {}
        self._observation: Observation | None = None
        self._looked_at = 0.0

    def stepped(self, step: Step) -> None:
        """Keeps what a look has shown."""
        if step.decision.trouble or step.observation.residents is None:
            return
        self._observation = step.observation
        self._note_models(step.observation)
        self.heard(step.decision.findings)
        self._note_uses(step)
        self._looked_at = step.observation.at

    def heard(self, findings: Sequence[Finding]) -> None:
        """Keeps loads and departures."""
        if self._observation is None:
            return
        at = self._observation.at
        for finding in findings:
            key, kind, basis = finding.key, finding.kind, finding.basis
            if key is None:
                continue
            if kind == "model_came":
                took = _load_seconds(self._observation, key)
                self._came(key, at, "demand", took)
                self._use(key, at - (took or 0.0), at, is_busy=False)
            elif kind == "preloaded":
                told = basis.get("seconds")
                seconds = float(told) if isinstance(told, int | float) else None
                self._came(key, at, "preload", seconds)
            elif kind in ("model_left", "unloaded"):
                cause = str(basis.get("cause", "")) if kind == "model_left" else "unloaded"
                self._left[key] = at
                self.store.add_departure(Departure(at=at, key=key, cause=cause or "unknown"))

    def _came(self, key: ModelKey, at: float, cause: str, seconds: float | None) -> None:
        cache = "warm" if at - self._left.get(key, float("-inf")) < WARM_SECONDS else "cold"
        row = LoadSeen(at=at - (seconds or 0.0), key=key, cause=cause, seconds=seconds, cache=cache)
        self.store.add_load(row)

    def _note_models(self, observation: Observation) -> None:
        entries = {entry.key: entry for entry in observation.entries}
        for resident in observation.residents or ():
            key = resident.key
            if key is None or key not in entries:
                continue
            held = observation.located.get(key)
            count = sum(held.values()) if held else resident.size_bytes
            entry = entries[key]
            row = ModelRow(key=key, name=entry.name, bytes=count, file_bytes=entry.file_bytes)
            if self._noted.get(key) != row:
                self._noted[key] = row
                self.store.note_model(row)

    def _note_uses(self, step: Step) -> None:
        now, at = step.decision.at, step.observation.at
        came = {f.key for f in step.decision.findings if f.kind == "model_came"}
        for key, known in step.state.models.items():
            if known.used_at == now and key not in came:
                self._use(key, at, at, is_busy=known.busy_at == now)
        for key in [k for k, use in self._open.items() if use.seen < at]:
            del self._open[key]

    def _use(self, key: ModelKey, since: float, at: float, *, is_busy: bool) -> None:
        """Begins a use, or goes on with the one that was busy at the look before."""
        lasting = self._open.get(key)
        if lasting is not None and lasting.seen >= self._looked_at:
            lasting.seen = at
            self.store.lengthen(lasting.number, at - lasting.since)
            if not is_busy:
                del self._open[key]  # its deadline moved: it has ended
            return
        row = UseRow(at=since, key=key, seconds=at - since if is_busy else None)
        number = self.store.add_use(row)
        if number is not None and is_busy:
            self._open[key] = _Open(number=number, since=since, seen=at)


def _load_seconds(observation: Observation, key: ModelKey) -> float | None:
    """Returns how long the load of a model that has just been listed took, to a tick."""
    for runner in observation.runners or ():
        if runner.key == key and runner.phase == "resident":
            at = observation.residents_at or observation.at
            return max(0.0, at - runner.started_at)
    return None
