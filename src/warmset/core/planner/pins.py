"""Whether models can be held together, and which few of them cannot."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from warmset.core.model import ModelKey
from warmset.core.planner.admission import Denied, try_load
from warmset.core.planner.candidates import Candidate
from warmset.core.planner.capacity import HostCapacity
from warmset.core.planner.conflict import smallest_infeasible
from warmset.core.planner.holding import UNBOUNDED, can_hold
from warmset.core.planner.problem import Effort
from warmset.core.planner.result import Conflict
from warmset.core.planner.search import is_impossible, solve
from warmset.core.planner.standing import find_route
from warmset.core.planner.wanted import state_problem
from warmset.core.replacing import replace
from warmset.core.units import format_bytes


def pins_conflict(
    host: HostCapacity, pins: Sequence[Candidate], asked: Collection[ModelKey] = ()
) -> Conflict | None:
    """Returns the smallest set of pins that cannot be held together, `None` if all can.

    Args:
        host: where.
        pins: the set.
        asked: those of them that the operator did not pin.
    """
    by_size = sorted(pins, key=lambda c: (-_size(c), c.key))

    answer = can_hold(host, by_size)
    if answer.is_possible:
        return None

    def is_feasible(subset: frozenset[int]) -> bool:
        """What is not known to fail conflicts only where nothing else is known of the whole."""
        part = can_hold(host, [by_size[n] for n in sorted(subset)]).is_possible
        return part is True if answer.is_possible is None else part is not False

    fewest = smallest_infeasible(range(len(by_size)), is_feasible)
    members = tuple(by_size[n] for n in sorted(fewest))
    reason = _conflict_text(host, members, asked)
    is_read = all(gpu.usable_bytes is not None for gpu in host.gpus)
    if answer.is_possible is None and not is_read:
        reason = f"{reason}; that they do not fit is not known: {answer.unknown}"
    return name_conflict(members, reason)


def _conflict_text(
    host: HostCapacity, members: Sequence[Candidate], asked: Collection[ModelKey]
) -> str:
    """Tells a conflict; who is pinned by the operator is said where not all are."""
    is_of_pins = not any(c.key in asked for c in members)
    marks = {c.key: "" if is_of_pins or c.key in asked else ", pinned," for c in members}
    sizes = ", ".join(f"{c.name}{marks[c.key]} {format_bytes(_size(c))}" for c in members)
    if len(members) > host.max_count:
        what = "pins" if is_of_pins else "models"
        limit = f"the server loads at most {host.max_count} models"
        return f"{len(members)} {what} ({sizes}); {limit}"
    together = "pinned together" if is_of_pins else "together"
    if solve(state_problem(host, members, is_loose=True).problem) is None:
        if len(members) == 1:
            fact = " is pinned and" if is_of_pins else ""
            size = format_bytes(_size(members[0]))
            return f"{members[0].name}{fact} needs {size}; {host.describe()}"
        pinned = [replace(c, pin=True) for c in members]
        if not is_impossible(state_problem(host, pinned, is_loose=True).problem):
            return f"{together} ({sizes}) they were not arranged in time; {host.describe()}"
        total = format_bytes(sum(_size(c) for c in members))
        return f"{together} they need {sizes}, {total} in all; {host.describe()}"
    alone = try_load(host, (), members[0])
    if len(members) == 1 and isinstance(alone, Denied):
        return f"{members[0].name}: {alone.reason}"
    return f"{together} they fit ({sizes}), but {_no_order_text(host, members)}"


def _no_order_text(host: HostCapacity, members: Sequence[Candidate]) -> str:
    """Tells whether there is no order of loading, or the search for one ran out of steps."""
    effort = Effort(UNBOUNDED)
    rule = "in which Ollama's 80 % rule loads them"
    if find_route(host, members, effort) is None and effort.was_cut_short:
        return f"no order {rule} was found in time"
    return f"there is no order {rule}"


def _size(candidate: Candidate) -> int:
    if candidate.on_one is not None:
        return candidate.on_one.upper_bytes
    return candidate.on_cpu_bytes or 0


def name_conflict(members: Sequence[Candidate], reason: str) -> Conflict:
    """Returns a conflict of these, told as `reason`."""
    return Conflict(
        keys=tuple(c.key for c in members), names=tuple(c.name for c in members), reason=reason
    )
