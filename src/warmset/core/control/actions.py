"""What a step decides: ordered actions, each with its reason, and what was seen on the way.

A `Decision` is plain data. It says what is wanted, what differs, what is to be done *now* and
why nothing more is done now, with the numbers that decided it: enough to replay it, and to answer
"why" long after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from warmset.core.model import ModelKey
from warmset.core.planner.result import Action as Change
from warmset.core.planner.result import Conflict, LeftOut, Member

Plain = str | int | float | bool | None
"""A value that JSON knows."""

Basis = Mapping[str, Plain]
"""Name -> number or text behind an action: what was compared with what."""


class Severity(StrEnum):
    """How loud to be."""

    NOTE = "note"  # for the journal
    WARNING = "warning"  # the operator may want to know
    ERROR = "error"  # something the operator wants does not happen


@dataclass(frozen=True, slots=True, kw_only=True)
class Renew:
    """Give a resident model its lease, by a ping in the form that does not reload it."""

    key: ModelKey
    name: str
    keep_alive: float
    reason: str
    basis: Basis = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preload:
    """Load a wanted model: every belief that Ollama may hold lets it in without an eviction.

    `num_ctx` is sent only where clients send it too.
    """

    key: ModelKey
    name: str
    keep_alive: float
    num_ctx: int | None
    reason: str
    basis: Basis = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unload:
    """Let an idle model go. Ollama itself waits for requests that nobody could see.

    `comes_back`: only to be loaded again at its turn, so that others fit beside it.
    """

    key: ModelKey
    name: str
    reason: str
    comes_back: bool = False
    basis: Basis = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Something that is wanted and not done now; `key` is `None` if it concerns all models."""

    key: ModelKey | None
    name: str
    reason: str
    until: float | None = None
    basis: Basis = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something to tell the operator, once: it stands until `Decision.standing` lacks its code."""

    code: str
    severity: Severity
    text: str
    keys: tuple[ModelKey, ...] = ()
    basis: Basis = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """The text, as every action has one."""
        return self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOff:
    """Hang up on the preload that is open: it takes too long, comes too late, or is never begun.

    Or on a ping that became a load (`raced`).
    """

    kind: Literal["slow", "overtaken", "stuck", "raced"]
    reason: str


Action = Renew | Preload | Unload | Wait | Alarm


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that was seen to have happened, for the journal and the log.

    `kind` is a constant snake_case name; numbers are in `basis`.
    """

    kind: str
    key: ModelKey | None
    name: str
    text: str
    severity: Severity = Severity.NOTE
    basis: Basis = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One step's plan.

    Attributes:
        at: the step's `now`.
        changes: everything that differs from what is wanted, in order; empty: converged. Nothing
            may be allowed now.
        actions: what is to be done now, in order, and what is waited for.
        members, left_out, conflict: the warm set and why the rest is outside.
        postponed: pins that do not fit beside what else is there now.
        findings: what happened since the step before.
        calls_off: the open preload shall be hung up on.
        standing: codes of the alarms that hold now, new or not.
        is_provisional: a load may be under way, so nothing was planned; `changes` and `members` are
            those of no host.
        trouble: why nothing can be decided; empty otherwise.

    Invariants:
        At most one `Preload`, and nothing sent beside it. No action but `Wait` and `Alarm` while
        something is unknown or a load may be pending.
    """

    at: float
    actions: tuple[Action, ...] = ()
    changes: tuple[Change, ...] = ()
    members: tuple[Member, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    conflict: Conflict | None = None
    postponed: Conflict | None = None
    findings: tuple[Finding, ...] = ()
    calls_off: CallOff | None = None
    standing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    is_provisional: bool = False
    trouble: str = ""

    @property
    def sends(self) -> tuple[Renew | Preload | Unload, ...]:
        """The actions that write to the server."""
        return tuple(a for a in self.actions if isinstance(a, Renew | Preload | Unload))

    @property
    def renewals(self) -> tuple[Renew, ...]:
        """The leases to give or renew now; they change nothing of what is resident."""
        return tuple(a for a in self.actions if isinstance(a, Renew))

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """The alarms that are new."""
        return tuple(a for a in self.actions if isinstance(a, Alarm))

    @property
    def asks_who(self) -> bool:
        """Whether somebody else did something of which the next look may tell who it was."""
        return any(
            f.kind == "lease_overwritten" or f.basis.get("cause") == "displaced"
            for f in self.findings
        )

    @property
    def is_converged(self) -> bool:
        """Whether what is resident is what is wanted, and known to be."""
        pins = (self.conflict, self.postponed)
        is_known = not self.trouble and not self.is_provisional
        return is_known and not self.changes and pins == (None, None)
