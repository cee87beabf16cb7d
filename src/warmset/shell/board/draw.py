"""From a step of the loop, or a mere look, to the picture. Pure: no clock, no file."""

from __future__ import annotations

from collections.abc import Mapping

import warmset
from warmset.core.control.actions import Alarm, Decision, Wait
from warmset.core.control.config import Config
from warmset.core.control.state import State
from warmset.core.host.readings import Severity
from warmset.core.settings import Settings
from warmset.shell.board.gaps import Gaps
from warmset.shell.board.gpus import gpus_of
from warmset.shell.board.models import View, models_of
from warmset.shell.board.values import Board, Moment, NextStep, Pause, StandingAlarm
from warmset.shell.observe import Seen
from warmset.shell.telemetry.listening import Step


def draw_step(
    step: Step,
    *,
    alarms: Mapping[str, Alarm],
    moments: tuple[Moment, ...],
    gaps: Gaps,
) -> Board:
    """Returns the picture after a step.

    Args:
        step: look and decision.
        alarms: code -> the alarm as it was raised, as far as known.
        moments: newest first.
        gaps: learnt so far.
    """
    decision, state, now = step.decision, step.state, step.decision.at
    view = View(
        observation=step.observation,
        picture=step.picture,
        config=step.config,
        state=state,
        decision=decision,
        planned=step.planned,
        now=now,
    )
    standing = tuple(
        _standing(code, alarms.get(code), now - state.raised.get(code, now))
        for code in decision.standing
    )
    pauses = tuple(_pause(a, now) for a in decision.actions if isinstance(a, Wait))
    return _board(
        view,
        gaps,
        verdict=_verdict(decision),
        trouble=decision.trouble,
        moments=moments,
        steps=_steps(view),
        pauses=pauses,
        alarms=standing,
    )


def draw_look(seen: Seen, settings: Settings) -> Board:
    """Returns the picture of a host that nobody steers: nothing is planned, no past is known."""
    view = View(
        observation=seen.observation,
        picture=seen.picture,
        config=Config(settings=settings, openings=dict.fromkeys(settings.models, ())),
        state=State(),
        decision=None,
        planned=None,
        now=seen.observation.at,
    )
    troubles = tuple(
        StandingAlarm(code=t.code, severity=t.severity.value, text=t.message, age_seconds=0.0)
        for t in seen.survey.troubles
        if t.severity is not Severity.INFO
    )
    return _board(view, Gaps(), verdict="look", trouble="", alarms=troubles)


def _board(
    view: View,
    gaps: Gaps,
    *,
    verdict: str,
    trouble: str,
    moments: tuple[Moment, ...] = (),
    steps: tuple[NextStep, ...] = (),
    pauses: tuple[Pause, ...] = (),
    alarms: tuple[StandingAlarm, ...] = (),
) -> Board:
    observation = view.observation
    models, marks = models_of(view, gaps)
    return Board(
        at=observation.at,
        warmset=warmset.__version__,
        server=observation.server_url,
        ollama=observation.version,
        verdict=verdict,
        trouble=trouble,
        tick_seconds=None if view.decision is None else view.config.loop.tick,
        ram_total_bytes=observation.memory.total_bytes.value,
        ram_available_bytes=observation.memory.available_bytes.value,
        gpus=gpus_of(observation, view.picture, view.config.settings, marks),
        models=models,
        moments=moments,
        steps=steps,
        pauses=pauses,
        alarms=alarms,
        notes=observation.notes,
    )


def _verdict(decision: Decision) -> str:
    if decision.trouble:
        return "unreachable"
    if decision.sends:
        return "acting"
    return "converged" if decision.is_converged else "waiting"


def _steps(view: View) -> tuple[NextStep, ...]:
    """What is sent now, and what else the plan wants, each model once."""
    decision = view.decision
    sent = [
        NextStep(kind=type(order).__name__.lower(), name=order.name, reason=order.reason)
        for order in (decision.sends if decision else ())
    ]
    wanted = [
        NextStep(kind=change.kind.value, name=change.name, reason=change.reason)
        for change in view.changes
    ]
    known = {(step.kind, step.name) for step in sent}
    return (*sent, *(step for step in wanted if (step.kind, step.name) not in known))


def _pause(wait: Wait, now: float) -> Pause:
    left = None if wait.until is None else max(0.0, wait.until - now)
    return Pause(name=wait.name, reason=wait.reason, left_seconds=left)


def _standing(code: str, alarm: Alarm | None, age: float) -> StandingAlarm:
    """An alarm of an earlier process is known by its code alone."""
    if alarm is None:
        text = code.replace("_", " ")
        return StandingAlarm(code=code, severity="warning", text=text, age_seconds=age)
    return StandingAlarm(code=code, severity=alarm.severity.value, text=alarm.text, age_seconds=age)
