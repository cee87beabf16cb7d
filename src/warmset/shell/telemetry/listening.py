"""Who hears of each step of the loop. Listeners are told; they never decide and never delay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from warmset.core.control.actions import Decision, Finding
from warmset.core.control.config import Config
from warmset.core.control.state import State
from warmset.core.host.picture import Picture
from warmset.core.model import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One look with the decision on it.

    Attributes:
        picture: `None` where Ollama did not answer.
        state: after the step.
        planned: the last decision that planned something.
        seconds: what look and decision took.
    """

    observation: Observation
    picture: Picture | None
    config: Config
    state: State
    decision: Decision
    planned: Decision | None
    seconds: float


class Listener(Protocol):
    """Whoever wants to know. Called in the loop's own thread, so both return at once."""

    def stepped(self, step: Step) -> None:
        """Hears of a step, findings included."""
        ...

    def heard(self, findings: Sequence[Finding]) -> None:
        """Hears what the end of an order showed."""
        ...
