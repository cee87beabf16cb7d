"""Alarms for the operator's webhook: when one is raised, and when it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from warmset.core.control.actions import Alarm, Finding, Severity
from warmset.core.settings import AlertSettings
from warmset.errors import WarmsetError
from warmset.shell.telemetry.listening import Step
from warmset.shell.telemetry.outbox import Message, Outbox, Outcome

SCHEMA_VERSION: Final = 1

SAME_AGAIN_SECONDS: Final = 300.0
"""An alarm that comes and goes is told at most so often. Our choice."""

_LOUDNESS: Final = {Severity.NOTE: 0, Severity.WARNING: 1, Severity.ERROR: 2}


class Notices:
    """Listens to the loop. Implements `Listener`.

    Args:
        told: hears what became of each notice.
        pauses: between tries; see `Outbox`.
    """

    def __init__(
        self, told: Callable[[Outcome, str], None], *, pauses: tuple[float, ...] | None = None
    ) -> None:
        self._settings = AlertSettings()
        given = {} if pauses is None else {"pauses": pauses}
        self._outbox = Outbox(self._send, told, **given)
        self._told_at: dict[str, float] = {}  # code -> when it was told last
        self._open: dict[str, Message] = {}  # code -> what was told, until its end is

    def stepped(self, step: Step) -> None:
        """Tells the alarms that are new and loud enough, and the ends of those that were told."""
        self._settings = settings = step.config.settings.alerts
        if not settings.webhook:
            return
        now = step.decision.at
        for alarm in step.decision.alarms:
            if _LOUDNESS[alarm.severity] < _LOUDNESS[Severity(settings.least)]:
                continue
            if now - self._told_at.get(alarm.code, -SAME_AGAIN_SECONDS) >= SAME_AGAIN_SECONDS:
                self._told_at[alarm.code] = now
                self._open[alarm.code] = message = _raised(alarm, step)
                self._outbox.put(message)
        for code in set(self._open) - set(step.decision.standing):
            over = {"event": "alarm_cleared", "at": _time_of(step)}
            self._outbox.put({**self._open.pop(code), **over})
        if len(self._told_at) > 1000:
            self._told_at = {code: self._told_at.get(code, now) for code in self._open}

    def heard(self, findings: Sequence[Finding]) -> None:
        """Needs no findings: what matters becomes an alarm."""

    def close(self) -> None:
        """Tells nothing more."""
        self._outbox.close()

    def _send(self, message: Message) -> None:
        from warmset.adapters.webhook import post

        settings = self._settings
        if not settings.webhook:
            raise WarmsetError("the webhook was taken out of the configuration")
        post(settings.webhook, message, token_file=settings.token_file)


def _raised(alarm: Alarm, step: Step) -> Message:
    names = {entry.key: entry.name for entry in step.observation.entries}
    return {
        "schema_version": SCHEMA_VERSION,
        "event": "alarm_raised",
        "code": alarm.code.split()[0],
        "severity": alarm.severity.value,
        "text": alarm.text,
        "models": [names.get(key, key) for key in alarm.keys],
        "server": step.observation.server_url,
        "at": _time_of(step),
    }


def _time_of(step: Step) -> str:
    return datetime.fromtimestamp(step.observation.at, UTC).isoformat(timespec="seconds")
