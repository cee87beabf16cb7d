"""Keeps the service manager informed: ready after the first step, alive with every step."""

from __future__ import annotations

import time
from collections.abc import Sequence

from warmset.adapters.systemd import ServiceManager
from warmset.core.control.actions import Finding
from warmset.shell.telemetry.listening import Step


class ManagerNews:
    """Listens to the loop. Implements `Listener`.

    Args:
        manager: systemd, or nobody.
    """

    def __init__(self, manager: ServiceManager) -> None:
        self._manager = manager
        self._is_ready = False
        self._status = ""

    def stepped(self, step: Step) -> None:
        """A step was completed: that, and nothing less, feeds the watchdog."""
        words = []
        if not self._is_ready:
            self._is_ready = True
            words.append("READY=1")
        if self._manager.wants_watchdog:
            words.append("WATCHDOG=1")
        status = _status_of(step)
        if status != self._status:
            self._status = status
            words.append(f"STATUS={status}")
        if words:
            self._manager.tell(*words)

    def heard(self, findings: Sequence[Finding]) -> None:
        """Needs no findings."""

    def reloading(self) -> None:
        """The configuration is about to be read again; `reloaded` follows."""
        self._manager.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """The configuration was read again, or refused."""
        self._manager.tell("READY=1")

    def stopping(self) -> None:
        """The end has begun."""
        self._manager.tell("STOPPING=1", "STATUS=ending")


def _status_of(step: Step) -> str:
    """Returns what `systemctl status` shows."""
    decision = step.decision
    if decision.trouble:
        return " ".join(decision.trouble.split())
    count = len(step.observation.residents or ())
    alarms = f", {len(decision.standing)} alarms" if decision.standing else ""
    return f"{count} resident, {'as wanted' if decision.is_converged else 'moving'}{alarms}"
