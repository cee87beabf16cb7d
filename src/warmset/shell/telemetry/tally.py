"""Counts what the loop sees and does, for Prometheus.

Ollama tells no requests. A *cold start* is a load that warmset did not ask for; a *warm hit* is a
deadline that moved without us: one at most between two looks, and none under an endless keep-alive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, get_args

from warmset.adapters.metrics import Gauges as GaugeValues
from warmset.adapters.metrics import Metrics
from warmset.core.control.actions import Finding, Preload
from warmset.core.control.state import State
from warmset.core.host.evidence import Look, Sign, find_use
from warmset.core.model import ModelKey, Observation
from warmset.shell.telemetry.gauges import Gauges, Values, add_plan
from warmset.shell.telemetry.labels import OTHER, Labels
from warmset.shell.telemetry.listening import Step
from warmset.shell.telemetry.outbox import Outcome

REASONS: Final = ("unloaded", "expired", "displaced", "own_preload")
"""Why a model left: by warmset, by its keep-alive, pushed out for another, pushed out by us."""

OUTCOMES: Final = {"preloaded": "loaded", "preload_failed": "failed", "load_aborted": "aborted"}
RESULTS: Final = ("converged", "acting", "waiting", "unreachable")
BY: Final = ("client", "warmset")

FRESH_TICKS: Final = 12
FRESH_SECONDS: Final = 60.0
"""Gauges of a look that is older are no news: after a minute, or twelve ticks, they are gone."""


@dataclass(slots=True)
class _Past:
    """What is remembered of models between looks."""

    left: dict[ModelKey, tuple[str, float]] = field(default_factory=dict)  # reason, when
    unused: set[ModelKey] = field(default_factory=set)  # preloaded, not used since
    opening: set[ModelKey] = field(default_factory=set)  # their first request may not be over
    predicted: dict[ModelKey, float] = field(default_factory=dict)  # seconds of ordered loads
    look: Look | None = None
    step_at: float = 0.0


class Tally:
    """Listens to the loop and holds the metrics. Implements `Listener`.

    Args:
        now: the wall clock.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._gauges = Gauges()
        self._past = _Past()
        self._labels: Labels | None = None
        self._expected: set[str] = set()
        self._errors: dict[str, float] = {}
        self._lock = threading.Lock()
        self._step: tuple[Step, Labels] | None = None
        self._values: Values | None = None  # of that step, once somebody has asked
        self._fresh_until = 0.0
        self._last_success: float | None = None
        self.metrics = Metrics(self.current)
        for result in RESULTS:
            self.metrics.expect("reconcile_total", result)
        for outcome in get_args(Outcome):
            self.metrics.expect("notifications_total", outcome)

    def current(self) -> GaugeValues:
        """Returns the gauges that are still true."""
        with self._lock:
            if self._values is None:
                self._values = self._read_step()
            values: Values = dict(self._values) if self._now() <= self._fresh_until else {}
            if "build_info" in self._values:
                values["build_info"] = self._values["build_info"]
            if self._last_success is not None:
                values["last_success_timestamp_seconds"] = {(): self._last_success}
        return values

    def _read_step(self) -> Values:
        """Returns what the last step tells: most steps are never asked for it."""
        if self._step is None:
            return {}
        step, labels = self._step
        values = self._gauges.of_look(step.observation, step.picture, labels, now=step.decision.at)
        add_plan(values, labels, step.state, step.decision, step.planned)
        values["model_load_error_ratio"] = {(k,): v for k, v in self._errors.items()}
        return values

    # -- the loop's steps -------------------------------------------------------------------------

    def stepped(self, step: Step) -> None:
        """Counts a step, and takes its look for the gauges."""
        labels = Labels(step.observation, step.config)
        self._labels = labels
        self._expect(labels)
        if not step.decision.trouble:
            self._count_uses(step, labels)
        self.heard(step.decision.findings)
        for order in step.decision.sends:
            seconds = order.basis.get("load_seconds")
            if isinstance(order, Preload) and isinstance(seconds, int | float):
                self._past.predicted[order.key] = float(seconds)
        self._count_step(step)
        fresh = max(FRESH_SECONDS, FRESH_TICKS * step.config.loop.tick)
        with self._lock:
            self._step, self._values = (step, labels), None
            self._fresh_until = self._now() + fresh
            if not step.decision.trouble:
                self._last_success = step.observation.at

    def heard(self, findings: Sequence[Finding]) -> None:
        """Counts what was found."""
        for finding in findings:
            if finding.key is None:
                if finding.kind in ("server_restarted", "server_changed", "look_gap"):
                    self._past = _Past()  # nobody can say any more what a return would cost
                continue
            self._count_finding(finding, finding.key)

    def _count_step(self, step: Step) -> None:
        decision = step.decision
        result = (
            "unreachable"
            if decision.trouble
            else "acting"
            if decision.sends
            else "converged"
            if decision.is_converged
            else "waiting"
        )
        self.metrics.count("reconcile_total", result)
        self.metrics.measure("reconcile_duration_seconds", step.seconds)

    def _expect(self, labels: Labels) -> None:
        """Shows all series of a configured model from the start: `rate` needs a zero."""
        for name in (*labels.names, OTHER):
            if name in self._expected:
                continue
            self._expected.add(name)
            for counter in ("cold_starts_total", "warm_hits_total", "thrash_reloads_total"):
                self.metrics.expect(counter, name)
            self.metrics.expect("preloads_wasted_total", name)
            for outcome in OUTCOMES.values():
                self.metrics.expect("preloads_total", name, outcome)
            for by in BY:
                self.metrics.expect("loads_total", name, by)
                self.metrics.expect("load_duration_seconds", name, by)
            for reason in REASONS:
                self.metrics.expect("evictions_total", name, reason)
                self.metrics.expect("eviction_cost_seconds_total", name, reason)

    # -- uses -------------------------------------------------------------------------------------

    def _count_uses(self, step: Step, labels: Labels) -> None:
        past, observation = self._past, step.observation
        present = Look(at=observation.at, residents=observation.residents)
        touched = _touched(step.state, past.step_at)
        came = {f.key for f in step.decision.findings if f.kind == "model_came" and f.key}
        stayed = {row.key for row in (past.look.residents or () if past.look else ())}
        if past.look is None:
            came |= {row.key for row in present.residents or () if row.key}  # may have just come
        used: set[ModelKey] = set()
        sliding: set[ModelKey] = set()
        for use in find_use(past.look, present, renewed=touched):
            past.unused.discard(use.key)
            used.add(use.key)
            if use.sign is Sign.EXPIRY_SLIDES:
                sliding.add(use.key)
        for key in sorted((used & stayed) - past.opening - came):
            self.metrics.count("warm_hits_total", labels.of(key, ""))
        past.opening = (past.opening & sliding) | came
        past.look, past.step_at = present, step.decision.at

    # -- comings and goings -----------------------------------------------------------------------

    def _count_finding(self, finding: Finding, key: ModelKey) -> None:
        name = OTHER if self._labels is None else self._labels.of(key, finding.name)
        kind = finding.kind
        if kind == "model_came" and self._labels is not None:
            self.metrics.count("cold_starts_total", name)
            seconds = _load_seconds(self._labels.observation, key)
            self._count_load(key, name, "client", seconds)
        elif kind == "model_left":
            self._count_departure(key, name, str(finding.basis.get("cause", "")))
        elif kind == "unloaded":
            self._count_departure(key, name, "unloaded")
        if kind not in OUTCOMES:
            return
        self.metrics.count("preloads_total", name, OUTCOMES[kind])
        took = finding.basis.get("seconds")
        if kind == "preloaded" and isinstance(took, int | float):
            self._past.unused.add(key)
            self._count_load(key, name, "warmset", float(took))
            expected = self._past.predicted.get(key)
            if expected is not None and took > 0 and name != OTHER:
                self._errors = {**self._errors, name: expected / took - 1.0}  # read elsewhere too

    def _count_load(self, key: ModelKey, name: str, by: str, seconds: float | None) -> None:
        self.metrics.count("loads_total", name, by)
        if seconds is not None:
            self.metrics.measure("load_duration_seconds", seconds, name, by)
        reason, since = self._past.left.pop(key, ("", 0.0))
        if not reason or self._labels is None:
            return
        if self._now() - since < self._labels.config.loop.fight_window:
            self.metrics.count("thrash_reloads_total", name)
        if by == "client" and seconds is not None:
            self.metrics.count("eviction_cost_seconds_total", name, reason, amount=seconds)

    def _count_departure(self, key: ModelKey, name: str, reason: str) -> None:
        assert reason in REASONS, reason
        self.metrics.count("evictions_total", name, reason)
        self._past.left[key] = (reason, self._now())
        if key in self._past.unused:
            self._past.unused.remove(key)
            self.metrics.count("preloads_wasted_total", name)


def _touched(state: State, since: float) -> frozenset[ModelKey]:
    """Returns what warmset itself touched since the last look: its deadlines moved by us."""
    return frozenset(
        key
        for key, known in state.models.items()
        if known.touched_at is not None and known.touched_at >= since
    )


def _load_seconds(observation: Observation, key: ModelKey) -> float | None:
    """Returns how long ago the runner of a model that was just listed began, at most a look."""
    for runner in observation.runners or ():
        if runner.key == key and runner.phase == "resident":
            at = observation.residents_at or observation.at
            return max(0.0, at - runner.started_at)
    return None
