"""Whether the loop lives, and whether what it knows is fresh: `/healthz` and `/readyz`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from warmset.core.control.actions import Finding
from warmset.core.units import format_seconds
from warmset.shell.telemetry.listening import Step

DEAD_AFTER_SECONDS: Final = 120.0
"""A loop without a step for so long hangs: looks have time limits of their own far below. Our
choice, and the watchdog time of the systemd unit."""

STALE_TICKS: Final = 12
STALE_SECONDS: Final = 60.0

Verdict = tuple[bool, str]


class Health:
    """Listens to the loop and judges it. Implements `Listener`.

    Args:
        monotonic: seconds that never step back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._step_at = monotonic()
        self._answer_at: float | None = None
        self._stale_after = STALE_SECONDS
        self._trouble = "no look has ended yet"

    def stepped(self, step: Step) -> None:
        """Notes a step."""
        self._step_at = self._monotonic()
        self._trouble = step.decision.trouble
        self._stale_after = max(STALE_SECONDS, STALE_TICKS * step.config.loop.tick)
        if not self._trouble:
            self._answer_at = self._step_at

    def heard(self, findings: Sequence[Finding]) -> None:
        """Needs no findings."""

    @property
    def live(self) -> Verdict:
        """Whether the loop makes steps, and since when not."""
        age = self._monotonic() - self._step_at
        return age < DEAD_AFTER_SECONDS, f"last step {format_seconds(age)} ago"

    @property
    def ready(self) -> Verdict:
        """Whether the last look was answered, and not long ago."""
        if self._trouble or self._answer_at is None:
            return False, self._trouble
        age = self._monotonic() - self._answer_at
        return age < self._stale_after, f"last answer of Ollama {format_seconds(age)} ago"
