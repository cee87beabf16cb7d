"""Making a recorded decision again, and what differs from what was decided then.

`step` is pure, so a record of its arguments is enough. Made again with the same configuration, by
the same version, nothing differs. With another configuration, each look is judged as it was: what
the other words would have made of the host before it is a question for `simulate`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Literal

from warmset.core.control.actions import Action, Alarm, Decision, Preload, Renew, Unload
from warmset.core.control.config import Config
from warmset.core.control.plain import to_plain
from warmset.core.control.remembered import PlannedOn, remember_again
from warmset.core.control.state import State
from warmset.core.control.step import step
from warmset.core.model import Observation
from warmset.core.planner import Member
from warmset.core.replacing import replace
from warmset.core.units import format_bytes, format_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One decision with all that it was made from.

    Attributes:
        number: in its journal.
        until, repeats: when and how often it was made again, looks not kept.
        decision: what was decided; `None`: it failed then, with `error`.
        planned_on: amounts of earlier plans it rests on; `None`: an older warmset did not say.

    Units:
        `at`, `until`: Unix seconds of the wall clock; `now`: of `step`.
    """

    number: int
    at: float
    until: float
    repeats: int
    now: float
    observation: Observation
    config: Config
    state: State
    decision: Decision | None
    planned_on: tuple[PlannedOn, ...] | None = None
    error: str = ""


class Sameness(StrEnum):
    """How a decision made again compares."""

    SAME = "same"
    REMEMBERED = "remembered"
    """The same with the plan that was remembered; planned anew it differs, by a grain of memory."""
    GRAIN = "grain"
    """The same in all that is named; numbers differ, and what was remembered was not recorded."""
    DIFFERENT = "different"
    FAILED = "failed"
    """It fails now, or failed then and does not now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that was decided otherwise.

    Attributes:
        what: `action`, `member`, `alarm`, or the name of another field of a decision.
        name: the model, the alarm's code, or empty.
        then, again: in words; empty: not there.
    """

    what: str
    name: str
    then: str
    again: str

    @property
    def change(self) -> Literal["gone", "new", "changed"]:
        """How it differs."""
        return "gone" if not self.again else "new" if not self.then else "changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One recorded decision, made again."""

    recorded: Recorded
    sameness: Sameness
    differences: tuple[Difference, ...] = ()
    error: str = ""


def redecide(recorded: Recorded, config: Config | None = None) -> Verdict:
    """Returns how a decision made again compares with what was decided then.

    Args:
        recorded: the decision.
        config: other words of the operator; `None`: those of then.
    """
    then = recorded.decision
    try:
        again, fresh = _decide(recorded, config or recorded.config)
    except Exception as error:  # noqa: BLE001 - whatever it is: that is what is asked
        text = f"{type(error).__name__}: {error}"
        is_same = then is None and recorded.error.strip().endswith(text)
        sameness = Sameness.SAME if is_same else Sameness.FAILED
        return Verdict(recorded=recorded, sameness=sameness, error=text)
    if then is None:
        return Verdict(
            recorded=recorded, sameness=Sameness.FAILED, error="it failed then and does not now"
        )
    if again == then:
        if fresh == then:
            return Verdict(recorded=recorded, sameness=Sameness.SAME)
        differences = tuple(compare(then, fresh))
        return Verdict(recorded=recorded, sameness=Sameness.REMEMBERED, differences=differences)
    is_grain = config is None and recorded.planned_on is None and _named(then) == _named(again)
    return Verdict(
        recorded=recorded,
        sameness=Sameness.GRAIN if is_grain else Sameness.DIFFERENT,
        differences=tuple(compare(then, again)),
    )


def _decide(recorded: Recorded, config: Config) -> tuple[Decision, Decision]:
    """Returns the decision with what was remembered, and the one without."""
    look, state, now = recorded.observation, recorded.state, recorded.now
    fresh = step(look, config, replace(state, planned=()), now)[1]
    if not recorded.planned_on:
        return fresh, fresh
    knowing = remember_again(look, config, state, now, recorded.planned_on)
    return step(look, config, knowing, now)[1], fresh


def compare(then: Decision, again: Decision) -> Iterator[Difference]:
    """Yields what differs between two decisions: actions, members, alarms, then all else."""
    yield from _by_name("action", _actions(then), _actions(again))
    yield from _by_name("member", _members(then), _members(again))
    yield from _by_name("alarm", _standing(then), _standing(again))
    told = {"at", "actions", "members", "standing"}
    for item in fields(Decision):
        before, after = getattr(then, item.name), getattr(again, item.name)
        if item.name not in told and before != after:
            yield Difference(what=item.name, name="", then=_text(before), again=_text(after))


def _by_name(what: str, then: Mapping[str, str], again: Mapping[str, str]) -> Iterator[Difference]:
    for name in (*then, *(name for name in again if name not in then)):
        before, after = then.get(name, ""), again.get(name, "")
        if before != after:
            model = name.partition(" ")[2].rstrip("'") if what == "action" else name
            yield Difference(what=what, name=model, then=before, again=after)


def _actions(decision: Decision) -> dict[str, str]:
    """Returns the actions by kind and model, two of a kind numbered."""
    found: dict[str, str] = {}
    for action in decision.actions:
        name = f"{type(action).__name__.lower()} {_name(action)}"
        while name in found:
            name += "'"
        found[name] = _order_text(action)
    return found


def _name(action: Action) -> str:
    return action.code if isinstance(action, Alarm) else action.name


def _order_text(action: Action) -> str:
    kind = type(action).__name__.lower()
    lease = (
        f" for {format_seconds(action.keep_alive)}" if isinstance(action, Renew | Preload) else ""
    )
    until = getattr(action, "until", None)
    end = "" if until is None else f" (until {until:.3f})"
    basis = "" if not action.basis else f" {_text(action.basis)}"
    text = f"{kind} {_name(action)}".strip() + f"{lease}: {action.reason}{end}"
    return text + basis if isinstance(action, Preload | Unload) else text


def _members(decision: Decision) -> dict[str, str]:
    return {member.name: _place(member) for member in decision.members}


def _place(member: Member) -> str:
    on = ", ".join(f"{format_bytes(count)} on {gpu}" for gpu, count in member.upper.items())
    worth = f"priority {member.priority}, worth {member.value:.3g} s a day"
    return f"{'pinned' if member.pin else 'wanted'}: {on or 'in RAM'}, {worth}"


def _standing(decision: Decision) -> dict[str, str]:
    return dict.fromkeys(decision.standing, "standing")


def _text(value: object) -> str:
    if value in ((), None, "", False):
        return "none"
    plain = to_plain(value)
    if isinstance(plain, dict):
        return ", ".join(f"{k}={v}" for k, v in plain.items() if k not in ("type", "key", "name"))
    if isinstance(plain, list):
        return "; ".join(_text_of_plain(item) for item in plain)
    return str(plain)


def _text_of_plain(plain: object) -> str:
    if isinstance(plain, dict):
        return " ".join(str(plain[k]) for k in ("kind", "name", "text", "reason") if plain.get(k))
    return str(plain)


def _named(decision: Decision) -> tuple[object, ...]:
    """Returns everything of a decision but numbers and texts."""
    return (
        [(type(a).__name__, getattr(a, "key", None)) for a in decision.actions],
        [(change.kind, change.key) for change in decision.changes],
        [(member.key, sorted(member.upper)) for member in decision.members],
        [left.key for left in decision.left_out],
        decision.standing,
        bool(decision.trouble),
        decision.is_provisional,
    )
