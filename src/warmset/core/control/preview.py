"""What `step` would decide now, with the whole plan behind it. Nothing is done or remembered.

`plan`, `apply` and `explain` show this; `serve` and the twin act on the same `step`.
"""

from __future__ import annotations

from dataclasses import dataclass

from warmset.core.control.actions import Decision
from warmset.core.control.config import Config
from warmset.core.control.retention import find_unwanted
from warmset.core.control.state import State
from warmset.core.control.step import step
from warmset.core.control.wanted import UNMANAGED_PRIORITY, Wish, make_wish
from warmset.core.model import Observation
from warmset.core.planner import Member, build_candidates, build_host, plan
from warmset.core.replacing import replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """One look and what follows from it.

    Attributes:
        decision: `step`'s.
        wish: the warm set that it works towards, also where it may do nothing now.
    """

    observation: Observation
    config: Config
    decision: Decision
    wish: Wish

    @property
    def is_decided(self) -> bool:
        """Whether `decision` was made on this plan: enough is known, and no load may be pending."""
        return not self.decision.trouble and not self.decision.is_provisional


def preview(observation: Observation, config: Config, state: State, now: float) -> Preview:
    """Returns what `step` decides on the same arguments, and the plan that it comes from."""
    after, decision, _ = step(observation, config, state, now)
    if decision.trouble or decision.is_provisional:
        unwanted, _ = find_unwanted(observation, config, state, now)
        planned = make_wish(observation, config, state.load_seconds, now, unwanted=unwanted)
    else:
        planned = after.planned
    return Preview(observation=observation, config=config, decision=decision, wish=planned[0].wish)


def find_more(seen: Preview) -> tuple[Member, ...]:
    """Returns the models that nobody configured and that would fit beside the warm set, together.

    The loop does not load them; who configures them may expect it.
    """
    observation, settings, wish = seen.observation, seen.config.settings, seen.wish
    known = {candidate.key for candidate in wish.candidates}
    others = tuple(entry for entry in observation.entries if entry.key not in known)
    if not others or wish.conflict is not None:
        return ()
    nobody = replace(observation, residents=(), entries=others)
    _, nowhere = build_host(nobody, settings)
    newcomers = build_candidates(nobody, settings, wish.host, nowhere)
    wanted = {member.key for member in wish.plan.members}
    there = tuple(replace(c, pin=True) for c in wish.candidates if c.key in wanted)
    offered = tuple(replace(c, priority=UNMANAGED_PRIORITY, pin=False) for c in newcomers)
    made = plan((*there, *offered), wish.host)
    return tuple(member for member in made.members if member.key not in wanted)
