"""Everything one decision looks at, in one value."""

from __future__ import annotations

from dataclasses import dataclass

from warmset.core.control.config import Config
from warmset.core.control.state import State
from warmset.core.control.wanted import Wish
from warmset.core.loop_settings import LoopSettings
from warmset.core.model import Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The look, the operator's words, what is remembered, what is wanted, and the time."""

    observation: Observation
    config: Config
    state: State
    wish: Wish
    now: float

    @property
    def loop(self) -> LoopSettings:
        """How much may be done."""
        return self.config.loop
