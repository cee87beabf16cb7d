"""What everyone is told who judges a life; each judge hears what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from warmset.core.control.actions import Decision, Finding
from warmset.core.control.orders import Command, Event
from warmset.core.control.state import State
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import Observation

if TYPE_CHECKING:
    from soak.life import Life

LEAD_SECONDS = 60.0
"""A load that nobody has timed yet is expected to take less; a window opens so much earlier."""


class Judge:
    """Judges one life by what it is told; the defaults hear nothing.

    Args:
        life: whose.
        tell: called with each fault.
    """

    def __init__(self, life: Life, tell: Callable[[str], None]) -> None:
        self.life = life
        self.tell = tell

    @property
    def now(self) -> float:
        return self.life.now

    @property
    def loop(self) -> LoopSettings:
        return self.life.said.loop

    @property
    def is_stuck(self) -> bool:
        """Whether the last decision, also while it is carried out, says that nothing is loaded."""
        decision = None if self.life.warmset is None else self.life.warmset.loop.decision
        return decision is not None and "loads_stuck" in decision.standing

    def is_pin(self, name: str) -> bool:
        """Whether the operator wants a model resident now, whatever its rank."""
        return self.life.is_pinned(name)

    def is_pin_soon(self, name: str) -> bool:
        """Whether a model is pinned, or will be by the time that it could be loaded."""
        life, soon = self.life, LEAD_SECONDS + 3 * self.loop.tick
        is_pin = life.said.settings.policy_for((name,)).pin
        return self.is_pin(name) or (is_pin and life.operator.opens(name, life.wall, soon))

    def boots(self, *, is_fresh: bool) -> None:
        """Another process of warmset begins; `is_fresh`: nothing was left to it."""

    def stops(self) -> None:
        """The process was told to end."""

    def breaks_off(self, *, is_server: bool = False) -> None:
        """What was before is not comparable any more: another server, or a clock that was set."""

    def look_begins(self) -> None:
        """What this look shows is of now."""

    def looked(self, observation: Observation) -> None:
        """A look has arrived, and is about to be decided on."""

    def decided(self, before: State, decision: Decision) -> None:
        """A look has led to a decision; `before` is what was remembered."""

    def carries_out(self, command: Command) -> None:
        """Warmset does something."""

    def ends(self, event: Event) -> None:
        """The server, or the wire, has answered."""

    def found(self, findings: Iterable[Finding]) -> None:
        """Warmset has seen something and writes it down, after a command."""

    def hears(self, event: object) -> None:
        """An event of Ollama's scheduler."""

    def is_deleted(self, key: str) -> None:
        """A name goes: should its weights come back, that is a new model to warmset."""

    def says(self) -> None:
        """The operator says something, or something that was said has run out."""

    def evicts(self, name: str) -> None:
        """The operator has a model unloaded."""

    def used(self, name: str, keep: float | None) -> None:
        """A client asks for a model."""
